"""Days and months are the sums of hours at any moment, whatever changes the hours and whenever they are built."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F, Q, Sum
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from keys.models import BuiltPeriod, DailyUsage, HourlyLatency, HourlyUsage, ModelPrice, ReportingZone, UsageRecord
from keys.reports import tiers
from keys.usage import (
    built_periods,
    coarse_check,
    coarse_rollups,
    recovery,
    reporting_zone,
    rerating,
    rollup_check,
    zone_change,
)
from keys.usage.coarse_statements import SUBJECT
from keys.usage.hourly_rollup import MEASURES
from lib import periods
from tests.support.charged_requests import ALL_TIME, Installation, mismatches
from tests.support.usage_rows import UsageRecorder

pytestmark = pytest.mark.usefixtures("without_gateway")

ZONES = ("UTC", "Asia/Kolkata", "America/New_York")
GROUPS = ("api_key_id", "team_id", "model", "upstream_model", "status")


@pytest.fixture
def installation(patient_ledger: None) -> Installation:
    found = Installation()
    reporting_zone.start()
    return found


# ---- Comparison of what is read with hours and records.


def sums(rows: Any, group: str) -> Counter[Any]:
    """Return each measure by a dimension."""
    found: Counter[Any] = Counter()
    grouped = rows.order_by().values(group).annotate(**{f"sum_{name}": Sum(name) for name in MEASURES})
    for each in grouped:
        found += Counter({(each[group], name): each[f"sum_{name}"] for name in MEASURES})
    return found


def bars(rows: Any, prefix: str, group: str) -> Counter[Any]:
    values = rows.order_by().values_list(f"{prefix}{group}", "measure", "bucket").annotate(Sum("requests"))
    return Counter({(value, measure, bucket): requests for value, measure, bucket, requests in values})


def check(random: Random) -> None:
    """Compare the parts of random intervals with their hours, and everything complete with what it is made of."""
    assert [found for each in coarse_check.periods(*ALL_TIME) for found in coarse_check.mismatches(each)] == []
    last = timezone.now() + timedelta(days=1)
    for bucket in ("", "day", "month", "hour"):
        begin = last - timedelta(days=random.choice([1, 30, 95]), seconds=random.randint(0, 86_400))
        if random.random() < 0.5:
            begin = periods.begin_of(random.choice(["day", "month"]), begin)
        group = random.choice(GROUPS)
        parts = tiers.parts(begin, last, bucket=bucket)
        assert [part.begin for part in parts] == [begin, *(part.end for part in parts[:-1])]
        assert parts[-1].end == last
        hours = HourlyUsage.objects.filter(hour__gte=begin, hour__lt=last)
        assert added(sums(part.rows, group) for part in parts) == sums(hours, group)
        latencies = [part.latencies([group]) for part in parts]
        of_hours = HourlyLatency.objects.filter(hourly_usage__in=hours)
        assert added(bars(each.rows, each.prefix, group) for each in latencies) == bars(
            of_hours, "hourly_usage__", group
        )


def added(counters: Any) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for each in counters:
        found += each
    return found


def complete() -> set[tuple[str, datetime]]:
    return set(BuiltPeriod.objects.filter(is_complete=True).values_list("tier", "begin"))


# ---- Random operations.


class Operations:
    """Everything that changes hours, and builds in between."""

    def __init__(self, installation: Installation, random: Random, settings: Any) -> None:
        self.installation, self.random, self.settings = installation, random, settings
        self.open: list[Any] = []
        self.interrupted: list[Any] = []

    def settle(self) -> None:
        self.open += self.installation.settle_random_requests(timezone.now(), self.random, 6)

    def interrupt(self) -> None:
        late, self.open = self.open[:3], self.open[3:]
        recovery.settle_orphans(Q(pk__in=[each.id for each in late]))
        self.interrupted += late

    def settle_late(self) -> None:
        late, self.interrupted = self.interrupted[:2], self.interrupted[2:]
        for admission in late:
            self.installation.settle(admission, input_tokens=77, duration_ms=self.random.randint(0, 99_999))

    def rerate(self) -> None:
        ModelPrice.objects.create(
            model_pattern="*",
            input_price=self.random.randint(1, 9_000_000),
            output_price=7,
            valid_from=datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=self.random.randint(0, 10**6)),
        )
        run = rerating.begin(first=ALL_TIME[0], end=timezone.now())
        self._run_to_end(run)
        rerating.apply(run)
        self._run_to_end(run)
        if self.random.random() < 0.5:
            rerating.undo(run)
            self._run_to_end(run)

    def _run_to_end(self, run: Any) -> None:
        while rerating.step(run.pk):
            if self.random.random() < 0.3:
                self.build()

    def repair(self) -> None:
        hour = self.random.choice(list(HourlyUsage.objects.values_list("hour", flat=True)))
        HourlyUsage.objects.filter(hour=hour).update(requests=F("requests") + 1)  # by hand
        rollup_check.repair(rollup_check.interval_of(hour))

    def change_zone(self) -> None:
        self.settings.TIME_ZONE, own = self.random.choice(ZONES), self.settings.TIME_ZONE
        while str(periods.zone()) != self.settings.TIME_ZONE:
            ReportingZone.objects.filter(name=own).update(confirmed_at=None)
            reporting_zone.reset()
            reporting_zone.start()
        ReportingZone.objects.update(changed_at=timezone.now() - timedelta(minutes=1))
        while zone_change.apply_step():
            if self.random.random() < 0.1:
                self.build()

    def build(self) -> None:
        missing = list(coarse_rollups.missing())
        for period in missing[: self.random.choice([1, 20, len(missing)])]:
            coarse_rollups.build(period)


@pytest.mark.timeout(900)  # of the long form
def test_tiers_equal_hours_and_records_after_every_operation(
    installation: Installation, settings: Any, at_length: bool
) -> None:
    random = Random(20261130)
    operations = Operations(installation, random, settings)
    steps: list[Callable[[], None]] = [
        *[operations.settle] * 3,
        operations.interrupt,
        operations.settle_late,
        operations.rerate,
        operations.repair,
        operations.change_zone,
        *[operations.build] * 4,
    ]
    operations.settle()
    was_read = Counter[str]()
    for step in [*steps, *random.choices(steps, k=300 if at_length else 10)]:
        step()
        check(random)
        now = timezone.now()
        was_read.update(part.column for part in tiers.parts(now - timedelta(days=95), now))

    assert mismatches() == []
    assert all(was_read[column] for column in ("hour", "day", "month"))


# ---- Builds.


def test_a_day_and_a_month_are_built_once_they_have_ended(installation: Installation) -> None:
    now = timezone.now()
    month = periods.begin_of("month", periods.begin_of("month", now) - timedelta(days=1))
    installation.settle(installation.admit(month + timedelta(days=3)))
    installation.settle(installation.admit(now))

    coarse_rollups.build_all()

    assert (BuiltPeriod.Tier.MONTH, month) in complete()
    limit = now - built_periods.BUILT_AFTER
    assert all(end <= limit for end in BuiltPeriod.objects.values_list("end", flat=True))
    assert [part.column for part in tiers.parts(month, periods.end_of("month", month) or now)] == ["month"]
    assert [part.column for part in tiers.parts(month, periods.end_of("month", month) or now, bucket="week")] == ["day"]
    assert list(coarse_rollups.missing()) == []


def test_a_late_settlement_makes_its_day_and_month_incomplete_until_they_are_built_again(
    installation: Installation,
) -> None:
    at = timezone.now() - timedelta(days=45)
    admission = installation.admit(at)
    installation.settle(installation.admit(at))
    coarse_rollups.build_all()
    before = complete()

    installation.settle(admission)

    assert before - complete() == {("day", periods.begin_of("day", at)), ("month", periods.begin_of("month", at))}
    coarse_rollups.build_all()
    assert complete() == before
    assert DailyUsage.objects.aggregate(Sum("requests"))["requests__sum"] == 2


def test_settlements_of_recent_requests_take_no_query_more(installation: Installation) -> None:
    admission = installation.admit(timezone.now() - timedelta(minutes=50))
    row = UsageRecord.objects.filter(pk=admission.id).values().get()

    with (
        CaptureQueriesContext(
            connection,
        ) as queries,
        transaction.atomic(),
    ):
        built_periods.invalidate({periods.begin_of_hour(row["created_at"])})

    assert [each["sql"] for each in queries if "keys_" in each["sql"]] == []


def test_a_build_fails_when_an_hour_changes_before_it_ends(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = timezone.now() - timedelta(days=2)
    installation.settle(installation.admit(at))
    late = installation.admit(at)
    period = ("day", *periods.bounds_of("day", at))
    token = coarse_rollups._begin(period)
    assert token

    installation.settle(late)

    with transaction.atomic():
        assert not coarse_rollups._build(period, token)
        transaction.set_rollback(True)
    assert coarse_rollups.build(period)
    assert DailyUsage.objects.aggregate(Sum("requests"))["requests__sum"] == 2


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_a_build_waits_for_a_transaction_that_has_looked_for_marks_before(installation: Installation) -> None:
    at = timezone.now() - timedelta(days=2)
    installation.settle(installation.admit(at))
    hour, period = periods.begin_of_hour(at), ("day", *periods.bounds_of("day", at))
    built: list[bool] = []

    def build() -> None:
        try:
            built.append(coarse_rollups.build(period))
        finally:
            connection.close()

    builder = threading.Thread(target=build)
    with transaction.atomic():
        HourlyUsage.objects.filter(hour=hour).update(input_tokens=F("input_tokens") + 5)
        built_periods.invalidate({hour})  # there is no mark yet
        builder.start()
        builder.join(0.5)
        assert builder.is_alive() and not built
    builder.join(30)

    assert built == [True]
    assert sums(DailyUsage.objects.all(), "model") == sums(HourlyUsage.objects.all(), "model")


# ---- Verification.


def test_a_changed_day_is_found_and_built_again(installation: Installation) -> None:
    at = timezone.now() - timedelta(days=45)
    UsageRecorder(installation.key).record(created_at=at, upstream_model="m")
    coarse_rollups.build_all()
    call_command("rollup_usage", "--verify")
    DailyUsage.objects.update(input_tokens=F("input_tokens") + 1)

    with pytest.raises(Exception, match="2 rollups do not match"):  # of the day, and of the month with the day
        call_command("rollup_usage", "--verify")
    call_command("rollup_usage", "--repair")

    call_command("rollup_usage", "--verify")
    assert sums(DailyUsage.objects.all(), "model") == sums(HourlyUsage.objects.all(), "model")


def test_every_dimension_of_hours_is_one_of_days(installation: Installation) -> None:
    names = {each.attname for each in HourlyUsage._meta.concrete_fields} - {"id", "hour"}

    assert names == {*SUBJECT, *MEASURES}
