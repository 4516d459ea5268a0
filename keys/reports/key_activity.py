"""What one key did lately, read from hours and by index: as fast with a million calls as with ten."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import F, Q, Sum
from django.utils import timezone

from keys.models import APIKey, HourlyUsage, UsageRecord
from keys.models.usage import HAS_FAILED
from keys.reports.usage import Period, index_of_day

DAYS = 30
PACE_DAYS = 7
SHOWN_MODELS = 8
SHOWN_ERRORS = 10
SHOWN_CALLS = 20
COUNTED_CALLS = 10_000

OUTCOMES = {
    "completed": "completed",
    "client_closed": "left",
    "client_stalled": "left",
    "failed": "errors",
    "interrupted": "errors",
    "rejected": "rejected",
}
_TOKENS = F("input_tokens") + F("output_tokens") + F("cache_read_tokens")
_WRITTEN = F("cache_write_5m_tokens") + F("cache_write_1h_tokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyTotals:
    """What some settled calls add up to."""

    completed: int = 0
    left: int = 0
    errors: int = 0
    """Of upstreams, and ours."""
    client_errors: int = 0
    """What the upstream would not do: the caller's to mend."""
    rejected: int = 0
    tokens: int = 0
    micros: int = 0
    unpriced: int = 0

    @property
    def requests(self) -> int:
        return self.completed + self.left + self.failed

    @property
    def failed(self) -> int:
        return self.errors + self.client_errors


@dataclass(frozen=True, kw_only=True, slots=True)
class SpendRate:
    """What was spent in some time."""

    micros: int
    tokens: int
    elapsed: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """The last thirty days of a key, today included. Calls that still run are in none of it."""

    days: list[tuple[date, KeyTotals]]
    """Every day, in order."""
    models: list[tuple[str, KeyTotals]]
    """The busiest; all others under the name ""."""
    total: KeyTotals
    pace: SpendRate


def activity(api_key: APIKey) -> Activity:
    """One query, over at most a row for each day, model and outcome."""
    today = timezone.localdate()
    period = Period(first=today - timedelta(days=DAYS - 1), last=today)
    days = period.days()
    by_day: dict[date, Counter[str]] = {day: Counter() for day in days}
    by_model: dict[str, Counter[str]] = {}
    for row in _rows(period, days, api_key):
        added = Counter({OUTCOMES.get(row["status"], "errors"): row["made"] - row["caller_errors_sum"]})
        added["client_errors"] = row["caller_errors_sum"]
        added.update({name: row[f"{name}_sum"] for name in ("tokens", "micros", "unpriced")})
        by_day[days[row["day"]]].update(added)
        by_model.setdefault(row["model"], Counter()).update(added)
    lately = _added(by_day[day] for day in days[-PACE_DAYS:])
    return Activity(
        days=[(day, KeyTotals(**counts)) for day, counts in by_day.items()],
        models=_busiest(by_model),
        total=KeyTotals(**_added(by_day.values())),
        pace=SpendRate(micros=lately["micros"], tokens=lately["tokens"], elapsed=_elapsed(api_key.created_at)),
    )


def _rows(period: Period, days: list[date], api_key: APIKey) -> Any:
    begin, end = period.bounds()
    hours = HourlyUsage.objects.filter(api_key=api_key, hour__gte=begin, hour__lt=end)
    return (
        hours.annotate(day=index_of_day("hour", days))
        .values("day", "model", "status")
        .annotate(made=Sum("requests"), caller_errors_sum=Sum("client_errors"), **_SPENT)
        .order_by()
    )


_SPENT = {
    "tokens_sum": Sum(_TOKENS + _WRITTEN),
    "micros_sum": Sum("cost_usd_micros"),
    "unpriced_sum": Sum("unpriced_requests"),
}


def team_pace(api_key: APIKey) -> SpendRate:
    """What all keys of a key's team spent together lately. One query."""
    begin, _ = Period(first=timezone.localdate() - timedelta(days=PACE_DAYS - 1), last=timezone.localdate()).bounds()
    siblings = APIKey.objects.filter(team_id=api_key.team_id).values("pk")
    sums = HourlyUsage.objects.filter(api_key__in=siblings, hour__gte=begin).aggregate(**_SPENT)
    assert api_key.team is not None
    return SpendRate(
        micros=sums["micros_sum"] or 0, tokens=sums["tokens_sum"] or 0, elapsed=_elapsed(api_key.team.created_at)
    )


def _elapsed(since: datetime) -> timedelta:
    """How long the pace was measured: since the first of its days, or the beginning. A day at least."""
    begin, _ = Period(first=timezone.localdate() - timedelta(days=PACE_DAYS - 1), last=timezone.localdate()).bounds()
    return max(timedelta(days=1), timezone.now() - max(begin, since))


def _added(parts: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total


def _busiest(by_model: dict[str, Counter[str]]) -> list[tuple[str, KeyTotals]]:
    rows = sorted(((name, KeyTotals(**counts)) for name, counts in by_model.items()), key=_requests, reverse=True)
    others = rows[SHOWN_MODELS:]
    if not others:
        return rows
    rest = _added(by_model[name] for name, _ in others)
    return [*rows[:SHOWN_MODELS], ("", KeyTotals(**rest))]


def _requests(row: tuple[str, KeyTotals]) -> int:
    return row[1].requests + row[1].rejected


# ---- calls


def last_calls(api_key: APIKey) -> list[UsageRecord]:
    """The newest calls, running ones too. One query."""
    return list(_calls_of(api_key)[:SHOWN_CALLS])


def last_errors(api_key: APIKey) -> list[UsageRecord]:
    """The newest calls that failed, or whose worker died. One query."""
    return list(_calls_of(api_key).filter(HAS_FAILED)[:SHOWN_ERRORS])


def last_use(api_key: Any, requests: list[UsageRecord]) -> UsageRecord | None:
    """The newest call that was let in, among the newest calls or, if all those were refused, by the noted last use.

    That is at most five minutes older. `api_key` is annotated with it.
    """
    for call in requests:
        if call.status != UsageRecord.Status.REJECTED:
            return call
    if api_key.last_used_at is None:
        return None
    return _calls_of(api_key).filter(created_at=api_key.last_used_at).first()


def count_of_last_hour(api_key: APIKey) -> int:
    """How many calls were made in the last hour, `COUNTED_CALLS` at most. One query."""
    lately = Q(created_at__gt=timezone.now() - timedelta(hours=1))
    return _calls_of(api_key).filter(lately).order_by()[:COUNTED_CALLS].count()


def _calls_of(api_key: APIKey) -> Any:
    return UsageRecord.objects.filter(api_key=api_key).defer("attempts", "reservations").order_by("-created_at", "-pk")
