"""Bounds on the names that clients invent: models of unsuccessful requests, names and values of tags."""

from collections.abc import Hashable, Mapping
from datetime import datetime

from lib.periods import begin_of_hour

MAX_NAMES = 50
"""Names per key, hour and process. The requests for further names are one group."""
MAX_TAG_NAMES = 20
MAX_TAG_VALUES = 100
"""Per key and name of a tag."""
OTHER = "(other)"
"""The value of a tag beyond the bound."""


class BoundedNames:
    """The names of this hour, by owner. Memory is bounded: a new hour starts with none.

    Without a lock: threads that add a name at the same time may exceed the bound by one each.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._hour: datetime | None = None
        self._names: dict[Hashable, set[str]] = {}

    def clear(self) -> None:
        self._names = {}

    def add(self, name: str, *, owner: Hashable, at: datetime) -> bool:
        """Return whether the name is one of the first of its owner in this hour."""
        hour = begin_of_hour(at)
        if hour != self._hour:
            self._hour, self._names = hour, {}
        names = self._names.setdefault(owner, set())
        if len(names) < self._most:
            names.add(name)
        return name in names


tag_names = BoundedNames(MAX_TAG_NAMES)
tag_values = BoundedNames(MAX_TAG_VALUES)


def bounded_tags(tags: Mapping[str, str], *, key_id: int, at: datetime) -> dict[str, str]:
    """Return the tags of a request. Further names of its key are left out, further values are OTHER."""
    return {
        name: value if tag_values.add(value, owner=(key_id, name), at=at) else OTHER
        for name, value in tags.items()
        if tag_names.add(name, owner=key_id, at=at)
    }
