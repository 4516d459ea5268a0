"""Backoff before a retry, and parsing of `retry-after`."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import time_machine

from messages_api.backend.backoff import backoff_s, parse_retry_after

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(("retry", "least", "most"), [(1, 0.25, 0.5), (2, 0.5, 1.0), (3, 1.0, 2.0), (9, 4.0, 8.0)])
def test_the_backoff_doubles_up_to_eight_seconds_with_jitter(retry: int, least: float, most: float) -> None:
    waits = [backoff_s(retry, retry_after_s=None) for _ in range(200)]

    assert all(wait is not None and least <= wait <= most for wait in waits)
    assert len(set(waits)) > 100


@pytest.mark.parametrize("retry_after", [0.0, 3.0, 30.0])
def test_a_retry_after_is_waited_for_with_jitter(retry_after: float) -> None:
    waits = [backoff_s(1, retry_after_s=retry_after) for _ in range(200)]

    assert all(wait is not None and retry_after <= wait <= retry_after + 0.5 for wait in waits)
    assert len(set(waits)) > 100


@pytest.mark.parametrize("retry_after", [30.1, 600.0, 1e9, float("inf")])
def test_a_retry_after_of_more_than_thirty_seconds_is_not_waited_for(retry_after: float) -> None:
    assert backoff_s(1, retry_after_s=retry_after) is None


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("0", 0.0),
        ("3", 3.0),
        (" 2.5 ", 2.5),
        ("-1", 0.0),
        ("1000000000", 1e9),
        (format_datetime(NOW + timedelta(seconds=20), usegmt=True), 20.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        ("Wed, 25 Nov 2026 12:00:07", 7.0),
        ("Wed, 25 Nov 2026 14:00:07 +0200", 7.0),
        ("", None),
        ("soon", None),
        ("inf", None),
        ("-inf", None),
        ("+infinity", None),
        ("nan", None),
        ("-nan", None),
        ("1e400", None),
        ("0x10", None),
        ("3 seconds", None),
        ("Thu, 32 Nov 2026 12:00:00 GMT", None),
        ("Thu, 25 Nov 99999 12:00:00 GMT", None),
        ("\u0663", None),
    ],
)
def test_a_retry_after_is_parsed(retry_after: str, seconds: float | None) -> None:
    with time_machine.travel(NOW, tick=False):
        assert parse_retry_after(retry_after) == seconds
