"""Random records with every dimension: sums of records and of hours are those of the requests, in every grouping."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Count, F, Sum, Value

from keys.domain.latency_buckets import bucket_of
from keys.models import APIKey, HourlyLatency, HourlyUsage, Team, UsageRecord
from keys.models.usage import AMOUNT_COLUMNS, ROLLUP_DIMENSIONS, part_names, parts_of
from keys.reports import usage_report
from keys.reports.date_range import DateRange, index_of_day
from keys.usage import hourly_rollup, rollup_check, statements
from keys.usage.rollup_statements import COUNT_COLUMNS
from keys.usage.rows import Row, Settlement, Status
from keys.usage.statements import Settle
from lib import money
from tests.support.usage_rows import admission_of

ZONES = ["UTC", "Asia/Kolkata", "America/New_York"]
PERIODS = [
    (datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 3, 9, 6, tzinfo=UTC)),  # clocks of New York go forward
    (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, 6, tzinfo=UTC)),  # and back
]
SHORT, LONG = 1_500, 100_000
BATCH = 250
TEXTS = {
    "model": ["claude-opus", "claude-haiku", "gpt", "q" * 256],
    "api_format": ["envelope", "anthropic", "openai"],
    "session_id": ["", *(f"session-{number}" for number in range(40))],
}
OUTCOMES: list[dict[str, Any]] = [
    *[{"status": Status.COMPLETED, "usage_source": "reported"}] * 8,
    {"status": Status.FAILED, "error_type": "invalid_request_error", "usage_source": "none"},
    {"status": Status.FAILED, "error_type": "overloaded_error", "usage_source": "estimated"},
    {"status": Status.CLIENT_CLOSED, "usage_source": "partial"},
    {"status": Status.CLIENT_STALLED, "usage_source": "reported"},
    {"status": Status.REJECTED, "error_type": "rate_limit_error", "is_model_known": False},
]


class _Requests:
    """Random requests of several keys, some of which move to another team."""

    def __init__(self, random: Random, owner: User) -> None:
        self.random = random
        teams = [Team.objects.create(name=f"team {number}") for number in range(3)]
        owners = [owner, User.objects.create_user("second")]
        of_keys: list[dict[str, Any]] = [*({"team": team} for team in teams), *({"owner": each} for each in owners)]
        self.keys = [APIKey.objects.issue(name=f"app {i}", **each)[0] for i, each in enumerate(of_keys)]
        self.teams: list[int | None] = [None, *(team.pk for team in teams)]
        self.admissions = [admission_of(key) for key in self.keys]

    def rows(self, count: int) -> Iterator[Row]:
        for number in range(count):
            yield self._row(number)

    def _row(self, number: int) -> Row:
        random = self.random
        begin, end = random.choice(PERIODS)
        template = random.choice(self.admissions)
        changes = {name: random.choice(values) for name, values in TEXTS.items()}
        is_moved = random.random() < 0.2
        admission = admission_of_template(
            template,
            id=f"req_{number:032d}",
            created_at=begin + random.random() * (end - begin),
            team_id=random.choice(self.teams) if is_moved else template.team_id,
            **changes,
        )
        outcome = random.choice(OUTCOMES)
        was_admitted = outcome["status"] != Status.REJECTED
        return statements.closed(admission, Settlement(**outcome, **(self._figures() if was_admitted else {})))

    def _figures(self) -> dict[str, Any]:
        random = self.random
        upstream = random.choice(["anthropic", "openai", "local"])
        return {
            "upstream": upstream,
            "upstream_model": random.choice(["a", "b"]),
            **{name: random.choice([None, 0, random.randint(1, 10**6)]) for name in COUNT_COLUMNS},
            # Sums beyond 64 bits.
            "cost_usd_picos": random.choice([None, 0, random.randint(1, 10**6), random.randint(1, 9 * 10**18)]),
            "cache_savings_usd_picos": random.choice([None, random.randint(-(9 * 10**18), 9 * 10**18)]),
            "ttft_ms": random.choice([None, int(random.lognormvariate(6, 1))]),
            "duration_ms": random.choice([None, int(random.lognormvariate(8, 1))]),
        }


def admission_of_template(template: Any, **changes: Any) -> Any:
    return type(template)(
        **{name: getattr(template, name) for name in ("api_key_id", "secret_id", "owner_id", "streamed")},
        estimated_input_tokens=1,
        lease_s=10.0**8,
        **changes,
    )


GROUPINGS: dict[str, Callable[[Row], Any]] = {
    "api_key_id": lambda row: row["api_key_id"],
    "team_id": lambda row: row["team_id"] or 0,
    "owner_id": lambda row: row["owner_id"] or 0,
    "model": lambda row: row["model"] if row["is_model_known"] else "",
    "upstream": lambda row: row["upstream"],
    "upstream_model": lambda row: row["upstream_model"] if row["is_model_known"] else "",
    "api_format": lambda row: row["api_format"],
    "status": lambda row: row["status"],
    "error_type": lambda row: row["error_type"],
    "usage_source": lambda row: row["usage_source"],
}


def of_requests(rows: list[Row], subject: Callable[[Row], Any]) -> dict[Any, Counter[str]]:
    """Add up in Python, whose integers have no bound."""
    found: dict[Any, Counter[str]] = {}
    for row in rows:
        sums = found.setdefault(subject(row), Counter())
        sums["requests"] += 1
        for name in (*COUNT_COLUMNS, *AMOUNT_COLUMNS, "duration_ms"):
            sums[name] += row[name] or 0
    return found


def of_table(
    rows: Any, expression: Any, parts: Callable[[str], dict[str, Any]], requests: Any
) -> dict[Any, Counter[str]]:
    """Add up in the database."""
    names = (*COUNT_COLUMNS, "duration_ms")
    sums = {f"sum_{name}": Sum(name, default=0) for name in names}
    for amount in AMOUNT_COLUMNS:
        sums |= {f"sum_{name}": Sum(part, default=0) for name, part in parts(amount).items()}
    found = {}
    grouped = rows.order_by().annotate(subject=expression).values("subject").annotate(sum_requests=requests, **sums)
    for each in grouped:
        counter = Counter({name: each[f"sum_{name}"] for name in ("requests", *names)})
        for amount in AMOUNT_COLUMNS:
            counter[amount] = money.join(*(each[f"sum_{name}"] for name in part_names(amount)))
        found[each["subject"]] = counter
    return found


def of_records(expression: Any) -> dict[Any, Counter[str]]:
    return of_table(UsageRecord.objects, expression, parts_of, Count("id"))


def of_hours(expression: Any) -> dict[Any, Counter[str]]:
    return of_table(
        HourlyUsage.objects, expression, lambda amount: {name: F(name) for name in part_names(amount)}, Sum("requests")
    )


@pytest.fixture
def requests(quiet_ledger: None, owner: User, at_length: bool) -> list[Row]:
    """Settle the requests in batches, as the ledger does. Return their rows."""
    made = _Requests(Random(20261130), owner)
    rows = list(made.rows(LONG if at_length else SHORT))
    for begin in range(0, len(rows), BATCH):
        statements.write([Settle(row) for row in rows[begin : begin + BATCH]], connection)
    return rows


@pytest.mark.timeout(1800)  # of the long form
def test_every_grouping_adds_up_in_every_time_zone(requests: list[Row], settings: Any) -> None:
    for zone in ZONES:
        settings.TIME_ZONE = zone
        for interval in intervals():  # the hours of the zone
            if rollup_check.mismatches(interval):
                rollup_check.repair(interval)

        assert [each for interval in intervals() for each in rollup_check.mismatches(interval)] == []
        _check_groupings(requests)
        _check_days(requests, zone)
        _check_histograms(requests)


def intervals() -> Iterator[Any]:
    return rollup_check.iter_intervals(PERIODS[0][0] - timedelta(days=1), PERIODS[-1][1] + timedelta(days=1))


def _check_groupings(requests: list[Row]) -> None:
    for name, subject in GROUPINGS.items():
        expected = of_requests(requests, subject)
        assert of_hours(F(name)) == expected, name
        assert of_records(ROLLUP_DIMENSIONS[name]) == expected, name
    by_session = of_requests(requests, lambda row: row["session_id"])
    assert of_records(F("session_id")) == by_session
    total = of_requests(requests, lambda row: 0)
    assert of_hours(Value(0)) == of_records(Value(0)) == total


def _check_days(requests: list[Row], zone: str) -> None:
    dates = DateRange(first=PERIODS[0][0].date() - timedelta(days=1), last=PERIODS[-1][1].date())
    calendar = dates.days()
    expected = of_requests(requests, lambda row: row["created_at"].astimezone(ZoneInfo(zone)).date())
    for table, column in ((of_hours, "hour"), (of_records, "created_at")):
        assert {calendar[day]: sums for day, sums in table(index_of_day(column, calendar)).items()} == expected
    shown = {row.subject: row.totals for row in usage_report.report(dates).days}
    assert {day: (part.requests + part.rejected, part.cost_picos) for day, part in shown.items() if part.requests} == {
        day: (sums["requests"], sums["cost_usd_picos"]) for day, sums in expected.items()
    }


def _check_histograms(requests: list[Row]) -> None:
    expected = Counter(
        (name, bucket_of(row[name])) for row in requests for name in hourly_rollup.LATENCIES if row[name] is not None
    )
    stored = HourlyLatency.objects.order_by().values_list("measure", "bucket").annotate(all=Sum("requests"))
    assert {(measure, bucket): count for measure, bucket, count in stored} == expected
