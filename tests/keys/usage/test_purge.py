"""Retention: a purge deletes settled records and single hours, and no report of whole days changes."""

import io
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Min, Q
from django.utils import timezone

from keys.models import (
    BuiltPeriod,
    DailyUsage,
    HourlyLatency,
    HourlyUsage,
    MonthlyUsage,
    ReportingZone,
    RetainedUsage,
    UsageRecord,
)
from keys.reports import tiers, usage_report
from keys.reports.date_range import DateRange
from keys.usage import (
    coarse_check,
    coarse_rollups,
    purge,
    record_table,
    recovery,
    reporting_zone,
    rerating,
    retention,
    rollup_check,
    rows,
    statements,
    zone_change,
)
from keys.usage.rerating import ReratingRejected
from keys.usage.rows import Admission, Settlement
from keys.usage.statements import Admit, Settle
from lib import periods
from tests.keys.usage.test_coarse_rollups import bars, sums
from tests.support.charged_requests import ALL_TIME, Installation
from tests.support.usage_rows import SETTLEMENT, admission_of

pytestmark = pytest.mark.usefixtures("without_gateway")

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DATES = DateRange(first=datetime(2026, 7, 1).date(), last=NOW.date())


@pytest.fixture
def installation(patient_ledger: None, record_table_form: str, settings: Any) -> Iterator[Installation]:
    """Requests of five months, of which one is open."""
    with time_machine.travel(NOW, tick=False):
        found = Installation()
        reporting_zone.start()
        random = Random(20261130)
        open_requests = []
        for _ in range(60):
            moment = NOW - timedelta(days=random.uniform(0, 140))
            figures = {"input_tokens": random.randint(0, 10_000), "duration_ms": random.randint(1, 9_000)}
            settlement = Settlement(**(SETTLEMENT | {"upstream_model": "m"} | figures))
            admission = admission_of(found.key, created_at=moment)
            statements.write([Settle(statements.closed(admission, settlement))], connection)
        open_requests.append(opened(found, NOW - timedelta(days=120)))
        found.open = open_requests  # type: ignore[attr-defined]
        settings.RETAIN_RECORDS_DAYS, settings.RETAIN_HOURS_DAYS = 40, 70
        coarse_rollups.build_all()
        yield found


def opened(installation: Installation, moment: datetime) -> Admission:
    admission = admission_of(installation.key, created_at=moment, upstream="local", upstream_model="m")
    statements.write([Admit(admission)], connection)
    return admission


def figures() -> dict[str, Any]:
    """Every figure of whole days: the report, and sums and histograms by day and month."""
    report = usage_report.report(DATES)
    begin, end = DATES.bounds()
    found: dict[str, Any] = {
        "report": (report.total, report.days, report.keys, report.models),
        "daily": sums(DailyUsage.objects.all(), "day"),
        "monthly": sums(MonthlyUsage.objects.all(), "month"),
    }
    for bucket in ("", "day", "month"):
        total: Counter[Any] = Counter()
        for part in tiers.parts(begin, end, bucket=bucket):
            total += sums(part.rows, "model")
            latencies = part.latencies(["model"])
            total += bars(latencies.rows, latencies.prefix, "model")
        found[bucket] = total
    return found


def state() -> list[Any]:
    models = (UsageRecord, HourlyUsage, HourlyLatency, DailyUsage, MonthlyUsage, BuiltPeriod, RetainedUsage)
    return [sorted(model.objects.values_list(), key=repr) for model in models]


def run(*arguments: str) -> str:
    stdout = io.StringIO()
    call_command("purge_usage", *arguments, stdout=stdout)
    return stdout.getvalue()


def test_figures_are_the_same_after_a_purge(installation: Installation) -> None:
    before, records, hours = figures(), UsageRecord.objects.count(), HourlyUsage.objects.count()

    output = run("--batch", "7")

    begin = retention.records_begin()
    assert begin is not None and begin <= NOW - timedelta(days=40)
    assert f"Usage records before {begin:%Y-%m-%d} are purged." in output
    assert list(UsageRecord.objects.filter(created_at__lt=begin).values_list("pk", flat=True)) == [
        each.id
        for each in installation.open  # type: ignore[attr-defined]
    ]
    assert UsageRecord.objects.count() < records and HourlyUsage.objects.count() <= hours
    assert figures() == before
    # The open record keeps its hours; those of days before it are merged.
    merged = retention.hours_begin()
    oldest = UsageRecord.objects.aggregate(Min("created_at"))["created_at__min"]
    assert merged is None or merged <= oldest


def test_hours_are_merged_once_their_records_are_purged(installation: Installation) -> None:
    recovery.settle_orphans(Q(pk__in=[each.id for each in installation.open]))  # type: ignore[attr-defined]
    coarse_rollups.build_all()
    before = figures()

    run()

    merged = retention.hours_begin()
    assert merged == datetime(2026, 9, 1, tzinfo=UTC)  # the last whole month that ended 70 days ago
    hours = HourlyUsage.objects.filter(hour__lt=merged)
    assert hours.exists()
    assert {hour.hour for hour in hours.values_list("hour", flat=True)} == {12}
    assert figures() == before
    assert [each for period in coarse_check.periods(*ALL_TIME) for each in coarse_check.mismatches(period)] == []
    BuiltPeriod.objects.all().delete()
    coarse_rollups.build_all()  # from the merged hours
    assert figures() == before


