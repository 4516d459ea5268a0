"""Preview of a route: which targets would serve a model now, and why."""

from collections.abc import Callable
from dataclasses import dataclass

from keys.access import authorization, snapshots
from lib.model_patterns import EVERY_MODEL
from messages_api.routing.redis_circuits import circuit_breakers
from messages_api.routing.route_table import RoutedTarget, RouteMatch, routes


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetStatus:
    """One target of the route, and whether requests are sent to it."""

    routed: RoutedTarget
    is_used: bool
    reason: str
    share: int | None
    """Percent of the requests that try it before other targets of its priority; None where it is not used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """The route of a model, and its targets in the order of attempts."""

    match: RouteMatch | None
    reason: str
    targets: list[TargetStatus]


def preview_route(model: str, *, public_id: str = "") -> Preview:
    """Return what a request for `model` would find now, for one key or without a key's restrictions.

    Raise LookupError for an unknown key.
    """
    if not public_id:
        return _preview(model, may_use=lambda name: True, key_id=None)
    key = snapshots.by_public_id(public_id)
    return _preview(model, may_use=lambda name: authorization.allows_model(key, name), key_id=key.key_id)


def _preview(model: str, *, may_use: Callable[[str], bool], key_id: int | None) -> Preview:
    match = routes.table(is_fresh=True).find(model)
    if match is None:
        return Preview(match=None, reason="No route matches: requests are rejected with 404.", targets=[])
    if not may_use(model):
        reason = "The API key is not allowed to use this model: requests are rejected with 403."
        return Preview(match=match, reason=reason, targets=[])
    usable = match.usable(may_use)
    is_any_closed = any(circuit_breakers.of(routed.target.endpoint).open_state_for(key_id) is None for routed in usable)
    targets = [_status(routed, usable, is_any_closed=is_any_closed, key_id=key_id) for routed in match.targets]
    return Preview(match=match, reason=_reason_for_route(match, model), targets=targets)


def _reason_for_route(match: RouteMatch, model: str) -> str:
    if match.pattern == model:
        return "Exact match."
    if match.pattern == EVERY_MODEL:
        return "Default route: no other route matches."
    return "Longest matching prefix."


def _status(
    routed: RoutedTarget, usable: list[RoutedTarget], *, is_any_closed: bool, key_id: int | None
) -> TargetStatus:
    if not routed.is_enabled:
        return TargetStatus(routed=routed, is_used=False, reason="Upstream disabled.", share=None)
    if routed not in usable:
        reason = "Fallback model that the API key is not allowed to use."
        return TargetStatus(routed=routed, is_used=False, reason=reason, share=None)
    same_priority = [other for other in usable if other.priority == routed.priority]
    share = round(100 * routed.weight / sum(other.weight for other in same_priority))
    breaker = circuit_breakers.of(routed.target.endpoint)
    if (state := breaker.open_state_for(key_id)) is not None:
        if not is_any_closed and routed is usable[0]:
            reason = f"Circuit open ({state.reason}), but it is the only target left."
            return TargetStatus(routed=routed, is_used=True, reason=reason, share=share)
        reason = f"Circuit open ({state.reason}); next probe in {breaker.next_probe_in_s(key_id):.0f} s."
        return TargetStatus(routed=routed, is_used=False, reason=reason, share=None)
    return TargetStatus(routed=routed, is_used=True, reason=_reason_for_use(routed, usable, share), share=share)


def _reason_for_use(routed: RoutedTarget, usable: list[RoutedTarget], share: int) -> str:
    which = "" if share == 100 else f" for {share} % of requests"
    if routed.priority == usable[0].priority:
        return f"First attempt{which}."
    return f"Fallback{which}: used when higher-priority targets fail."
