"""How an answer leaves: two siblings with the same names, one for each dialect that callers speak."""

from types import ModuleType

from messages_api.apis import anthropic, envelope

ANTHROPIC_PREFIX = "/api/anthropic/"


def for_path(path: str) -> ModuleType:
    """The lane that a path below `/api/` belongs to, whether there is something at that path or not."""
    return anthropic if path.startswith(ANTHROPIC_PREFIX) else envelope
