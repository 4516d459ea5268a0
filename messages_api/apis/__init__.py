"""API formats: modules with the same names that encode responses and errors for clients."""

from types import ModuleType

from messages_api.apis import anthropic, envelope

ANTHROPIC_PREFIX = "/api/anthropic/"


def for_path(path: str) -> ModuleType:
    """Return the API format of a path below `/api/`, also of a path that does not exist."""
    return anthropic if path.startswith(ANTHROPIC_PREFIX) else envelope
