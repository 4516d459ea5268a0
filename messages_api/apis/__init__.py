"""API formats: modules with the same names that encode responses and errors for clients."""

from types import ModuleType

from messages_api.apis import anthropic, envelope

ANTHROPIC_PREFIXES = ("/api/anthropic/", "/anthropic/")
"""Of the Anthropic API, and of clients whose base URL lacks `/api`."""


def for_path(path: str) -> ModuleType:
    """Return the API format of a path, also of one that does not exist."""
    return anthropic if path.startswith(ANTHROPIC_PREFIXES) else envelope
