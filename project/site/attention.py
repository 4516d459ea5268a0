"""
What somebody should look at, of all parts of the gateway, for one who may see it.

Each part is told of to whoever may see where it is mended; what belongs to the machine, to whoever sees the upstreams.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.checks import CheckMessage
from django.db.models import Sum
from django.urls import reverse
from django.utils import timezone

from keys.hygiene import findings
from keys.hygiene.checks import Severity
from keys.models import HourlyUsage, UsageRecord
from keys.pricing.unpriced import unpriced_models
from keys.reports.totals import from_columns, grouped
from keys.usage import spool
from keys.usage.backlog import spool_folder
from lib import periods
from lib.shared_store import store
from messages_api.models import Upstream
from messages_api.routing.upstream_health import health_of
from project import checks

Status = UsageRecord.Status
MANY_FAILURES = 5
LATELY = timedelta(days=1)
SHOWN_MODELS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionItem:
    """One thing to look at."""

    severity: Severity
    words: str
    note: str = ""
    address: str = ""
    """Where to look."""


def concerns(user: Any) -> bool:
    """Whether there is anything that somebody may see."""
    return any(user.has_perm(permission) for permission in PARTS)


def items_for(user: Any) -> list[AttentionItem]:
    """All of it that somebody may see, the urgent first."""
    found = [matter for permission, part in PARTS.items() if user.has_perm(permission) for matter in part()]
    return sorted(found, key=lambda matter: matter.severity != Severity.CRITICAL)


def _of_keys() -> Iterator[AttentionItem]:
    address = reverse("admin:keys_apikey_changelist")
    for finding in findings.counts():
        if finding.needs_attention:
            severity = finding.check.severity
            yield AttentionItem(severity=severity, words=finding.title, address=f"{address}?{finding.query}")


def _of_prices() -> Iterator[AttentionItem]:
    names = list(dict.fromkeys(each.model for each in unpriced_models()))
    if names:
        words = (
            "1 model was used without a price" if len(names) == 1 else f"{len(names)} models were used without a price"
        )
        more = f" and {len(names) - SHOWN_MODELS} more" if len(names) > SHOWN_MODELS else ""
        note = ", ".join(names[:SHOWN_MODELS]) + more
        yield AttentionItem(
            severity=Severity.WARNING, words=words, note=note, address=reverse("admin:keys_modelprice_changelist")
        )


def _of_calls() -> Iterator[AttentionItem]:
    since = timezone.now() - LATELY
    orphaned = HourlyUsage.objects.filter(hour__gte=since, status=Status.INTERRUPTED).aggregate(
        requests=Sum("requests")
    )["requests"]
    if orphaned:
        words = f"{orphaned:,} call{'' if orphaned == 1 else 's'} of the last 24 hours ended with nobody to say how"
        address = reverse(
            "admin:keys_usagerecord_changelist", query={"status__exact": Status.INTERRUPTED, "time": "day"}
        )
        yield AttentionItem(
            severity=Severity.WARNING, words=words, note="A worker was killed, or a machine lost.", address=address
        )


def _of_the_machine() -> Iterator[AttentionItem]:
    yield from _of_upstreams()
    yield from _of_spool()
    yield from _of_settings()


def _of_upstreams() -> Iterator[AttentionItem]:
    """Those that are skipped, and those whose calls fail often: a circuit knows what its own process has seen."""
    address = reverse("admin:messages_api_upstream_changelist")
    failures = _recent_failures()
    for upstream in Upstream.objects.filter(enabled=True):
        health = health_of(upstream)
        if health.kind != "good":
            yield AttentionItem(
                severity=Severity.CRITICAL, words=f"{upstream} is skipped", note=health.detail, address=address
            )
        elif health.detail:
            yield AttentionItem(
                severity=Severity.WARNING, words=f"{upstream} is failing", note=health.detail, address=address
            )
        elif upstream.name in failures:
            yield AttentionItem(
                severity=Severity.WARNING, words=f"{upstream} is failing", note=failures[upstream.name], address=address
            )


def _recent_failures() -> dict[str, str]:
    """By upstream name, where a quarter of the requests since the start of the previous hour had upstream errors."""
    since = periods.begin_of_hour(timezone.now()) - timedelta(hours=1)
    hours = HourlyUsage.objects.filter(hour__gte=since).order_by()
    by_upstream = {name: from_columns(columns) for name, *columns in grouped(hours, "upstream")}
    return {
        name: f"{usage.upstream_errors:,} of {usage.finished:,} requests since {timezone.localtime(since):%H:%M}"
        for name, usage in by_upstream.items()
        if usage.upstream_errors >= MANY_FAILURES and usage.upstream_errors * 4 >= usage.finished
    }


def _of_spool() -> Iterator[AttentionItem]:
    folder = spool_folder()
    if waiting := spool.count_pending(folder):
        note = "The database did not take it. It is brought home as soon as it does."
        words = f"Usage waits on the disk, in {waiting} file{'' if waiting == 1 else 's'}"
        yield AttentionItem(severity=Severity.WARNING, words=words, note=note)
    if spool.has_quarantined(folder):
        note = f"Look at {spool.QUARANTINE} in {folder}, and remove it."
        yield AttentionItem(severity=Severity.CRITICAL, words="Some usage could not be written at all", note=note)


def _of_settings() -> Iterator[AttentionItem]:
    for message in (*checks.check_settings(), *checks.check_limits(), *checks.weaknesses()):
        yield _told_by(message)
    if store.is_configured and store.is_away:
        note = "Each worker goes by its share of the limits."
        yield AttentionItem(severity=Severity.CRITICAL, words="Redis does not answer", note=note)


def _told_by(message: CheckMessage) -> AttentionItem:
    return AttentionItem(
        severity=Severity.CRITICAL if message.is_serious() else Severity.WARNING,
        words=message.msg,
        note=message.hint or "",
    )


PARTS = {
    "keys.view_apikey": _of_keys,
    "keys.view_modelprice": _of_prices,
    "keys.view_usagerecord": _of_calls,
    "messages_api.view_upstream": _of_the_machine,
}
