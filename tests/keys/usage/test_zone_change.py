"""A changed reporting time zone: budgets carry their spending over, and rollups are re-added."""

from collections import defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db.models import Q
from django.utils import timezone

from keys.budgets import status
from keys.models import (
    Budget,
    BudgetPeriod,
    HourlyUsage,
    Notification,
    ReportingZone,
    UsageRecord,
)
from keys.reports import usage_report
from keys.reports.date_range import DateRange
from keys.usage import recovery, reporting_zone, zone_change
from lib import periods
from lib.periods import FOREVER
from tests.support.charged_requests import Installation, check_spending, mismatches

pytestmark = pytest.mark.usefixtures("without_gateway")

ZONES = ("Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Auckland")


@pytest.fixture
def installation(quiet_ledger: None) -> "Installation":
    found = Installation()
    reporting_zone.start()
    return found


def restart(settings: Any, zone: str) -> None:
    """Stop the process, and start one with another zone in its settings."""
    settings.TIME_ZONE, own = zone, settings.TIME_ZONE
    while str(periods.zone()) != zone:  # a gateway of other tests on this database may have confirmed the old one
        ReportingZone.objects.filter(name=own).update(confirmed_at=None)  # as released
        reporting_zone.reset()
        reporting_zone.start()


def change(settings: Any, zone: str) -> None:
    """Restart with another zone, and apply the change."""
    restart(settings, zone)
    ReportingZone.objects.update(changed_at=timezone.now() - timedelta(minutes=1))
    while zone_change.apply_step():
        pass


def check_budgets(*, at: datetime) -> None:
    """Compare every period with the records, and the current ones with the calendar of the zone."""
    check_spending()
    for budget in Budget.objects.all():
        rows = list(BudgetPeriod.objects.filter(budget=budget).order_by("starts_at"))
        assert all(earlier.ends_at <= later.starts_at for earlier, later in pairwise(rows))
        current = [(row.starts_at, row.ends_at) for row in rows if row.contains(at)]
        assert current == [periods.bounds_of(budget.period, at)]


def check_reports(zone: str) -> None:
    """Compare the rollups with the records, and the days of the report with those of the records."""
    assert mismatches() == []
    by_day: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])
    for record in UsageRecord.objects.exclude(status="started"):
        day = by_day[record.created_at.astimezone(ZoneInfo(zone)).date()]
        for i, value in enumerate((1, record.input_tokens or 0, record.cost_usd_picos or 0)):
            day[i] += value
    days = usage_report.report(DateRange(first=min(by_day), last=max(by_day))).days
    figures = {row.subject: [row.totals.finished, row.totals.input_tokens, row.totals.cost_picos] for row in days}
    assert {day: each for day, each in figures.items() if each[0]} == dict(by_day)


@pytest.mark.parametrize("zone", ZONES)
def test_budgets_and_reports_equal_the_records_after_a_change(
    zone: str, installation: Installation, settings: Any, at_length: bool
) -> None:
    now = timezone.now()
    installation.settle(installation.admit(now))
    in_flight = installation.settle_random_requests(now, Random(zone), 2_000 if at_length else 50)
    check_reports("UTC")

    change(settings, zone)

    check_budgets(at=now)
    check_reports(zone)
    for admission in in_flight:
        installation.settle(admission)
    check_budgets(at=now)
    check_reports(zone)
    assert set(BudgetPeriod.objects.values_list("reserved", flat=True)) == {0}

    change(settings, "UTC")

    check_budgets(at=now)
    check_reports("UTC")


def test_a_running_budget_keeps_its_spending_before_the_change_is_applied(
    installation: Installation, settings: Any
) -> None:
    def spent() -> dict[int, int]:
        return {each.budget.pk: each.spent for each in status.for_key(installation.key)}

    installation.settle(installation.admit(timezone.now()))
    before = spent()

    restart(settings, "Australia/Lord_Howe")

    assert len(before) == 16 and all(before.values())
    assert spent() == before
    installation.settle(installation.admit(timezone.now()))
    assert spent() == {budget_id: 2 * amount for budget_id, amount in before.items()}


def test_an_interruption_is_corrected_in_the_period_that_contains_its_request(
    installation: Installation, settings: Any
) -> None:
    now = timezone.now()
    installation.settle(installation.admit(now))
    late = [installation.admit(now - timedelta(hours=hours)) for hours in range(0, 60, 4)]
    recovery.settle_orphans(Q(pk__in=[each.id for each in late]))

    change(settings, "Asia/Kathmandu")
    check_budgets(at=now)
    for admission in late:
        installation.settle(admission, input_tokens=77)

    check_budgets(at=now)
    check_reports("Asia/Kathmandu")


def test_a_change_that_is_killed_in_the_middle_goes_on(installation: Installation, settings: Any) -> None:
    now = timezone.now()
    installation.settle(installation.admit(now))
    installation.settle_random_requests(now, Random(20261130), 30)
    restart(settings, "America/St_Johns")
    ReportingZone.objects.update(changed_at=now - timedelta(minutes=1))

    steps = 0
    while zone_change.apply_step():
        steps += 1
        reporting_zone.reset()  # the next process knows nothing of this one
        reporting_zone.start()

    assert steps > 30
    check_budgets(at=now)
    check_reports("America/St_Johns")


def test_a_step_that_fails_leaves_nothing_behind(
    installation: Installation, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    installation.settle(installation.admit(now))
    installation.settle_random_requests(now, Random(7), 15)
    restart(settings, "Asia/Kathmandu")
    ReportingZone.objects.update(changed_at=now - timedelta(minutes=1))

    steps = 0
    while ReportingZone.objects.get().is_changing:
        steps += 1
        if steps % 2:  # as a process that is killed before it commits
            with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
                patched.setattr(ReportingZone, "save", lambda *args, **kwargs: 1 / 0)
                zone_change.apply_step()
        else:
            zone_change.apply_step()

    check_budgets(at=now)
    check_reports("Asia/Kathmandu")


def test_rollups_with_the_same_hours_are_not_rewritten(installation: Installation, settings: Any) -> None:
    installation.settle(installation.admit(timezone.now()))
    before = set(HourlyUsage.objects.values_list("pk", flat=True))

    change(settings, "Europe/Berlin")

    assert set(HourlyUsage.objects.values_list("pk", flat=True)) == before


def test_rollups_wait_until_all_processes_write_the_new_hours(installation: Installation, settings: Any) -> None:
    installation.settle(installation.admit(timezone.now()))
    restart(settings, "Asia/Kathmandu")

    while zone_change.apply_step():
        pass

    row = ReportingZone.objects.get()
    assert (row.budgets_after, row.rollups_before) == (None, FOREVER)


def test_an_alert_of_the_current_period_is_not_repeated(installation: Installation, settings: Any) -> None:
    monthly = next(each for each in installation.budgets if each.period == "month" and each.unit == "tokens")
    Budget.objects.filter(pk=monthly.pk).update(amount=10_000, alert_threshold_percent=1)
    installation.settle(installation.admit(timezone.now(), budgets=[monthly]), input_tokens=500)
    assert Notification.objects.count() == 1

    change(settings, "Europe/Berlin")
    installation.settle(installation.admit(timezone.now(), budgets=[monthly]), input_tokens=500)

    assert Notification.objects.count() == 1
