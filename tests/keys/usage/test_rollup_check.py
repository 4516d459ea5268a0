"""Hourly rollups match the usage records: verified, and repaired where one was changed by hand."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from keys.domain.latency_buckets import bucket_of
from keys.models import APIKey, HourlyLatency, HourlyUsage, ModelPrice
from keys.pricing.price_book import prices
from keys.usage import rollup_check
from lib.periods import begin_of_hour
from tests.support.usage_rows import UsageRecorder

MONTH = (datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC))


@pytest.fixture
def requests(quiet_ledger: None, owner: User) -> Callable[..., Any]:
    return UsageRecorder(APIKey.objects.issue(name="app", owner=owner)[0]).record


def at(day: int, hour: int = 12, minute: int = 0) -> datetime:
    return datetime(2026, 7, day, hour, minute, tzinfo=UTC)


def every_kind(requests: Callable[..., Any]) -> None:
    """Write requests in several hours, priced and unpriced, with and without usage, of every status."""
    ModelPrice.objects.create(
        model_pattern="small",
        input_price=1_000_000,
        output_price=2_000_000,
        valid_from=datetime(2026, 1, 1, tzinfo=UTC),
    )
    prices.book()
    requests(created_at=at(1), upstream_model="small", cache_read_tokens=3, cache_write_1h_tokens=4, thinking_tokens=5)
    requests(created_at=at(1, minute=59), upstream_model="small")
    requests(created_at=at(1), upstream_model="dear", model="other", usage_source="estimated")
    requests(created_at=at(1), upstream_model="small", audio_input_tokens=2, audio_output_tokens=1, web_searches=3)
    requests(created_at=at(2), status="failed", input_tokens=None, output_tokens=None, usage_source="none")
    requests(created_at=at(2), status="client_closed", output_tokens=None, usage_source="partial")
    requests(created_at=at(9), status="rejected")
    requests(created_at=at(9), status="started")


def mismatches() -> list[tuple[Any, ...]]:
    found = (each for interval in rollup_check.iter_intervals(*MONTH) for each in rollup_check.mismatches(interval))
    return [(each.measure, each.records, each.rollups) for each in found]


def run(*arguments: str) -> str:
    stdout = io.StringIO()
    call_command("rollup_usage", *arguments, stdout=stdout)
    return stdout.getvalue()


@pytest.mark.parametrize("zone, hours", [("UTC", 3), ("Asia/Kathmandu", 4), ("Australia/Lord_Howe", 4)])
def test_rollups_match_the_records(zone: str, hours: int, requests: Callable[..., Any], settings: Any) -> None:
    settings.TIME_ZONE = zone
    every_kind(requests)

    assert mismatches() == []
    assert HourlyUsage.objects.values("hour").distinct().count() == hours
    assert len(list(rollup_check.iter_intervals(*MONTH))) == hours


def test_a_changed_rollup_is_found_and_repaired(requests: Callable[..., Any]) -> None:
    every_kind(requests)
    before = list(HourlyUsage.objects.order_by("api_key", "hour", "model", "status").values())
    HourlyUsage.objects.filter(model="other").update(output_tokens=13)
    HourlyUsage.objects.filter(status="rejected").delete()

    assert mismatches() == [("output_tokens", 12, 13), ("requests", 1, 0)]
    for interval in list(rollup_check.iter_intervals(*MONTH)):
        rollup_check.repair(interval)

    assert mismatches() == []
    after = list(HourlyUsage.objects.order_by("api_key", "hour", "model", "status").values())
    assert [row | {"id": 0} for row in after] == [row | {"id": 0} for row in before]


def test_a_changed_histogram_is_found_and_repaired(requests: Callable[..., Any]) -> None:
    requests(created_at=at(1), duration_ms=100, ttft_ms=0)
    requests(created_at=at(1), duration_ms=101, ttft_ms=None)
    requests(created_at=at(1), duration_ms=2**31 - 1, ttft_ms=9)
    before = list(HourlyLatency.objects.order_by("measure", "bucket").values_list("measure", "bucket", "requests"))
    assert before == [
        ("duration_ms", bucket_of(100), 2),
        ("duration_ms", bucket_of(2**31 - 1), 1),
        ("ttft_ms", 0, 1),
        ("ttft_ms", 9, 1),
    ]
    HourlyLatency.objects.filter(measure="duration_ms", requests=2).update(requests=5)
    HourlyLatency.objects.filter(measure="ttft_ms", bucket=9).update(bucket=10)

    assert mismatches() == [("duration_ms 98-108", 2, 5), ("ttft_ms 9-9", 1, 0), ("ttft_ms 10-11", 0, 1)]
    run("--repair")

    assert mismatches() == []
    assert before == list(
        HourlyLatency.objects.order_by("measure", "bucket").values_list("measure", "bucket", "requests")
    )


def test_a_rollup_without_records_is_a_mismatch_and_deleted(requests: Callable[..., Any]) -> None:
    record = requests(created_at=at(1))
    HourlyUsage.objects.create(api_key=record.api_key, hour=at(3), model="m", status="completed", requests=2)

    assert mismatches() == [("requests", 0, 2)]
    run("--repair")
    assert mismatches() == [] and HourlyUsage.objects.count() == 1


def test_rollups_are_moved_to_the_hours_of_the_time_zone(requests: Callable[..., Any], settings: Any) -> None:
    requests(created_at=at(1, 12, 10))
    requests(created_at=at(1, 12, 50))
    settings.TIME_ZONE = "Asia/Kolkata"  # with half hours

    assert len(mismatches()) > 0
    run("--repair")

    assert mismatches() == []
    assert sorted(HourlyUsage.objects.values_list("hour", flat=True)) == [at(1, 11, 30), at(1, 12, 30)]


def test_every_request_has_an_hour_when_clocks_change_by_half_an_hour(
    requests: Callable[..., Any], settings: Any
) -> None:
    settings.TIME_ZONE = "Australia/Lord_Howe"  # on 4 October 2026 it jumps from 2:00 to 2:30
    begin = datetime(2026, 10, 3, 13, tzinfo=UTC)
    for quarters in range(20):
        requests(created_at=begin + timedelta(minutes=15 * quarters))

    intervals = list(rollup_check.iter_intervals(begin, begin + timedelta(hours=6)))

    assert [each for interval in intervals for each in rollup_check.mismatches(interval)] == []
    assert all(begin_of_hour(interval.begin) == interval.hour for interval in intervals)
    assert [earlier.end == later.begin for earlier, later in pairwise(intervals)] == [True] * 5


def test_the_command_reports_matching_rollups(requests: Callable[..., Any]) -> None:
    every_kind(requests)

    assert run("--verify") == "The rollups of 3 hours match the usage records.\n"


def test_the_command_lists_mismatches_and_fails(requests: Callable[..., Any]) -> None:
    record = requests(created_at=at(1))
    HourlyUsage.objects.update(requests=7)

    stdout = io.StringIO()
    with pytest.raises(CommandError, match="1 rollups do not match the usage records") as failed:
        call_command("rollup_usage", "--verify", "--json", stdout=stdout)

    assert failed.value.returncode == 1
    assert json.loads(stdout.getvalue()) == {
        "hours": 1,
        "repaired": False,
        "mismatches": [
            {
                "hour": "2026-07-01T12:00+00:00",
                "key": record.api_key.public_id,
                "team_id": 0,
                "owner_id": record.api_key.owner_id,
                "model": "claude-3",
                "upstream": "local",
                "upstream_model": "",
                "api_format": "envelope",
                "status": "completed",
                "error_type": "",
                "usage_source": "reported",
                "measure": "requests",
                "records": 1,
                "rollups": 7,
            }
        ],
    }
    assert run("--repair") == (
        f"2026-07-01T12:00+00:00 {record.api_key.public_id} claude-3 local completed: requests 1 ≠ 7\n"
        "1 rollups repaired.\n"
    )
    assert run() == "The rollups of 1 hour match the usage records.\n"


def test_only_the_given_days_are_read(requests: Callable[..., Any]) -> None:
    requests(created_at=at(1))
    requests(created_at=at(5))
    HourlyUsage.objects.update(requests=7)

    run("--repair", "--from", "2026-07-04", "--to", "2026-07-05")

    assert list(HourlyUsage.objects.order_by("hour").values_list("requests", flat=True)) == [7, 1]
    with pytest.raises(CommandError, match="enter a day as"):
        run("--from", "yesterday")
