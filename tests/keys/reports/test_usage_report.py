"""Usage report and export: every table adds up to the total, on days of the reporting time zone."""

import csv
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st

from keys.models import APIKey, HourlyUsage, ModelPrice, UsageRecord
from keys.pricing.price_book import prices
from keys.reports import csv_text, key_activity, usage_csv, usage_report
from keys.reports.date_range import DateRange
from keys.reports.totals import Totals
from keys.templatetags import formatting
from keys.usage import ledger
from tests.support.usage_rows import UsageRecorder

DAYS = st.dates(min_value=date(2020, 1, 1), max_value=date(2030, 12, 31))
ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia", "Asia/Kathmandu", "America/Havana"]
JULY = DateRange(first=date(2026, 7, 1), last=date(2026, 7, 31))


@pytest.fixture
def requests(quiet_ledger: None, owner: User) -> Callable[..., Any]:
    return UsageRecorder(APIKey.objects.issue(name="app", owner=owner)[0]).record


def at(day: int, hour: int = 12, **changes: Any) -> datetime:
    return datetime(2026, 7, day, hour, tzinfo=UTC).replace(**changes)


@pytest.mark.parametrize("zone", ZONES)
def test_days_follow_each_other_without_gap_or_overlap(zone: str, settings: Any) -> None:
    settings.TIME_ZONE = zone

    @given(DAYS)
    def follow(day: date) -> None:
        begin, end = DateRange(first=day, last=day).bounds()
        next_begin, _ = DateRange(first=day + timedelta(days=1), last=day + timedelta(days=1)).bounds()
        assert begin <= end == next_begin  # Apia had no 30 December 2011; a day may be empty, never negative

    follow()


