"""Model names that no route matches, each with the most similar name that one does."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from lib import model_patterns
from messages_api.models import ModelCatalog, Route, Upstream

MAX_SHOWN = 10
"""Names that are reported: each is compared with all known names."""
SIMILAR = 0.6
"""The least similarity, of at most 1, of a name that is suggested."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnroutedModel:
    """A model name or pattern without a route. Requests for it are rejected with 404."""

    name: str
    suggestion: str
    """The most similar name or pattern with a route; empty if none is similar."""


def unrouted(patterns: Iterable[str]) -> list[UnroutedModel]:
    """Return those of the model names and patterns that no route matches. At most three queries."""
    routes = list(Route.objects.values_list("pattern", flat=True))
    found = [pattern for pattern in patterns if not _is_routed(pattern, routes)][:MAX_SHOWN]
    known = _known_names(routes) if found else {}
    return [UnroutedModel(name=pattern, suggestion=_most_similar(pattern, known)) for pattern in found]


def _is_routed(pattern: str, routes: Iterable[str]) -> bool:
    """Return whether a route matches the pattern, or a model that the pattern stands for."""
    return any(model_patterns.covers(route, pattern) or model_patterns.covers(pattern, route) for route in routes)


def _known_names(routes: Collection[str]) -> dict[str, str]:
    """Return the routes, and the models with a route that upstreams list or admins name, by lower-case name."""
    names = [name for row in Upstream.objects.values_list("model_names", flat=True) for name in row]
    names += [entry["id"] for entries in ModelCatalog.objects.values_list("entries", flat=True) for entry in entries]
    return {name.lower(): name for name in (*routes, *names) if _is_routed(name, routes)}


def _most_similar(pattern: str, known: dict[str, str]) -> str:
    found = get_close_matches(pattern.lower(), known, n=1, cutoff=SIMILAR)
    return known[found[0]] if found else ""
