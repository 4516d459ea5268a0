"""Items on the overview that need attention, for each user the items with a page that the user can view."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Sum
from django.urls import reverse
from django.utils import timezone

from keys.hygiene import findings
from keys.hygiene.checks import Severity
from keys.models import HourlyUsage, UsageRecord
from keys.pricing.unpriced import unpriced_models
from keys.reports.totals import from_columns, grouped
from keys.usage import spool, zone_notices
from keys.usage.backlog import spool_folder
from lib import periods
from lib.shared_store import store
from messages_api.models import Upstream
from messages_api.routing.upstream_health import health_of
from project import checks

Status = UsageRecord.Status
MIN_UPSTREAM_ERRORS = 5
INTERRUPTED_WITHIN = timedelta(days=1)
SHOWN_MODELS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionItem:
    """A condition that an operator should look at."""

    severity: Severity
    title: str
    detail: str = ""
    url: str = ""
    """The page that shows it."""


def is_relevant_to(user: Any) -> bool:
    """Return whether the user can view items of any part."""
    return any(user.has_perm(permission) for permission in PARTS)


def items_for(user: Any) -> list[AttentionItem]:
    """Return the items that the user can view, critical ones first."""
    found = [item for permission, part in PARTS.items() if user.has_perm(permission) for item in part()]
    return sorted(found, key=lambda item: item.severity != Severity.CRITICAL)


def _api_keys() -> Iterator[AttentionItem]:
    url = reverse("admin:keys_apikey_changelist")
    for finding in findings.counts():
        if finding.needs_attention:
            yield AttentionItem(severity=finding.check.severity, title=finding.title, url=f"{url}?{finding.query}")


def _prices() -> Iterator[AttentionItem]:
    names = list(dict.fromkeys(each.model for each in unpriced_models()))
    if not names:
        return
    subject = "1 model was" if len(names) == 1 else f"{len(names)} models were"
    more = f" and {len(names) - SHOWN_MODELS} more" if len(names) > SHOWN_MODELS else ""
    yield AttentionItem(
        severity=Severity.WARNING,
        title=f"{subject} used without a price",
        detail=", ".join(names[:SHOWN_MODELS]) + more,
        url=reverse("admin:keys_modelprice_changelist"),
    )


def _interrupted_requests() -> Iterator[AttentionItem]:
    since = timezone.now() - INTERRUPTED_WITHIN
    hours = HourlyUsage.objects.filter(hour__gte=since, status=Status.INTERRUPTED)
    count = hours.aggregate(requests=Sum("requests"))["requests"]
    if count:
        query = {"status__exact": Status.INTERRUPTED, "time": "day"}
        subject = "1 request was" if count == 1 else f"{count:,} requests were"
        yield AttentionItem(
            severity=Severity.WARNING,
            title=f"{subject} interrupted in the last 24 hours",
            detail="A gateway worker or host died while handling them.",
            url=reverse("admin:keys_usagerecord_changelist", query=query),
        )


def _installation() -> Iterator[AttentionItem]:
    yield from _upstreams()
    yield from _spool()
    yield from _reporting_zone()
    yield from _settings()


def _upstreams() -> Iterator[AttentionItem]:
    """Yield upstreams with an open circuit or a high error rate. Circuits are those of this process."""
    url = reverse("admin:messages_api_upstream_changelist")
    errors = _recent_errors()
    for upstream in Upstream.objects.filter(enabled=True):
        health = health_of(upstream)
        if health.kind != "good":
            title, detail, severity = f"{upstream}: circuit open", health.detail, Severity.CRITICAL
        elif detail := health.detail or errors.get(upstream.name, ""):
            title, severity = f"{upstream}: high error rate", Severity.WARNING
        else:
            continue
        yield AttentionItem(severity=severity, title=title, detail=detail, url=url)


def _recent_errors() -> dict[str, str]:
    """Return the errors by upstream name, where a quarter of the requests since the previous hour had some."""
    since = periods.begin_of_hour(timezone.now()) - timedelta(hours=1)
    hours = HourlyUsage.objects.filter(hour__gte=since).order_by()
    by_upstream = {name: from_columns(columns) for name, *columns in grouped(hours, "upstream")}
    return {
        name: f"{usage.upstream_errors:,} of {usage.finished:,} requests since {timezone.localtime(since):%H:%M}"
        for name, usage in by_upstream.items()
        if usage.upstream_errors >= MIN_UPSTREAM_ERRORS and usage.upstream_errors * 4 >= usage.finished
    }


def _spool() -> Iterator[AttentionItem]:
    folder = spool_folder()
    if files := spool.count_pending(folder):
        yield AttentionItem(
            severity=Severity.WARNING,
            title=f"Usage records are spooled on disk ({files} file{'' if files == 1 else 's'})",
            detail="The database was unavailable. They are replayed when it recovers.",
        )
    if names := spool.quarantined(folder):
        yield AttentionItem(
            severity=Severity.CRITICAL,
            title="Some usage records could not be replayed",
            detail=f"Check {', '.join(names)} in {folder}, then replay or delete each (docs/operations.md).",
        )


def _reporting_zone() -> Iterator[AttentionItem]:
    for notice in zone_notices.notices():
        yield AttentionItem(severity=Severity.WARNING, title="Reporting time zone", detail=notice)


def _settings() -> Iterator[AttentionItem]:
    for message in (*checks.check_settings(), *checks.check_limits(), *checks.weaknesses()):
        severity = Severity.CRITICAL if message.is_serious() else Severity.WARNING
        yield AttentionItem(severity=severity, title=message.msg, detail=message.hint or "")
    if store.is_configured and store.is_unavailable:
        yield AttentionItem(
            severity=Severity.CRITICAL,
            title="Redis is unavailable",
            detail="Each worker enforces its share of the limits locally.",
        )


PARTS = {
    "keys.view_apikey": _api_keys,
    "keys.view_modelprice": _prices,
    "keys.view_usagerecord": _interrupted_requests,
    "messages_api.view_upstream": _installation,
}
"""The function that yields the items of a part, by the permission to view that part."""
