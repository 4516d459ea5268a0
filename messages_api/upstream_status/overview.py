"""Status of every upstream: health, circuit and its history, rate limits of the provider, figures of a range."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone

from lib.query_limit import QueryTimeout
from messages_api.models import CircuitEvent, RouteTarget, Upstream
from messages_api.routing.upstream_health import UpstreamHealth, health_of
from messages_api.upstream_status import figures, process_reports
from messages_api.upstream_status.figures import ErrorCount, StatusRow, UpstreamFigures
from messages_api.upstream_status.process_reports import OpenCircuit, SeenHeader

SHOWN_EVENTS = 10
MAX_EVENTS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusPanel:
    """What the page shows of one upstream."""

    name: str
    pk: int | None
    """None: the upstream was deleted."""
    health: UpstreamHealth
    total: StatusRow
    targets: list[StatusRow] = field(default_factory=list)
    errors: list[ErrorCount] = field(default_factory=list)
    events: list[CircuitEvent] = field(default_factory=list)
    headers: list[SeenHeader] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusOverview:
    range: str
    begin: datetime
    as_of: datetime
    upstreams: list[StatusPanel]
    is_too_slow: bool
    """Whether the figures took too long to read, and are left out."""


def status_overview(range_name: str) -> StatusOverview:
    """Return the status of all upstreams, with the figures of a range."""
    now = timezone.now()
    interval = figures.interval_of(range_name, now)
    is_too_slow = False
    try:
        found = figures.by_upstream(interval)
    except QueryTimeout:
        found, is_too_slow = {}, True
    rows = list(Upstream.objects.all())
    configured = {row.name: row for row in rows}
    identities = {row.name: row.endpoint().identity for row in rows}
    circuits = process_reports.open_circuits(process_reports.live_reports())
    headers = process_reports.seen_headers(identities.values())
    events = _events(configured)
    models = _configured_models(configured)
    statuses = [
        StatusPanel(
            name=row.name,
            pk=row.pk,
            health=_health(row, circuits.get(identities[row.name])),
            events=events[row.name],
            headers=headers[identities[row.name]],
            **_figures(row.name, found.get(row.name), models[row.name]),
        )
        for row in rows
    ]
    deleted = UpstreamHealth(kind="quiet", label="Deleted")
    statuses += [
        StatusPanel(name=name, pk=None, health=deleted, **_figures(name, each, set()))
        for name, each in sorted(found.items())
        if name not in configured
    ]
    return StatusOverview(
        range=range_name, begin=interval.begin, as_of=now, upstreams=statuses, is_too_slow=is_too_slow
    )


def _figures(name: str, found: UpstreamFigures | None, models: set[str]) -> dict[str, Any]:
    """Return the figures of an upstream by field, with the configured targets that had no request."""
    if found is None:
        return {"total": figures.nothing(name), "targets": [figures.nothing(model) for model in sorted(models)]}
    idle = models - {row.name for row in found.targets}
    targets = [*found.targets, *(figures.nothing(model) for model in sorted(idle))]
    return {"total": found.total, "targets": targets, "errors": found.errors}


def _health(upstream: Upstream, circuit: OpenCircuit | None) -> UpstreamHealth:
    """Return the health that the processes report, and otherwise the one that this process knows."""
    if circuit is None or not upstream.enabled:
        return health_of(upstream)
    since = timezone.localtime(circuit.since)
    processes = f" in {circuit.processes} processes" if circuit.processes > 1 else ""
    detail = f"{circuit.reason} since {since:%Y-%m-%d %H:%M:%S}{processes}"
    return UpstreamHealth(kind="bad", label="Circuit open", detail=detail)


def _events(names: Iterable[str]) -> dict[str, list[CircuitEvent]]:
    """Return the newest events of each upstream. One query."""
    found: dict[str, list[CircuitEvent]] = defaultdict(list)
    for event in CircuitEvent.objects.filter(upstream__in=list(names)).order_by("-at", "-pk")[:MAX_EVENTS]:
        if len(found[event.upstream]) < SHOWN_EVENTS:
            found[event.upstream].append(event)
    return found


def _configured_models(names: Iterable[str]) -> dict[str, set[str]]:
    """Return the models that routes name for each upstream. One query."""
    found: dict[str, set[str]] = defaultdict(set)
    targets = RouteTarget.objects.filter(upstream__name__in=list(names)).exclude(model="")
    for name, model in targets.values_list("upstream__name", "model"):
        found[name].add(model)
    return found
