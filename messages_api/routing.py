"""Model name → targets, in order. Read from the database at most every `settings.SNAPSHOT_TTL_S`."""

import threading
import time
from dataclasses import dataclass, field

from django.conf import settings
from django.db import InterfaceError, OperationalError

from messages_api.backend.endpoint import Target
from messages_api.errors import RequestError
from messages_api.models import Route


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All routes as they were when they were read. `*` and prefixes are patterns, everything else is a name."""

    routes: dict[str, tuple[Target, ...]] = field(default_factory=dict)

    def targets(self, model: str) -> tuple[Target, ...]:
        """What answers for a model, best first; empty if nothing does. An exact name wins, then the longest prefix."""
        if model in self.routes and not model.endswith("*"):
            return _named(self.routes[model], model)
        matching = [pattern for pattern in self.routes if pattern.endswith("*") and model.startswith(pattern[:-1])]
        if not matching:
            return ()
        return _named(self.routes[max(matching, key=len)], model)

    def names(self) -> list[str]:
        """The models that have a route of their own, in alphabetical order."""
        return sorted(pattern for pattern, targets in self.routes.items() if targets and not pattern.endswith("*"))


class RouteCache:
    """The table of this process."""

    def __init__(self) -> None:
        self._table = RouteTable()
        self._fresh_until = 0.0
        self._lock = threading.Lock()

    def table(self) -> RouteTable:
        """The current table. While the database is away, the last one that was read."""
        if time.monotonic() < self._fresh_until:
            return self._table
        with self._lock:
            if time.monotonic() >= self._fresh_until:
                self._refresh()
        return self._table

    def clear(self) -> None:
        self._fresh_until = 0.0

    def _refresh(self) -> None:
        try:
            self._table = _load()
        except (OperationalError, InterfaceError) as error:
            if not self._table.routes:
                raise RequestError(
                    "The gateway cannot read its routes right now; try again shortly.",
                    status=503,
                    type="overloaded_error",
                    headers={"Retry-After": "2"},
                ) from error
        self._fresh_until = time.monotonic() + settings.SNAPSHOT_TTL_S


def _load() -> RouteTable:
    return RouteTable(
        {
            route.pattern: tuple(
                Target(endpoint=target.upstream.endpoint(), model=target.model)
                for target in route.targets.all()
                if target.upstream.enabled
            )
            for route in Route.objects.prefetch_related("targets__upstream")
        }
    )


def _named(targets: tuple[Target, ...], model: str) -> tuple[Target, ...]:
    """A target without a model name of its own takes the caller's."""
    return tuple(target if target.model else Target(endpoint=target.endpoint, model=model) for target in targets)


routes = RouteCache()
