"""Endpoints of the API, for errors of requests to other paths: mostly of a client with a wrong base URL."""

ANTHROPIC_WORD = "anthropic"
MISPLACED = {ANTHROPIC_WORD, "v1", "messages", "models", "chat", "completions", "responses"}
"""First segments of paths that belong below `/api/`."""

ENVELOPE_ENDPOINTS = ("POST /api/v1/messages", "GET /api/v1/key", "GET /api/v1/usage")
ANTHROPIC_ENDPOINTS = (
    "POST /api/anthropic/v1/messages",
    "POST /api/anthropic/v1/messages/count_tokens",
    "GET /api/anthropic/v1/models",
)


def is_misplaced(path: str) -> bool:
    """Return whether a path is one of an LLM API, without the gateway's prefix."""
    return path.removeprefix("/").partition("/")[0] in MISPLACED


def sentence(path: str) -> str:
    """Return the endpoints that a client may have meant, those of the API of its path first."""
    known = [*ENVELOPE_ENDPOINTS, *ANTHROPIC_ENDPOINTS]
    known.sort(key=lambda endpoint: (ANTHROPIC_WORD in endpoint) != (ANTHROPIC_WORD in path))
    return f"Endpoints: {', '.join(known)}."
