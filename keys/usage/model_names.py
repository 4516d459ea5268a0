"""Bound on the model names that unsuccessful requests add to the hourly rollups: clients invent names."""

from datetime import datetime

from lib.periods import begin_of_hour

MAX_NAMES = 50
"""Names per key, hour and process. The requests for further names are one group."""


class UnsuccessfulNames:
    """The names of this hour, by key. Memory is bounded: a new hour starts with none.

    Without a lock: threads that add a name at the same time may exceed the bound by one each.
    """

    def __init__(self) -> None:
        self._hour: datetime | None = None
        self._names: dict[int, set[str]] = {}

    def clear(self) -> None:
        self._names = {}

    def add(self, name: str, *, key_id: int, at: datetime) -> bool:
        """Return whether the name is one of the first of its key in this hour."""
        hour = begin_of_hour(at)
        if hour != self._hour:
            self._hour, self._names = hour, {}
        names = self._names.setdefault(key_id, set())
        if len(names) < MAX_NAMES:
            names.add(name)
        return name in names
