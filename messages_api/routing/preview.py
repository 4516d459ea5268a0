"""Which targets a model would be answered by at this moment, and why: what routing and circuits decide, in words."""

from collections.abc import Callable
from dataclasses import dataclass

from messages_api.routing.circuit_breaker import Circuits
from messages_api.routing.route_table import Choice, Match, routes


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One target of the route, and what becomes of it."""

    choice: Choice
    is_asked: bool
    why: str
    share: int | None
    """Percent of the calls that ask it before its equals; None for what is not asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """The route of a model and its targets, in the order in which they are asked."""

    match: Match | None
    why: str
    lines: list[Line]


def preview(model: str, *, may_use: Callable[[str], bool], circuits: Circuits) -> Preview:
    """What a call for `model` would find now. `may_use` says which models the key may name."""
    match = routes.table(is_fresh=True).find(model)
    if match is None:
        return Preview(match=None, why="No route matches: the call is refused with 404.", lines=[])
    if not may_use(model):
        return Preview(match=match, why="The key may not use this model: the call is refused with 403.", lines=[])
    usable = match.usable(may_use)
    is_any_closed = any(circuits.of(choice.target.endpoint).opened is None for choice in usable)
    lines = [_line(choice, usable, circuits, is_any_closed=is_any_closed) for choice in match.choices]
    return Preview(match=match, why=_why_this_route(match, model), lines=lines)


def _why_this_route(match: Match, model: str) -> str:
    if match.pattern == model:
        return "The route has this very name."
    if match.pattern == "*":
        return "No other route matches, so the one for every model does."
    return "It is the longest pattern that matches."


def _line(choice: Choice, usable: list[Choice], circuits: Circuits, *, is_any_closed: bool) -> Line:
    if not choice.is_enabled:
        return Line(choice=choice, is_asked=False, why="Its upstream is disabled.", share=None)
    if choice not in usable:
        why = "It is another model than the one asked for, and the key may not use it."
        return Line(choice=choice, is_asked=False, why=why, share=None)
    equals = [other for other in usable if other.priority == choice.priority]
    share = round(100 * choice.weight / sum(other.weight for other in equals))
    circuit = circuits.of(choice.target.endpoint)
    if (opened := circuit.opened) is not None:
        failing = f"It keeps failing ({opened.reason})"
        if not is_any_closed and choice is usable[0]:
            return Line(choice=choice, is_asked=True, why=f"{failing}, but nothing else is left.", share=share)
        why = f"{failing} and is skipped; one call tries it again in {circuit.next_probe_in_s:.0f} s."
        return Line(choice=choice, is_asked=False, why=why, share=None)
    return Line(choice=choice, is_asked=True, why=_when(choice, usable, share), share=share)


def _when(choice: Choice, usable: list[Choice], share: int) -> str:
    when = "Asked first" if choice.priority == usable[0].priority else "Asked when those before it have failed"
    return f"{when}." if share == 100 else f"{when}, before its equals in {share} % of the calls."