@pytest.mark.parametrize("day, hours", [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 7, 1), 24)])
def test_a_day_with_a_clock_change_has_its_hours(day: date, hours: int, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"

    begin, end = DateRange(first=day, last=day).bounds()

    assert end - begin == timedelta(hours=hours)


def test_a_request_counts_on_its_day_in_the_reporting_time_zone(requests: Callable[..., Any], settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"  # nine hours ahead
    requests(created_at=at(9, 15))
    requests(created_at=at(9, 14, minute=59))

    report = usage_report.report(DateRange(first=date(2026, 7, 9), last=date(2026, 7, 10)))

    assert [(row.subject, row.totals.requests) for row in report.days] == [
        (date(2026, 7, 9), 1),
        (date(2026, 7, 10), 1),
    ]


def test_a_range_ends_before_the_next_day(requests: Callable[..., Any]) -> None:
    requests(created_at=at(1, 0))
    requests(created_at=at(31, 23, minute=59, second=59, microsecond=999_999))
    requests(created_at=datetime(2026, 8, 1, tzinfo=UTC))

    assert usage_report.total(JULY).requests == 2


def test_the_figures_of_a_total(requests: Callable[..., Any]) -> None:
    counts = {"cache_read_tokens": 3, "cache_write_5m_tokens": 5, "cache_write_1h_tokens": 7, "thinking_tokens": 4}
    requests(created_at=at(1), **counts)
    requests(created_at=at(2), status="failed", input_tokens=None, output_tokens=None, usage_source="none")
    requests(created_at=at(2), status="client_closed", usage_source="partial")
    requests(created_at=at(3), status="client_stalled", usage_source="estimated")
    requests(created_at=at(3), status="started")
    requests(created_at=at(3), status="rejected")
    requests(created_at=at(4), status="interrupted", lease_s=1)
    ledger.close()
    ledger.start()  # settles the request whose lease has expired
    ledger.close()

    total = usage_report.total(JULY)

    assert total == Totals(
        completed=1,
        client_disconnected=2,
        upstream_errors=2,
        in_flight=1,
        rejected=1,
        input_tokens=9 + 9 + 9 + 7,
        cache_read_tokens=3,
        cache_write_tokens=12,
        output_tokens=36,
        without_usage=2,
        source_reported=1,
        source_partial=1,
        source_estimated=2,
        source_none=1,
        unpriced=4,  # a request without a response of an upstream costs nothing; the others have no price
    )
    assert (total.requests, total.finished, total.all_input_tokens) == (6, 5, 49)


def random_requests(requests: Callable[..., Any], owner: User, *, seed: int) -> None:
    chance = random.Random(seed)
    api_keys = [APIKey.objects.issue(name=f"app {i % 3}", owner=owner)[0] for i in range(5)]
    for _ in range(60):
        requests(
            as_key=chance.choice(api_keys),
            model=chance.choice(["claude-3", "claude-3-opus", "smollm2"]),
            created_at=at(1) + timedelta(seconds=chance.randrange(30 * 86_400)),
            status=chance.choice(["completed", "failed", "client_closed", "client_stalled", "started"]),
            input_tokens=chance.choice([None, 0, chance.randrange(10**6)]),
            output_tokens=chance.choice([None, chance.randrange(10**6)]),
            cache_read_tokens=chance.choice([None, chance.randrange(10**6)]),
            usage_source=chance.choice(["reported", "partial", "estimated", "none"]),
        )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("zone", ["UTC", "America/St_Johns"])
def test_every_table_adds_up_to_the_total(
    zone: str, seed: int, requests: Callable[..., Any], owner: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TIME_ZONE = zone
    monkeypatch.setattr(usage_report, "SHOWN", 2)  # the other keys and models are in the row of all others
    random_requests(requests, owner, seed=seed)

    report = usage_report.report(JULY)
    lines = list(csv.DictReader(usage_csv.csv_lines(JULY)))

    assert report.total == usage_report.total(JULY)
    assert report.total.requests == 60
    for rows in (report.days, report.keys, report.models):
        assert sum((row.totals for row in rows), Totals()) == report.total
    assert len(report.keys) == len(report.models) == 3
    assert sum(int(line["output_tokens"]) for line in lines) == report.total.output_tokens
    assert sum(int(line["requests"]) for line in lines) == report.total.requests


def test_keys_with_the_same_name_have_rows_of_their_own_with_hints(requests: Callable[..., Any], owner: User) -> None:
    api_keys = [APIKey.objects.issue(name="same", owner=owner)[0] for _ in range(2)]
    for api_key in api_keys:
        requests(as_key=api_key, created_at=at(1))

    report = usage_report.report(JULY)

    hints = {api_key.public_id: str(api_key.secrets.get()) for api_key in api_keys}
    assert {row.subject.public_id: row.subject.hint for row in report.keys} == hints


def test_a_report_takes_three_queries(
    requests: Callable[..., Any], owner: User, django_assert_num_queries: Any
) -> None:
    random_requests(requests, owner, seed=1)

    with django_assert_num_queries(3):  # model names, totals, names and hints of keys
        usage_report.report(JULY)
    with django_assert_num_queries(1):
        usage_report.total(JULY)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "  =1",
        "\N{NO-BREAK SPACE}=1",
        '=HYPERLINK("http://evil")',
        "\n=1",
    ],
)
def test_a_cell_that_a_spreadsheet_takes_for_a_formula_is_inert(text: str) -> None:
    assert csv_text.inert(text) == f"'{text}"


@pytest.mark.parametrize("text", ["claude-3", "a=b", "Search backend", "", "key_1"])
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert csv_text.inert(text) == text


def test_an_export_has_hostile_names_inert_and_numbers_numeric(requests: Callable[..., Any], owner: User) -> None:
    hostile = APIKey.objects.issue(name='=HYPERLINK("http://evil","x")', owner=owner)[0]
    with time_machine.travel(at(5), tick=False):
        requests(as_key=hostile, created_at=at(5), model="@SUM(A1),\r\n=2")

    line = next(csv.DictReader(usage_csv.csv_lines(JULY)))

    origin, nothing = line.popitem()
    assert "export=usage&from=2026-07-01&to=2026-07-31&time_zone=UTC&lines=1&checksum=" in origin and nothing == ""
    assert line == {
        "day": "2026-07-05",
        "key": hostile.public_id,
        "key_name": '\'=HYPERLINK("http://evil","x")',
        "model": "'@SUM(A1),\r\n=2",
        "requests": "1",
        "completed": "1",
        "client_disconnected": "0",
        "errors": "0",
        "client_errors": "0",
        "in_flight": "0",
        "rejected_requests": "0",
        "input_tokens": "9",
        "cache_read_tokens": "0",
        "cache_write_tokens": "0",
        "output_tokens": "12",
        "requests_without_usage": "0",
        "usage_reported": "1",
        "usage_partial": "0",
        "usage_estimated": "0",
        "usage_none": "0",
        "cost_usd": "",
        "unpriced_requests": "1",
    }


def test_priced_requests_add_up_to_the_cost_and_unpriced_requests_are_counted(
    requests: Callable[..., Any], owner: User
) -> None:
    ModelPrice.objects.create(
        model_pattern="priced", input_price=1_000_000, output_price=2_000_000, valid_from=at(1, 0)
    )
    ModelPrice.objects.create(model_pattern="free", is_free=True, valid_from=at(1, 0))
    prices.book()
    for model, count in (("priced", 2), ("free", 1), ("dear", 1)):
        for _ in range(count):
            requests(created_at=at(2), model=model, upstream_model=model)

    report = usage_report.report(JULY)
    lines = {line["model"]: line for line in csv.DictReader(usage_csv.csv_lines(JULY))}

    assert (report.total.cost_picos, report.total.unpriced) == (2_000_000 * (9 + 24), 1)
    assert {row.subject: (row.totals.cost_picos, row.totals.unpriced) for row in report.models} == {
        "priced": (66_000_000, 0),
        "free": (0, 0),
        "dear": (0, 1),
    }
    assert {model: (line["cost_usd"], line["unpriced_requests"]) for model, line in lines.items()} == {
        "priced": ("0.000066", "0"),
        "free": ("0.000000", "0"),
        "dear": ("", "1"),
    }
    shown = {row.subject: formatting.cost(row.totals) for row in report.models}
    assert shown == {"priced": "$0.000066", "free": "$0.00", "dear": "unpriced"}


@pytest.mark.parametrize("shown", [1, 50])
def test_an_in_flight_request_counts_in_the_row_of_its_key_and_model(
    shown: int, requests: Callable[..., Any], owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_report, "SHOWN", shown)
    requests(created_at=at(2), model="used")
    new = APIKey.objects.issue(name="new", owner=owner)[0]
    requests(created_at=at(2), status="started", model="new", as_key=new)

    report = usage_report.report(JULY)

    assert [row.subject for row in report.models] == (["used", "new"] if shown == 50 else ["used", None])
    assert [row.subject and row.subject.name for row in report.keys] == (
        ["app", "new"] if shown == 50 else ["app", None]
    )
    assert [row.totals.in_flight for row in report.keys] == [0, 1]


def test_rejected_requests_with_invented_names_push_no_model_out_of_the_report(requests: Callable[..., Any]) -> None:
    record = requests(created_at=at(2), model="zeta")
    HourlyUsage.objects.bulk_create(
        HourlyUsage(api_key_id=record.api_key_id, hour=at(2), model=f"a{n}", status="rejected", requests=9)
        for n in range(2 * usage_report.MOST_MODELS)
    )

    report = usage_report.report(JULY)

    assert [row.subject for row in report.models][:1] == ["zeta"]
    assert sum(row.totals.rejected for row in report.models) == report.total.rejected == 9 * 2_000
    assert key_activity._busiest({row.subject or "": row.totals for row in report.models})[0].subject == "zeta"


def test_reports_do_not_change_when_usage_records_are_deleted(requests: Callable[..., Any]) -> None:
    requests(created_at=at(2))
    UsageRecord.objects.all().delete()

    assert usage_report.total(JULY).completed == 1
