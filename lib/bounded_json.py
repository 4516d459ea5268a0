"""Bounded copies of JSON objects: numbers, Booleans and short printable texts, for records that keep no content."""

import math
from typing import Any

import msgspec

MAX_BYTES = 4096
MAX_DEPTH = 4
MAX_TEXT = 64
MAX_MEMBERS = 50  # of an object that is not copied
MAX_VISITS = 500  # members that are read: a hostile object has hundreds of thousands
MAX_INTEGER = 2**63 - 1
_PUNCTUATION = 4  # of a member: a colon, a comma and two spaces
_ESCAPED = 12  # bytes of a character outside of ASCII, at most
_encode = msgspec.json.Encoder().encode


def bounded(value: object, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return a copy of an object that has at most `max_bytes` as JSON, or itself if it does; {} for anything else.

    Null, long texts, deep containers and what exceeds the size are left out. Plain members come before containers, so
    that counts are kept rather than lists.
    """
    if not isinstance(value, dict):
        return {}
    if _is_plain(value, depth=1):  # mostly, and several times for one request
        encoded = _encode(value)
        if encoded.isascii() and 3 * len(encoded) <= 2 * max_bytes:  # Django's encoder adds a space to each separator
            return value
    return _Copy(max_bytes).object(value, depth=1)


def merged(known: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Return an object with the members of two bounded ones: the later ones, except for a 0 after another number."""
    result = dict(known)
    for name, value in later.items():
        before = known.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            result[name] = merged(before, value)
        elif value != 0 or not _is_number(before) or not _is_number(value):
            result[name] = value
    return result


class _Copy:
    """One copy and the room that is left for it."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes - 2  # the braces
        self._visits = MAX_VISITS

    def object(self, value: dict[Any, Any], *, depth: int) -> dict[str, Any]:
        copy: dict[str, Any] = {}
        containers: list[tuple[str, Any]] = []
        for name, item in value.items():
            if self._visits <= 0:
                break
            self._visits -= 1
            if not isinstance(name, str) or not _is_short(name):
                continue
            if isinstance(item, dict | list):
                containers.append((name, item))
            elif (size := _size(item)) and self._take(size + _size(name) + _PUNCTUATION):
                copy[name] = item
        for name, item in containers:
            if depth < MAX_DEPTH and self._take(_size(name) + _PUNCTUATION + 2):
                copy[name] = self._container(item, depth=depth + 1)
        return copy

    def _container(self, value: Any, *, depth: int) -> Any:
        return self.object(value, depth=depth) if isinstance(value, dict) else self._list(value, depth=depth)

    def _list(self, value: list[Any], *, depth: int) -> list[Any]:
        copy: list[Any] = []
        for item in value:
            if self._visits <= 0:
                break
            self._visits -= 1
            is_container = isinstance(item, dict | list)
            size = 2 if is_container else _size(item)
            if not size or (is_container and depth >= MAX_DEPTH):
                continue
            if not self._take(size + _PUNCTUATION):
                break
            kept = self._container(item, depth=depth + 1) if is_container else item
            if kept or not item:  # nothing is better than an entry that lost everything
                copy.append(kept)
        return copy

    def _take(self, size: int) -> bool:
        if size > self._left:
            return False
        self._left -= size
        return True


def _is_plain(value: dict[Any, Any], *, depth: int) -> bool:
    """Whether an object has numbers, Booleans, short texts and objects of these only."""
    if len(value) > MAX_MEMBERS:
        return False
    for name, item in value.items():
        if not isinstance(name, str) or not _is_short(name):
            return False
        kind = type(item)
        if kind is dict:
            if depth == MAX_DEPTH or not _is_plain(item, depth=depth + 1):
                return False
        elif not (
            (kind is int and -MAX_INTEGER <= item <= MAX_INTEGER)
            or kind is bool
            or (kind is str and _is_short(item))
            or (kind is float and math.isfinite(item))
        ):
            return False
    return True


def _size(value: object) -> int:
    """Return the bytes of a plain value as JSON, at most; 0 for a value that is left out."""
    if isinstance(value, bool):
        return 5
    if isinstance(value, int):
        return len(str(value)) if -MAX_INTEGER <= value <= MAX_INTEGER else 0
    if isinstance(value, float):
        return len(repr(value)) if math.isfinite(value) else 0
    if isinstance(value, str) and _is_short(value):
        if not value.isascii():
            return 2 + _ESCAPED * len(value)
        return 2 + len(value) + value.count('"') + value.count("\\")
    return 0


def _is_short(text: str) -> bool:
    return len(text) <= MAX_TEXT and text.isprintable()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