def test_verification_does_not_report_purged_records(installation: Installation) -> None:
    run()
    stdout = io.StringIO()

    call_command("rollup_usage", "--verify", stdout=stdout)
    call_command("rollup_usage", "--repair", stdout=stdout)
    call_command("verify_figures", stdout=stdout)

    assert "are purged; their hours, days and months remain." in stdout.getvalue()


def test_a_dry_run_changes_nothing(installation: Installation) -> None:
    before = state()

    output = run("--dry-run")

    assert state() == before
    assert "Would delete" in output and "1 open ones stay" in output
    begin = purge.preview()["records_before"]
    number = UsageRecord.objects.filter(created_at__lt=begin, settled_at__isnull=False).count()
    assert f"Would delete {number:,} usage records" in output


def test_a_purge_that_is_killed_goes_on(installation: Installation) -> None:
    if record_table.read_form(connection):
        UsageRecord.objects.filter(pk__in=[each.id for each in installation.open]).delete()  # type: ignore[attr-defined]
    before = figures()
    purge.purge_step(3)  # and killed: the process forgets everything
    begin = retention.records_begin()
    left = retention.settled_before(begin or NOW).count()

    assert figures() == before
    run("--batch", "5")

    assert left > retention.settled_before(begin or NOW).count() == 0
    assert figures() == before


def test_nothing_is_purged_before_it_is_built(installation: Installation) -> None:
    BuiltPeriod.objects.all().delete()

    assert retention.records_limit() is None
    assert not purge.purge_step()
    assert RetainedUsage.objects.count() == 0


def test_a_late_settlement_of_an_open_record_counts_after_a_purge(installation: Installation) -> None:
    run()
    day = periods.begin_of("day", NOW - timedelta(days=120))
    total = sums(HourlyUsage.objects.all(), "model")["claude-3", "requests"]

    late = installation.open[0]  # type: ignore[attr-defined]
    statements.write([Settle(statements.closed(late, Settlement(**SETTLEMENT)))], connection)
    coarse_rollups.build_all()
    run()

    assert sums(HourlyUsage.objects.all(), "model")["claude-3", "requests"] == total + 1
    assert DailyUsage.objects.filter(day=day).exists()
    assert not UsageRecord.objects.filter(created_at__lt=retention.records_begin()).exists()


def test_a_spooled_settlement_of_a_purged_record_is_quarantined(installation: Installation) -> None:
    admission = opened(installation, NOW - timedelta(days=100))
    recovery.settle_orphans(Q(pk=admission.id))
    coarse_rollups.build_all()
    run()
    before = sums(HourlyUsage.objects.all(), "model")
    row = rows.closed(admission, Settlement(status="completed", input_tokens=5, output_tokens=5), boot_id="x")

    replay = recovery._Replay()
    replay.settle([rows.to_json(row)])

    assert replay.settled == 0
    assert sums(HourlyUsage.objects.all(), "model") == before


def test_purged_records_are_not_rated_again(installation: Installation) -> None:
    run()
    begin = retention.records_begin()
    assert begin is not None

    with pytest.raises(ReratingRejected, match="are purged"):
        rerating.begin(first=begin - timedelta(days=1), end=NOW)
    rerating.begin(first=begin, end=NOW)


def test_a_change_of_the_reporting_zone_leaves_purged_days(installation: Installation, settings: Any) -> None:
    run()
    before = sums(HourlyUsage.objects.all(), "model")
    settings.TIME_ZONE = "Asia/Kolkata"
    while str(periods.zone()) != "Asia/Kolkata":
        ReportingZone.objects.update(confirmed_at=None)
        reporting_zone.reset()
        reporting_zone.start()
    ReportingZone.objects.update(changed_at=timezone.now() - timedelta(minutes=1))
    while zone_change.apply_step():
        pass
    coarse_rollups.build_all()

    assert sums(HourlyUsage.objects.all(), "model") == before
    begin = retention.records_begin() or NOW
    intervals = rollup_check.iter_intervals(begin, NOW + timedelta(days=1))
    assert [each for interval in intervals for each in rollup_check.mismatches(interval)] == []
    assert sums(DailyUsage.objects.all(), "model") != Counter()


def test_without_a_clock_nothing_is_purged(installation: Installation, settings: Any) -> None:
    settings.RETAIN_RECORDS_DAYS = settings.RETAIN_HOURS_DAYS = 0
    before = state()

    purge.purge_slice()

    assert state() == before
    with pytest.raises(CommandError, match="RETAIN_RECORDS_DAYS is not set"):
        run()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no partitions")
def test_whole_partitions_are_dropped(installation: Installation, record_table_form: str) -> None:
    if record_table_form == "partitioned":
        assert record_table.partitions_before(NOW) == []  # their records are in the default partition
        return
    assert record_table.drop_before(NOW) == []
    record_table.partition()
    open_month = f"{record_table.TABLE}_{NOW - timedelta(days=120):%Y_%m}"
    names = record_table.partitions_before(NOW - timedelta(days=40))
    before = figures()

    run()

    assert names and open_month not in names
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(name) IS NULL FROM unnest(%s::text[]) name", [names])
        assert all(is_gone for (is_gone,) in cursor.fetchall())
    assert retention.records_begin() == datetime(2026, 10, 1, tzinfo=UTC)
    assert figures() == before
