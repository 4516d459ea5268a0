"""Route table: the targets of a model, and the models that a key may use.

It is read from the database at most every `settings.CONFIG_CACHE_TTL_S`.
"""

import random
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from django.conf import settings

from keys.access import authorization
from keys.access.snapshots import Snapshot
from lib import deadlines, model_patterns
from lib.cached import SingleFlightCache
from messages_api.backend.endpoint import Target
from messages_api.errors import RequestError
from messages_api.models import Route, RouteTarget

MAX_MATCHES = 1_000
"""Models whose route a table remembers. Most gateways serve fewer."""
MAX_MODEL_LENGTH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutedTarget:
    """A target with its position in a route."""

    target: Target
    priority: int
    weight: int
    is_enabled: bool
    """Whether its upstream is enabled."""
    is_fallback_model: bool
    """Whether its model differs from the requested one and from the models of the first priority."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteMatch:
    """The route that matches a model."""

    pattern: str
    targets: tuple[RoutedTarget, ...]
    """By priority and then by weight, including those of disabled upstreams."""

    def usable(self, may_use: Callable[[str], bool]) -> list[RoutedTarget]:
        """Return the enabled targets. A fallback model is usable only if the key may use it by its own name."""
        return [
            routed
            for routed in self.targets
            if routed.is_enabled and (not routed.is_fallback_model or may_use(routed.target.model))
        ]


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All routes at the time of reading. `*` and prefixes are patterns, everything else is a model name."""

    routes: dict[str, tuple[RoutedTarget, ...]] = field(default_factory=dict)
    _matches: dict[str, RouteMatch] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The matches that were found before, by model. Bounded: clients choose the models."""

    def find(self, model: str) -> RouteMatch | None:
        """Return the route of a model: an exact name, else the longest prefix, of which `*` is the shortest."""
        known = self._matches.get(model)
        if known is not None:
            return known
        pattern = model_patterns.most_specific(self.routes, model)
        if pattern is None:
            return None
        match = self._match(pattern, model)
        if len(self._matches) < MAX_MATCHES and len(model) <= MAX_MODEL_LENGTH:
            self._matches[model] = match
        return match

    def _match(self, pattern: str, model: str) -> RouteMatch:
        targets = [
            replace(routed, target=replace(routed.target, model=routed.target.model or model))
            for routed in self.routes[pattern]
        ]
        primary = {routed.target.model for routed in targets if routed.priority == targets[0].priority} | {model}
        return RouteMatch(
            pattern=pattern,
            targets=tuple(replace(routed, is_fallback_model=routed.target.model not in primary) for routed in targets),
        )

    def names(self) -> list[str]:
        """Return the models with a route of their own and an enabled target, in alphabetical order."""
        reachable = [pattern for pattern, targets in self.routes.items() if any(each.is_enabled for each in targets)]
        return sorted(model_patterns.names(reachable))


def attempt_order(targets: Iterable[RoutedTarget]) -> list[Target]:
    """Order targets for one request: by priority, and within a priority at random by weight."""
    targets = list(targets)
    if len(targets) == 1:
        return [targets[0].target]
    ordered: list[Target] = []
    for _, same_priority in groupby(targets, key=lambda routed: routed.priority):
        # The largest of weighted exponential draws comes first as often as its weight says (Efraimidis, Spirakis).
        drawn = sorted(same_priority, key=lambda routed: random.expovariate(max(routed.weight, 1)))
        ordered += [routed.target for routed in drawn]
    return ordered


def _load() -> RouteTable:
    routes = Route.objects.prefetch_related("targets__upstream")
    return RouteTable({route.pattern: tuple(map(_routed, route.targets.all())) for route in routes})


def _routed(row: RouteTarget) -> RoutedTarget:
    return RoutedTarget(
        target=Target(endpoint=row.upstream.endpoint(), model=row.model),
        priority=row.priority,
        weight=row.weight,
        is_enabled=row.upstream.enabled,
        is_fallback_model=False,  # set by `find`, which knows the requested model
    )


class RouteCache(SingleFlightCache[RouteTable]):
    """The route table of this process."""

    def table(self, *, is_fresh: bool = False) -> RouteTable:
        """Return the current table, or the last one while the database is unavailable.

        `is_fresh` reads it from the database now. Raise RequestError (503) if it was never read.
        """
        table = self.get(is_fresh=is_fresh)
        if table is None:
            raise RequestError(
                "Routing is temporarily unavailable. Retry shortly.",
                status=503,
                type="overloaded_error",
                headers={"Retry-After": "2"},
            )
        return table


routes = RouteCache(_load)


def models(*, key: Snapshot) -> list[str]:
    """Return the names that a key may use: those with a route of their own, and those in its allowlist."""
    table = current()
    listed = filter(table.find, model_patterns.names([*key.allowed_models, *key.team_models]))
    return sorted({name for name in (*table.names(), *listed) if authorization.allows_model(key, name)})


def is_available(model: str, *, key: Snapshot) -> bool:
    """Return whether a key may use a model and a route matches it, by name or by a pattern."""
    match = current().find(model)
    return authorization.allows_model(key, model) and match is not None and bool(match.targets)


def is_routed(model: str) -> bool:
    """Return whether a route matches a model, as far as this process knows: without a query."""
    table = routes.last
    return table is None or table.find(model) is not None


def find_targets(model: str, *, key: Snapshot) -> list[Target]:
    """Return the targets for one request, in the order of attempts.

    Raise RequestError: 404 with the models that this key may use, or 503 where the route has no usable target now.
    """
    match = current().find(model)
    if match is None or not match.targets:
        usable = models(key=key)
        known = f"Models for this key: {', '.join(usable)}." if usable else "This API key has no usable model."
        raise RequestError(f"Model not found. {known}", param="model", status=404, type="not_found_error")
    targets = attempt_order(match.usable(lambda name: authorization.allows_model(key, name)))
    if not targets:
        raise RequestError("No upstream is currently available for this model.", status=503, type="overloaded_error")
    return targets


def current() -> RouteTable:
    """Return the current route table. Raise RequestError (503) if it was never read."""
    with refresh_deadline(routes):
        return routes.table()


def refresh_deadline(cached: SingleFlightCache[Any]) -> AbstractContextManager[None]:
    """Limit the wait for a cached table. If there is a last value, leave half the time for the usage record."""
    if cached.is_fresh:
        return _NO_DEADLINE
    timeout_s = settings.DATABASE_TIMEOUT_S
    return deadlines.deadline(timeout_s if cached.last is None else timeout_s / 2)


_NO_DEADLINE = nullcontext()
