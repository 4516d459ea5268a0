"""Reports of processes: each writes what it knows about its upstreams every few seconds, and pages read all of them.

A process that knows nothing writes nothing. A report counts while it is recent, so that the open circuit of a process
that died does not stay open on pages.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from keys.usage import outage, spool
from keys.usage.backlog import spool_folder
from messages_api.backend import provider_limits
from messages_api.models import CircuitEvent, LedgerOutage, ProcessReport
from messages_api.routing.circuit_log import circuit_log
from messages_api.routing.redis_circuits import circuit_breakers
from messages_api.upstream_status.process_name import process_name

RENEWED_EVERY_S = 20.0
"""How often an unchanged report is written while it matters: a circuit is open, or rows are spooled."""
LIMITS_EVERY_S = 10.0
"""How often changed headers alone are written."""
RECENT = timedelta(seconds=60)
KEPT_EVENTS = timedelta(days=30)
MAX_EVENTS = 10_000
KEPT_REPORTS = timedelta(days=7)
"""For the headers in them."""


class Publisher:
    """Writes the report of this process."""

    def __init__(self) -> None:
        self._urgent: Any = ({}, 0)
        self._limits: Any = {}
        self._written_at = 0.0

    def run(self) -> None:
        """Write circuit changes, ledger outages that are over, and the report where it changed or is due."""
        write_circuit_changes()
        write_outages()
        circuits = {
            identity: {"since": state.since, "reason": state.reason}
            for identity, state in circuit_breakers.open_states().items()
        }
        urgent = (circuits, spool.count_pending(spool_folder()))
        limits = provider_limits.last_seen()
        if self._is_due(urgent, limits):
            _write(circuits, limits, spool_files=urgent[1])
            self._urgent, self._limits, self._written_at = urgent, limits, time.monotonic()

    def _is_due(self, urgent: Any, limits: Any) -> bool:
        age_s = time.monotonic() - self._written_at
        if urgent != self._urgent or (urgent != ({}, 0) and age_s >= RENEWED_EVERY_S):
            return True
        return bool(limits != self._limits and age_s >= LIMITS_EVERY_S)


def _write(circuits: dict[str, Any], limits: dict[str, Any], *, spool_files: int) -> None:
    upstreams = {
        identity: {"circuit": circuits.get(identity), "limits": limits.get(identity, {})}
        for identity in sorted({*circuits, *limits})
    }
    values = {"reported_at": timezone.now(), "upstreams": upstreams, "spool_files": spool_files}
    ProcessReport.objects.update_or_create(process=str(process_name), defaults=values)


def write_circuit_changes() -> None:
    """Write the changes of circuits that this process has made. They wait on while the database is unavailable."""
    changes = circuit_log.take()
    if not changes:
        return
    try:
        CircuitEvent.objects.bulk_create(
            CircuitEvent(
                upstream=each.upstream[:64],
                change=each.change,
                reason=each.reason[:64],
                process=str(process_name),
                at=datetime.fromtimestamp(each.at, UTC),
            )
            for each in changes
        )
    except Exception:
        circuit_log.put_back(changes)
        raise


def write_outages() -> None:
    """Write the ledger's outages that are over."""
    while outage.ended:
        began, ended = (datetime.fromtimestamp(each, UTC) for each in outage.ended[0])
        LedgerOutage.objects.create(process=str(process_name), began_at=began, ended_at=ended)
        outage.ended.popleft()


def purge() -> None:
    """Delete old events and reports. Any number of processes may do it."""
    now = timezone.now()
    for model, column in ((CircuitEvent, "at"), (LedgerOutage, "ended_at")):
        old = model._default_manager.filter(**{f"{column}__lt": now - KEPT_EVENTS})
        old.delete()
    oldest_kept = CircuitEvent.objects.order_by("-at", "-pk").values_list("at", flat=True)[MAX_EVENTS : MAX_EVENTS + 1]
    for moment in list(oldest_kept):
        CircuitEvent.objects.filter(at__lte=moment).delete()
    ProcessReport.objects.filter(reported_at__lt=now - KEPT_REPORTS).delete()


publisher = Publisher()


# ---- Reading.


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenCircuit:
    since: datetime
    reason: str
    processes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenHeader:
    name: str
    value: str
    at: datetime


def live_reports() -> list[ProcessReport]:
    """Return the recent reports of all processes."""
    return list(ProcessReport.objects.filter(reported_at__gte=timezone.now() - RECENT).order_by("process"))


def open_circuits(reports: Iterable[ProcessReport]) -> dict[str, OpenCircuit]:
    """Return the circuits that any process reports as open, by identity: since the first, with its reason."""
    found: dict[str, list[tuple[float, str]]] = {}
    for report in reports:
        for identity, entry in report.upstreams.items():
            if circuit := entry.get("circuit"):
                found.setdefault(identity, []).append((circuit["since"], circuit["reason"]))
    return {
        identity: OpenCircuit(
            since=datetime.fromtimestamp(min(states)[0], UTC), reason=min(states)[1], processes=len(states)
        )
        for identity, states in found.items()
    }


def seen_headers(identities: Iterable[str]) -> dict[str, list[SeenHeader]]:
    """Return the rate-limit headers of endpoints as any process saw them last, by identity."""
    wanted, found = set(identities), {identity: dict[str, tuple[float, str]]() for identity in identities}
    for report in ProcessReport.objects.order_by("-reported_at")[:200]:
        for identity in wanted & report.upstreams.keys():
            for name, (value, at) in report.upstreams[identity].get("limits", {}).items():
                found[identity][name] = max(found[identity].get(name, (0.0, "")), (at, value))
    return {
        identity: [
            SeenHeader(name=name, value=value, at=datetime.fromtimestamp(at, UTC))
            for name, (at, value) in sorted(headers.items())
        ]
        for identity, headers in found.items()
    }
