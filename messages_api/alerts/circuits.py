"""Conditions of circuits: open for all keys in any process, now or since the last evaluation."""

from collections.abc import Iterator
from datetime import datetime

from django.urls import reverse

from messages_api.alerts.condition import AlertCondition
from messages_api.models import AlertRule, CircuitEvent, Upstream
from messages_api.upstream_status import process_reports
from messages_api.upstream_status.process_reports import OpenCircuit

MAX_EVENTS = 1_000


def conditions(rules: list[AlertRule], *, since: datetime) -> Iterator[tuple[AlertRule, AlertCondition]]:
    """Yield the upstreams whose circuit is open, or was opened since the last evaluation and closed again."""
    upstreams = {row.name: row for row in Upstream.objects.filter(enabled=True)}
    circuits = process_reports.open_circuits(process_reports.live_reports())
    opened = {name: circuits.get(row.endpoint().identity) for name, row in upstreams.items()}
    passed = _passed(since)
    for name, row in upstreams.items():
        condition = _condition(name, opened[name], passed.get(name))
        if condition is not None:
            yield from ((rule, condition) for rule in rules if rule.upstream_id in (None, row.pk))


def _passed(since: datetime) -> dict[str, tuple[datetime, datetime, str]]:
    """Return when circuits were opened and closed since then, with the reason, by upstream."""
    found: dict[str, tuple[datetime, datetime, str]] = {}
    opened: dict[tuple[str, str], CircuitEvent] = {}
    for event in CircuitEvent.objects.filter(at__gt=since).order_by("at", "pk")[:MAX_EVENTS]:
        if event.change == CircuitEvent.CircuitMove.OPENED:
            opened.setdefault((event.upstream, event.process), event)
        elif event.change == CircuitEvent.CircuitMove.CLOSED:
            begin = opened.pop((event.upstream, event.process), None)
            if begin is not None:
                found[event.upstream] = (begin.at, event.at, begin.reason)
    return found


def _condition(
    name: str, circuit: OpenCircuit | None, passed: tuple[datetime, datetime, str] | None
) -> AlertCondition | None:
    if circuit is None and passed is None:
        return None
    began_at, ended_at, reason = passed if circuit is None and passed else (None, None, "")
    if circuit is not None:
        began_at, reason = circuit.since, circuit.reason
    return AlertCondition(
        subject=f"circuit:{name}",
        title=f"Circuit of upstream {name} is open",
        detail=f"Last failure: {reason}. Requests use their next target or fail; one every ten seconds probes.",
        path=reverse("admin:upstream_health") + f"#upstream-{name}",
        began_at=began_at,
        ended_at=ended_at,
    )
