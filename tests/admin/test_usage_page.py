"""Usage report: period in the URL, totals, chart, tables and CSV export."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from keys.models import APIKey, ReportingZone
from keys.reports.date_range import DateRange
from tests.support.usage_rows import UsageRecorder

USAGE = "/admin/usage/"
CSV = "/admin/usage.csv"
NOW = datetime(2026, 7, 15, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def in_july(admin: User, client: Client) -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        client.force_login(admin)
        yield


@pytest.mark.parametrize(
    "query, first, last",
    [
        ("", "2026-07-09", "2026-07-15"),
        ("period=today", "2026-07-15", "2026-07-15"),
        ("period=7d", "2026-07-09", "2026-07-15"),
        ("period=30d", "2026-06-16", "2026-07-15"),
        ("period=month", "2026-07-01", "2026-07-15"),
        ("period=last-month", "2026-06-01", "2026-06-30"),
        ("period=custom&start=2026-01-01&end=2026-12-31", "2026-01-01", "2026-12-31"),
        ("start=2026-01-01&end=2026-01-02", "2026-07-09", "2026-07-15"),
    ],
)
def test_periods(query: str, first: str, last: str, browser: Client) -> None:
    page = browser.get(f"{USAGE}?{query}")

    period = page.context["report"].dates
    assert (str(period.first), str(period.last)) == (first, last)
    assert "errorlist" not in page.text


@pytest.mark.parametrize(
    "query",
    [
        "period=nonsense",
        "period=custom",
        "period=custom&start=2026-01-02&end=2026-01-01",
        "period=custom&start=2020-01-01&end=2026-01-01",
        "period=custom&start=2026-02-30&end=2026-03-01",
        "period=custom&start=0001-01-01&end=0001-01-02&x=<script>",
        "period=custom&start=9999-12-31&end=9999-12-31",
    ],
)
def test_an_invalid_period_shows_an_error_and_the_default(query: str, browser: Client) -> None:
    page = browser.get(f"{USAGE}?{query}")

    assert page.status_code == 200
    assert "errorlist" in page.text
    assert page.context["report"].dates == DateRange(first=datetime(2026, 7, 9).date(), last=NOW.date())


def test_the_reporting_time_zone_is_named_and_decides_what_today_is(browser: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"  # twelve hours ahead: the next day

    page = browser.get(f"{USAGE}?period=today")

    assert "Time zone: Pacific/Auckland." in page.text
    assert str(page.context["report"].dates.first) == "2026-07-16"


def test_the_figures_on_the_page(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record(
        created_at=NOW, input_tokens=1000, cache_read_tokens=200, cache_write_5m_tokens=30, output_tokens=4000
    )
    recorder.record(created_at=NOW, status="failed", input_tokens=None, output_tokens=None, usage_source="none")
    recorder.record(created_at=NOW, status="rejected")

    page = browser.get(f"{USAGE}?period=today").text

    cards = dict(re.findall(r"<dt>([\w ]+)</dt>\s*<dd>([\d,]+)</dd>", page))
    assert cards == {"Requests": "2", "Input tokens": "1,230", "Output tokens": "4,000", "Errors": "1", "Rejected": "1"}
    assert re.search(
        r"<dt>Cost</dt>\s*<dd title=\"\$0.00\">\$0.00</dd>\s*<dd class=\"note\">1 unpriced request</dd>", page
    )
    assert "1 request used models without a price" in " ".join(page.split())
    assert "did not report the token usage of 1 request completely" in " ".join(page.split())
    assert page.count('<th scope="row">Total</th>') == 3


def test_the_chart_has_the_rows_of_its_table(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record(created_at=NOW)
    recorder.record(created_at=NOW, status="failed")

    page = browser.get(USAGE).text

    block = re.search(r'<script id="requests-by-day" type="application/json">(.*?)</script>', page)
    assert block
    chart = json.loads(block[1])
    assert chart["labels"][-1] == "15 Jul" and len(chart["labels"]) == 7
    assert {series["name"]: series["values"][-1] for series in chart["series"]} == {
        "Completed": 1,
        "Client disconnected": 0,
        "Client errors": 0,
        "Upstream errors": 1,
        "Rejected": 0,
        "In flight": 0,
    }


def test_a_page_takes_six_queries(browser: Client, recorder: UsageRecorder, django_assert_num_queries: Any) -> None:
    for _ in range(3):
        recorder.record(as_key=APIKey.objects.issue(name="app", owner=recorder.api_key.owner)[0], created_at=NOW)

    with django_assert_num_queries(6):  # session, user, models, totals, keys, time zone in effect
        browser.get(USAGE)


def test_the_export_has_the_same_filter(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record(created_at=NOW, model="=1+1")
    recorder.record(created_at=datetime(2026, 6, 30, 12, tzinfo=UTC))

    page = browser.get(f"{USAGE}?period=custom&start=2026-07-01&end=2026-07-31")
    link = re.search(r'href="(/admin/usage\.csv[^"]*)"', page.text)
    assert link
    export: Any = browser.get(link[1].replace("&amp;", "&"))

    lines = list(csv.DictReader(export.getvalue().decode().splitlines()))
    assert [(line["day"], line["key_name"], line["model"], line["requests"]) for line in lines] == [
        ("2026-07-15", "client", "'=1+1", "1")
    ]
    assert export.streaming
    assert export["Content-Disposition"] == 'attachment; filename="usage_2026-07-01_2026-07-31.csv"'
    assert export["Content-Type"] == "text/csv; charset=utf-8"


def test_reading_and_exporting_need_their_own_permissions(browser_of: Callable[..., Client]) -> None:
    reader = browser_of("view_usagerecord")

    assert reader.get(USAGE).status_code == 200
    assert "usage.csv" not in reader.get(USAGE).text
    assert reader.get(CSV).status_code == 403


@pytest.mark.parametrize("address", [USAGE, CSV])
def test_anonymous_users_are_redirected_and_others_rejected(address: str, browser_of: Callable[..., Client]) -> None:
    assert Client().get(address).headers["Location"].startswith("/admin/login/")
    assert browser_of("view_apikey").get(address).status_code == 403


def test_the_report_is_not_changed_by_a_post(browser: Client) -> None:
    assert browser.post(USAGE).status_code == 405


def test_hostile_texts_are_inert(browser: Client, recorder: UsageRecorder) -> None:
    hostile = '"><script>alert(1)</script>'
    api_key = APIKey.objects.issue(name=hostile, owner=recorder.api_key.owner)[0]
    recorder.record(as_key=api_key, created_at=NOW, model=hostile)

    assert "<script>alert" not in browser.get(USAGE).text


def test_the_overview_shows_today_and_first_steps_until_the_first_request(
    browser: Client, recorder: UsageRecorder
) -> None:
    new = browser.get("/admin/").text
    recorder.record(created_at=NOW)
    in_use = browser.get("/admin/").text

    assert "Get started" in new and "Get started" not in in_use
    assert re.search(r"<dt>Requests</dt>\s*<dd>1</dd>", in_use)


def test_the_overview_without_permission_shows_no_usage(browser_of: Callable[..., Client]) -> None:
    page = browser_of("view_apikey").get("/admin/").text

    assert "Usage report" not in page and 'href="/admin/usage/"' not in page


def test_a_change_of_the_time_zone_is_stated_until_it_is_applied(browser: Client, settings: Any) -> None:
    now = timezone.now()
    row = ReportingZone.objects.create(name="UTC", changed_at=now, confirmed_at=now)
    assert "messagelist" not in browser.get("/admin/usage/").content.decode()

    settings.TIME_ZONE = "Asia/Kathmandu"
    row.rollups_before = datetime(2026, 7, 1, tzinfo=UTC)
    row.save()
    shown = browser.get("/admin/usage/").content.decode()

    assert "REPORTING_TIME_ZONE is Asia/Kathmandu here, but UTC is in effect" in shown
    assert "Totals before 2026-07-01 05:45 are being added up again." in shown
