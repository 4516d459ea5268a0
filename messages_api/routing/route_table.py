"""Model name → targets, in order. Read from the database at most every `settings.CONFIG_CACHE_TTL_S`."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby

from lib.cached import SingleFlightCache
from messages_api.backend.endpoint import Target
from messages_api.errors import RequestError
from messages_api.models import Route, RouteTarget


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One target of a route, as it stands among the others."""

    target: Target
    priority: int
    weight: int
    is_enabled: bool
    """Whether its upstream is."""
    is_substitute: bool
    """Whether it is another model than those of the first priority, which are what the caller's name means."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """The route that a model goes by."""

    pattern: str
    choices: tuple[Choice, ...]
    """All of its targets, by priority and then by weight, those of disabled upstreams too."""

    def usable(self, may_use: Callable[[str], bool]) -> list[Choice]:
        """Those that can be asked. A substitute is one only if the key may use its model by that name."""
        return [
            choice
            for choice in self.choices
            if choice.is_enabled and (not choice.is_substitute or may_use(choice.target.model))
        ]


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All routes as they were when they were read. `*` and prefixes are patterns, everything else is a name."""

    routes: dict[str, tuple[Choice, ...]] = field(default_factory=dict)

    def find(self, model: str) -> Match | None:
        """The route of a model. An exact name wins, then the longest prefix, of which `*` is the shortest."""
        if model in self.routes and not model.endswith("*"):
            return self._match(model, model)
        matching = [pattern for pattern in self.routes if pattern.endswith("*") and model.startswith(pattern[:-1])]
        return self._match(max(matching, key=len), model) if matching else None

    def _match(self, pattern: str, model: str) -> Match:
        choices = [
            replace(choice, target=replace(choice.target, model=choice.target.model or model))
            for choice in self.routes[pattern]
        ]
        meant = {choice.target.model for choice in choices if choice.priority == choices[0].priority} | {model}
        return Match(
            pattern=pattern,
            choices=tuple(replace(choice, is_substitute=choice.target.model not in meant) for choice in choices),
        )

    def names(self) -> list[str]:
        """The models that have a route of their own with a target that can be asked, in alphabetical order."""
        return sorted(
            pattern
            for pattern, choices in self.routes.items()
            if not pattern.endswith("*") and any(choice.is_enabled for choice in choices)
        )


def in_turn(choices: Iterable[Choice]) -> list[Target]:
    """The targets in the order in which one call asks them: by priority, and among equals by chance and weight."""
    targets: list[Target] = []
    for _, equals in groupby(choices, key=lambda choice: choice.priority):
        # The largest of weighted exponential draws comes first as often as its weight says (Efraimidis, Spirakis).
        drawn = sorted(equals, key=lambda choice: random.expovariate(max(choice.weight, 1)))
        targets += [choice.target for choice in drawn]
    return targets


def _load() -> RouteTable:
    routes = Route.objects.prefetch_related("targets__upstream")
    return RouteTable({route.pattern: tuple(map(_choice, route.targets.all())) for route in routes})


def _choice(row: RouteTarget) -> Choice:
    return Choice(
        target=Target(endpoint=row.upstream.endpoint(), model=row.model),
        priority=row.priority,
        weight=row.weight,
        is_enabled=row.upstream.enabled,
        is_substitute=False,  # known once the model is
    )


class RouteCache(SingleFlightCache[RouteTable]):
    """The table of this process."""

    def table(self, *, is_fresh: bool = False) -> RouteTable:
        """The current table, read anew if it is to be fresh; while it cannot be read, the last one.

        Raise RequestError (503) if none was.
        """
        table = self.get(is_fresh=is_fresh)
        if table is None:
            raise RequestError(
                "The gateway cannot read its routes right now; try again shortly.",
                status=503,
                type="overloaded_error",
                headers={"Retry-After": "2"},
            )
        return table


routes = RouteCache(_load)
