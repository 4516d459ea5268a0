"""Errors are defined once: the overview, the usage page, the key page, the export and the API count the same ones."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client

from keys.models import APIKey
from keys.reports import key_activity, key_list_stats, usage_report
from keys.reports.date_range import DateRange
from keys.reports.totals import Totals, total
from keys.usage import ledger
from tests.support.usage_rows import UsageRecorder

pytestmark = pytest.mark.usefixtures("static_files")

EXPECTED = {"finished": 8, "errors": 5, "client_errors": 2, "upstream_errors": 3, "rejected": 1}
NOW = datetime(2026, 7, 15, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def in_july() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def key(quiet_ledger: None, owner: User) -> tuple[APIKey, str]:
    """A key with requests of every outcome: of eight finished ones five are errors."""
    api_key, raw = APIKey.objects.issue(name="app", owner=owner)
    requests: Callable[..., Any] = UsageRecorder(api_key).record
    outcomes: list[dict[str, Any]] = [
        {"status": "completed"},
        {"status": "client_closed"},
        {"status": "client_stalled"},
        {"status": "failed", "error_type": "invalid_request_error"},
        {"status": "failed", "error_type": "not_found_error"},
        {"status": "failed", "error_type": "overloaded_error"},
        {"status": "failed", "error_type": ""},
        {"status": "interrupted", "lease_s": 1},
        {"status": "rejected"},
        {"status": "started"},
    ]
    for outcome in outcomes:
        requests(created_at=NOW - timedelta(seconds=2), **outcome)
    ledger.close()
    ledger.start()  # settles the request whose lease has expired
    ledger.close()
    return api_key, raw


def of_totals(totals: Totals) -> dict[str, int]:
    return {name: getattr(totals, name) for name in EXPECTED}


def test_every_report_counts_the_same_errors(key: tuple[APIKey, str]) -> None:
    api_key, _ = key
    week = DateRange.last_days(7)

    found = {
        "usage report": usage_report.report(week).total,
        "days of the overview": usage_report.total(week),
        "activity of the key": key_activity.activity(api_key).total,
        "key list, week": key_list_stats.stats_for([api_key])[api_key.pk].week,
        "key list, month": key_list_stats.stats_for([api_key])[api_key.pk].month,
        "usage records": total(api_key.usage.order_by()),
    }

    assert {name: of_totals(totals) for name, totals in found.items()} == dict.fromkeys(found, EXPECTED)


@pytest.mark.parametrize("width", ["1m", "1h", "1d"])
def test_the_api_counts_the_errors_of_the_pages(key: tuple[APIKey, str], client: Client, width: str) -> None:
    expected = {"requests": 8, "errors": 5, "client_errors": 2, "rejected_requests": 1}
    headers = {"authorization": f"Bearer {key[1]}"}

    today = client.get("/api/v1/key", headers=headers).json()["data"]["usage"]["today"]
    buckets = client.get("/api/v1/usage", {"bucket_width": width}, headers=headers).json()["data"]["data"]

    assert today.items() >= expected.items()
    results = [result for bucket in buckets for result in bucket["results"]]
    assert {name: sum(result[name] for result in results) for name in expected} == expected


def test_the_pages_show_the_same_errors_and_error_rate(key: tuple[APIKey, str], client: Client, admin: User) -> None:
    client.force_login(admin)

    pages = {
        path: client.get(path)
        for path in ("/admin/", "/admin/usage/?period=7d", f"/admin/keys/apikey/{key[0].pk}/change/")
    }

    for path, page in pages.items():
        block = re.search(r'<script id="requests-by-day" type="application/json">(.*?)</script>', page.text)
        assert block, path
        series = {each["name"]: sum(each["values"]) for each in json.loads(block[1])["series"]}
        assert (series["Client errors"], series["Upstream errors"], series["Rejected"]) == (2, 3, 1), path
        assert "62.5 % errors" in page.text, path


def test_the_export_counts_the_errors_of_the_pages(key: tuple[APIKey, str], client: Client, admin: User) -> None:
    client.force_login(admin)

    export: Any = client.get("/admin/usage.csv?period=7d")

    (line,) = csv.DictReader(export.getvalue().decode().splitlines())
    assert (line["errors"], line["client_errors"], line["rejected_requests"], line["in_flight"]) == ("5", "2", "1", "1")
