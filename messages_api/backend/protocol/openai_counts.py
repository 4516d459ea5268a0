"""Reader of the token counts of Chat Completions, in the places and spellings of all providers."""

from collections.abc import Mapping
from dataclasses import dataclass

from messages_api.backend.protocol.types import JSONObject

# Larger than any response: a higher number is an error of the upstream and must not be billed.
_LARGEST_COUNT = 10**9

# Names without underscores and in lower case: `promptTokenCount` and `prompt_token_count` are one name.
_PROMPT = ("prompttokens", "inputtokens", "prompttokencount", "inputtokencount", "promptevalcount")
_COMPLETION = ("completiontokens", "outputtokens", "candidatestokencount", "outputtokencount", "evalcount")
_TOTAL = ("totaltokens", "totaltokencount")
_CACHED = (
    "cachedtokens",
    "promptcachehittokens",
    "cachereadinputtokens",
    "cachereadtokens",
    "cachedcontenttokencount",
    "numcachedtokens",
    "cachedprompttokens",
    "cachedinputtokens",
    "cachereadinputtokencount",
    "cachehittokens",
)
_WRITTEN = (
    "cachewritetokens",
    "cachecreationinputtokens",
    "cachecreationtokens",
    "cachewriteinputtokens",
    "cachedcreationtokens",
)
_AUDIO = "audiotokens"
# OpenRouter, xAI, LiteLLM and Perplexity: each counts the searches in a place of its own.
_SEARCHES = ("websearchrequests", "websearchcalls", "numsearchqueries")
_SERVER_TOOLS = ("servertooluse", "serversidetoolusagedetails")
_SEARCH_NAMES = frozenset((*_SEARCHES, *_SERVER_TOOLS))
_REASONING = ("reasoningtokens", "thinkingtokens", "thoughtstokencount")
_PROMPT_DETAILS = ("prompttokensdetails", "inputtokensdetails", "prompttokendetails", "inputtokendetails")
_COMPLETION_DETAILS = (
    "completiontokensdetails",
    "outputtokensdetails",
    "completiontokendetails",
    "outputtokendetails",
)
_LIFETIMES = ("ephemeral5minputtokens", "ephemeral1hinputtokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenAICounts:
    """The counts of a `usage` object. None is not reported."""

    input: int | None = None
    """Without cached tokens."""
    output: int | None = None
    """With reasoning."""
    cached: int | None = None
    written: int | None = None
    written_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    """The part of `input` that is audio."""
    audio_output: int | None = None
    web_searches: int | None = None


def find_usage(chunk: JSONObject) -> object:
    """Return the usage object of a response or chunk, wherever the provider puts it; None without one."""
    if usage := chunk.get("usage"):
        return usage
    choices = chunk.get("choices")
    if isinstance(choices, list):
        for choice in choices:  # Moonshot
            if isinstance(choice, dict) and isinstance(usage := choice.get("usage"), dict):
                return usage
    groq = chunk.get("x_groq")
    if isinstance(groq, dict) and isinstance(usage := groq.get("usage"), dict):
        return usage
    for name in ("usageMetadata", "usage_metadata"):  # Gemini
        if isinstance(usage := chunk.get(name), dict):
            return usage
    timings = chunk.get("timings")  # llama.cpp
    return _from_timings(timings) if isinstance(timings, dict) else None


def read_counts(usage: object) -> OpenAICounts:
    """Return the counts of a usage object.

    Providers disagree on two points, and the total decides where they report one: whether the prompt contains the
    cached tokens, and whether the completion contains the reasoning.
    """
    counts = _named(usage)
    prompt_details, completion_details = _details(counts, _PROMPT_DETAILS), _details(counts, _COMPLETION_DETAILS)
    completion = _first((counts,), _COMPLETION)
    reasoning = _first((completion_details, counts), _REASONING)
    prompt, cached, written, written_1h = _prompt_counts(counts, prompt_details)
    total = _first((counts,), _TOTAL)
    searches = _searches(counts, prompt_details)
    audio_output = count(completion_details.get(_AUDIO))
    if prompt is None:
        output = _output(completion, reasoning, rest=None)
        return OpenAICounts(
            output=output, reasoning=reasoning, audio_output=_part(audio_output, output), web_searches=searches
        )

    is_disjoint = _is_disjoint(counts, prompt, cached + written, completion or 0, reasoning or 0, total)
    whole = prompt + cached + written if is_disjoint else prompt
    cached = min(cached, whole)
    written = min(written, whole - cached)
    input = whole - cached - written
    output = _output(completion, reasoning, rest=None if total is None else total - whole)
    return OpenAICounts(
        input=input,
        output=output,
        cached=cached,
        written=written,
        written_1h=None if written_1h is None else min(written_1h, written),
        reasoning=reasoning,
        audio_input=_part(count(prompt_details.get(_AUDIO)), input),
        audio_output=_part(audio_output, output),
        web_searches=searches,
    )


def read_each(counts: JSONObject, *names: str) -> list[int | None]:
    """Return some token counts by their names, None for a missing or implausible one."""
    return [count(counts.get(name)) for name in names]


def count(value: object) -> int | None:
    """Return a token count, or None for an implausible one: negative, a fraction, a string, a Boolean."""
    if type(value) is int and 0 <= value <= _LARGEST_COUNT:
        return value
    return None


def _searches(counts: JSONObject, prompt_details: JSONObject) -> int | None:
    if _SEARCH_NAMES.isdisjoint(counts) and _SEARCH_NAMES.isdisjoint(prompt_details):  # mostly: some send it each chunk
        return None
    return _first((_details(counts, _SERVER_TOOLS), prompt_details, counts), _SEARCHES)


def _part(part: int | None, whole: int | None) -> int | None:
    """Return a count that is a part of another one, and therefore not larger."""
    return part if part is None or whole is None else min(part, whole)


def _prompt_counts(counts: JSONObject, details: JSONObject) -> tuple[int | None, int, int, int | None]:
    """Return the prompt as reported, its cached and written parts, and the writes with a lifetime of one hour."""
    prompt = _first((counts,), _PROMPT)
    cached = _first((details, counts), _CACHED) or 0
    missed = count(counts.get("promptcachemisstokens"))
    if prompt is None and missed is not None:
        prompt = cached + missed
    by_lifetime = _named(details.get("cachecreation") or counts.get("cachecreation"))
    written = _first((details, counts), _WRITTEN)
    if written is None:
        written = sum(count(by_lifetime.get(name)) or 0 for name in _LIFETIMES)
    return prompt, cached, written, count(by_lifetime.get(_LIFETIMES[1]))


def _is_disjoint(
    counts: JSONObject, prompt: int, cached: int, completion: int, reasoning: int, total: int | None
) -> bool:
    """Whether the prompt lacks the cached tokens, as in Anthropic's counts."""
    if not cached:
        return False
    if total is not None:
        if total in (prompt + completion, prompt + completion + reasoning):
            return False
        if total in (prompt + cached + completion, prompt + cached + completion + reasoning):
            return True
    has_anthropic_names = "cachereadinputtokens" in counts or "cachecreationinputtokens" in counts
    return has_anthropic_names and ("prompttokens" not in counts or cached > prompt)


def _output(completion: int | None, reasoning: int | None, *, rest: int | None) -> int | None:
    """Return the output with its reasoning. `rest` is the total without the prompt."""
    if completion is None:
        return rest if rest is not None and rest >= 0 else None
    if not reasoning or rest == completion:
        return completion
    if rest == completion + reasoning or reasoning > completion:  # a part cannot be larger than the whole
        return completion + reasoning
    return completion


def _from_timings(timings: JSONObject) -> JSONObject:
    prompt, cached = count(timings.get("prompt_n")), count(timings.get("cache_n")) or 0
    return {
        "prompt_tokens": None if prompt is None else prompt + cached,
        "completion_tokens": timings.get("predicted_n"),
        "cached_tokens": cached,
    }


def _named(value: object) -> JSONObject:
    """Return an object with names that do not depend on a provider's spelling."""
    if not isinstance(value, dict):
        return {}
    return {name.replace("_", "").lower(): item for name, item in value.items()}


def _details(counts: JSONObject, names: tuple[str, ...]) -> JSONObject:
    return next((_named(counts[name]) for name in names if isinstance(counts.get(name), dict)), {})


def _first(objects: tuple[Mapping[str, object], ...], names: tuple[str, ...]) -> int | None:
    """Return the first count that is not 0; 0 if only that is reported, None if nothing is.

    Gateways that merge two spellings set the one that they do not use to 0.
    """
    zero = None
    for counts in objects:
        for name in names:
            if name in counts and (found := count(counts[name])) is not None:
                if found:
                    return found
                zero = 0
    return zero
