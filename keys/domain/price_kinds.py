"""Kinds of usage that have a rate of their own. Pure."""

INPUT = "input"
OUTPUT = "output"
CACHE_READ = "cache_read"
CACHE_WRITE_5M = "cache_write_5m"
CACHE_WRITE_1H = "cache_write_1h"
AUDIO_INPUT = "audio_input"
AUDIO_OUTPUT = "audio_output"
WEB_SEARCH = "web_search"
TOKEN_KINDS = (INPUT, AUDIO_INPUT, OUTPUT, AUDIO_OUTPUT, CACHE_READ, CACHE_WRITE_5M, CACHE_WRITE_1H)
"""Kinds of tokens. They do not overlap."""
OUTPUT_KINDS = frozenset([OUTPUT, AUDIO_OUTPUT])
"""Kinds that take the output factor of modifiers. Other tokens take the input factor, web searches take none."""
CACHE_KINDS = (CACHE_READ, CACHE_WRITE_5M, CACHE_WRITE_1H)
LABELS = {
    INPUT: "Input",
    OUTPUT: "Output",
    CACHE_READ: "Cache read",
    CACHE_WRITE_5M: "Cache write, 5 minutes",
    CACHE_WRITE_1H: "Cache write, 1 hour",
    AUDIO_INPUT: "Audio input",
    AUDIO_OUTPUT: "Audio output",
    WEB_SEARCH: "Web search",
}
"""Labels of all kinds."""
