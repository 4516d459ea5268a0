"""Scripts that Redis executes, each atomically."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError

from lib.shared_store import SharedStore

PREFIX = "messages-gateway:"
"""Prefix of all keys in Redis."""


class Script:
    """The script in a file beside this one."""

    def __init__(self, name: str) -> None:
        self._path = Path(__file__).with_name(name)

    def run(self, store: SharedStore, calls: Sequence[Sequence[Any]]) -> list[Any] | None:
        """Run it once for each list of arguments, together. Return the replies, or None without all of them."""
        text, digest = self._loaded
        try:
            return store.execute_all([("EVALSHA", digest, *arguments) for arguments in calls])
        except NoScriptError:  # the server has restarted: it has executed none of them
            return store.execute_all([("EVAL", text, *arguments) for arguments in calls])

    @cached_property
    def _loaded(self) -> tuple[str, str]:
        text = self._path.read_text()
        return text, hashlib.sha1(text.encode()).hexdigest()
