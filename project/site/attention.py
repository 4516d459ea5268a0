"""
What somebody should look at, of all parts of the gateway, for one who may see it.

Each part is told of to whoever may see where it is mended; what belongs to the machine, to whoever sees the upstreams.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.checks import CheckMessage
from django.db.models import Q, Sum
from django.urls import reverse
from django.utils import timezone

from keys.hygiene import findings
from keys.hygiene.findings import GRADES
from keys.models import HourlyUsage, UsageRecord
from keys.pricing import unpriced
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

    grade: str
    """`bad` or `warn`, as in hygiene."""
    words: str
    note: str = ""
    address: str = ""
    """Where to look."""

    @property
    def grade_word(self) -> str:
        return GRADES[self.grade]


def concerns(user: Any) -> bool:
    """Whether there is anything that somebody may see."""
    return any(user.has_perm(permission) for permission in PARTS)


def items_for(user: Any) -> list[AttentionItem]:
    """All of it that somebody may see, the urgent first."""
    found = [matter for permission, part in PARTS.items() if user.has_perm(permission) for matter in part()]
    return sorted(found, key=lambda matter: matter.grade != "bad")


def _of_keys() -> Iterator[AttentionItem]:
    address = reverse("admin:keys_apikey_changelist")
    for finding in findings.in_short():
        if finding.needs_attention:
            grade = finding.advice.grade
            yield AttentionItem(grade=grade, words=finding.words, address=f"{address}?{finding.query}")


def _of_prices() -> Iterator[AttentionItem]:
    names = list(dict.fromkeys(each.model for each in unpriced.models()))
    if names:
        words = (
            "1 model was called without a price" if len(names) == 1 else f"{len(names)} models were called without one"
        )
        more = f" and {len(names) - SHOWN_MODELS} more" if len(names) > SHOWN_MODELS else ""
        note = ", ".join(names[:SHOWN_MODELS]) + more
        yield AttentionItem(grade="warn", words=words, note=note, address=reverse("admin:keys_modelprice_changelist"))


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
        yield AttentionItem(grade="warn", words=words, note="A worker was killed, or a machine lost.", address=address)


def _of_the_machine() -> Iterator[AttentionItem]:
    yield from _of_upstreams()
    yield from _of_spool()
    yield from _of_settings()


def _of_upstreams() -> Iterator[AttentionItem]:
    """Those that are skipped, and those whose calls fail often: a circuit knows what its own process has seen."""
    address = reverse("admin:messages_api_upstream_changelist")
    failures = _failures_lately()
    for upstream in Upstream.objects.filter(enabled=True):
        health = health_of(upstream)
        if health.kind != "good":
            yield AttentionItem(grade="bad", words=f"{upstream} is skipped", note=health.detail, address=address)
        elif health.detail:
            yield AttentionItem(grade="warn", words=f"{upstream} is failing", note=health.detail, address=address)
        elif upstream.name in failures:
            yield AttentionItem(
                grade="warn", words=f"{upstream} is failing", note=failures[upstream.name], address=address
            )


def _failures_lately() -> dict[str, str]:
    """By the names of upstreams of which a quarter of the calls failed, in the hour that runs and the one before it."""
    since = periods.begin_of_hour(timezone.now()) - timedelta(hours=1)
    hours = HourlyUsage.objects.filter(hour__gte=since).exclude(status=Status.REJECTED).order_by().values("upstream")
    sums = hours.annotate(made=Sum("requests"), failed=Sum("requests", filter=Q(status=Status.FAILED), default=0))
    return {
        row["upstream"]: f"{row['failed']:,} of {row['made']:,} calls since {timezone.localtime(since):%H:%M}"
        for row in sums
        if row["failed"] >= MANY_FAILURES and row["failed"] * 4 >= row["made"]
    }


def _of_spool() -> Iterator[AttentionItem]:
    folder = spool_folder()
    if waiting := spool.count_waiting(folder):
        note = "The database did not take it. It is brought home as soon as it does."
        words = f"Usage waits on the disk, in {waiting} file{'' if waiting == 1 else 's'}"
        yield AttentionItem(grade="warn", words=words, note=note)
    if spool.has_rejected(folder):
        note = f"Look at {spool.REJECTED} in {folder}, and remove it."
        yield AttentionItem(grade="bad", words="Some usage could not be written at all", note=note)


def _of_settings() -> Iterator[AttentionItem]:
    for message in (*checks.check_settings(), *checks.check_limits(), *checks.weaknesses()):
        yield _told_by(message)
    if store.is_configured and store.is_away:
        note = "Each worker goes by its share of the limits."
        yield AttentionItem(grade="bad", words="Redis does not answer", note=note)


def _told_by(message: CheckMessage) -> AttentionItem:
    return AttentionItem(grade="bad" if message.is_serious() else "warn", words=message.msg, note=message.hint or "")


PARTS = {
    "keys.view_apikey": _of_keys,
    "keys.view_modelprice": _of_prices,
    "keys.view_usagerecord": _of_calls,
    "messages_api.view_upstream": _of_the_machine,
}
