"""The reporting time zone in effect: followed by all processes, changed when none has it any more."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from keys.models import ReportingZone
from keys.usage import reporting_zone
from lib import periods
from lib.periods import FOREVER

pytestmark = pytest.mark.usefixtures("without_gateway")


@pytest.fixture
def process(db: None, settings: Any) -> Iterator[Any]:
    """Act as one of several processes, each with a zone in its settings."""
    known: dict[str, Any] = {}

    def run(name: str, zone: str, *, starts: bool = False) -> str:
        """Let a process look at the zone in effect. Return the zone that it follows."""
        settings.TIME_ZONE = zone
        reporting_zone.reset()
        if not starts:
            reporting_zone._followed = known[name]
            periods.follow(known[name].name)
        (reporting_zone.start if starts else reporting_zone.follow)()
        known[name] = reporting_zone._followed
        return str(periods.zone())

    yield run
    reporting_zone.reset()


def silence() -> None:
    ReportingZone.objects.update(confirmed_at=timezone.now() - timedelta(minutes=1))


def test_a_new_installation_has_the_zone_of_its_settings(process: Any) -> None:
    assert process("a", "Europe/Berlin", starts=True) == "Europe/Berlin"
    assert not ReportingZone.objects.get().is_changing


def test_a_process_with_another_zone_follows_the_one_in_effect(process: Any) -> None:
    process("a", "UTC", starts=True)

    assert process("b", "Europe/Berlin", starts=True) == "UTC"
    assert [process("b", "Europe/Berlin") for _ in range(3)] == ["UTC"] * 3
    assert not ReportingZone.objects.get().is_changing


def test_a_zone_that_no_process_has_any_more_is_changed(process: Any) -> None:
    process("a", "UTC", starts=True)
    process("b", "Europe/Berlin", starts=True)
    silence()

    assert process("b", "Europe/Berlin") == "UTC"  # once more: a worker may have been replaced
    assert process("b", "Europe/Berlin") == "Europe/Berlin"
    assert process("a", "UTC") == "Europe/Berlin"
    row = ReportingZone.objects.get()
    assert (row.name, row.previous, row.budgets_after, row.rollups_before) == ("Europe/Berlin", "UTC", 0, FOREVER)


def test_a_worker_that_is_replaced_does_not_give_its_zone_away(process: Any) -> None:
    process("a", "UTC", starts=True)
    process("b", "Europe/Berlin", starts=True)
    ReportingZone.objects.update(confirmed_at=None)  # as released by a worker that stops

    assert process("b", "Europe/Berlin") == "UTC"
    process("a", "UTC")  # another worker with the zone
    assert process("b", "Europe/Berlin") == "UTC"


def test_a_restart_with_another_zone_changes_it_immediately(process: Any) -> None:
    process("a", "UTC", starts=True)
    reporting_zone.release()

    assert process("a", "Asia/Kathmandu", starts=True) == "Asia/Kathmandu"


def test_a_process_does_not_release_the_zone_of_others(process: Any) -> None:
    process("a", "UTC", starts=True)
    process("b", "Europe/Berlin", starts=True)

    reporting_zone.release()

    assert ReportingZone.objects.get().confirmed_at is not None


def test_a_second_change_during_the_first_knows_no_previous_zone(process: Any) -> None:
    process("a", "UTC", starts=True)
    for zone in ("Asia/Kathmandu", "Europe/Berlin"):
        silence()
        process("a", zone, starts=True)

    assert ReportingZone.objects.get().previous == ""


def test_a_process_that_follows_late_has_the_change_applied_again(process: Any) -> None:
    process("a", "UTC", starts=True)
    silence()
    process("b", "Asia/Kathmandu", starts=True)
    ReportingZone.objects.update(
        changed_at=timezone.now() - timedelta(minutes=5), budgets_after=None, rollups_before=None
    )

    assert process("a", "UTC") == "Asia/Kathmandu"
    row = ReportingZone.objects.get()
    assert (row.is_changing, row.previous) == (True, "")
