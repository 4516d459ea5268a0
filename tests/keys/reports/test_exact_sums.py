"""Costs add up to the pico-dollar in records, hours, reports, budgets, exports and the API, beyond 64 bits too."""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from keys.budgets import status
from keys.models import APIKey, Budget, BudgetPeriod, HourlyUsage, ModelPrice, UsageRecord
from keys.models.prices import MAX_PRICE
from keys.models.usage import part_names
from keys.pricing import price_book
from keys.reports import key_activity, key_list_stats, totals, usage_csv, usage_report
from keys.reports.date_range import DateRange
from keys.usage import rollup_check, rows, statements
from keys.usage.rows import Row, Settlement
from lib import money, periods
from tests.support.usage_rows import SETTLEMENT, admission_of

MILLIONS = 5 * 10**18
"""Five million dollars in pico-dollars. Two of them exceed 64 bits."""


@pytest.fixture(autouse=True)
def noon() -> Iterator[None]:
    """Keep midnight and the end of an hour away."""
    with time_machine.travel(datetime(2026, 7, 15, 12, 30, tzinfo=UTC)):
        yield


@pytest.fixture
def issued(quiet_ledger: None, owner: User) -> tuple[APIKey, str]:
    prices = {"cheap": 2_900_000, "dear": MAX_PRICE}
    for model, price in prices.items():
        ModelPrice.objects.create(
            model_pattern=model, input_price=price, output_price=price, valid_from=datetime(2026, 1, 1, tzinfo=UTC)
        )
    return APIKey.objects.issue(name="app", owner=owner)


@pytest.fixture
def key(issued: tuple[APIKey, str]) -> APIKey:
    return issued[0]


@pytest.fixture
def period(key: APIKey) -> BudgetPeriod:
    """The only period of the key's budget."""
    budget = Budget.objects.create(api_key=key, period="total", unit="usd", amount=money.LARGEST)
    return BudgetPeriod.objects.create(budget=budget, starts_at=periods.begin_of("total", timezone.now()))


def settle(key: APIKey, count: int, **changes: Any) -> None:
    """Settle requests in batches, in every budget of the key."""
    book = price_book.load()
    reservations = [[pk, 0] for pk in Budget.objects.values_list("pk", flat=True)]
    batch: list[Row] = []
    for _ in range(count):
        admission = admission_of(key, reservations=reservations, tags={"job": "sum"})
        settlement = Settlement(**(SETTLEMENT | {"output_tokens": 0} | changes))
        rated = settlement
        if settlement.cost_usd_picos is None:
            rated = rows.rated(settlement, at=admission.created_at, book=book)
        batch.append(statements.closed(admission, rated))
    for start in range(0, count, 100):
        statements.settle_rows(batch[start : start + 100])


class Views:
    """The sum of all costs as each part of the gateway states it."""

    def __init__(self, client: Client, raw_key: str) -> None:
        self._client, self._raw_key = client, raw_key

    def of_pages(self, key: APIKey) -> dict[str, int]:
        today = DateRange.last_days(2)
        report = usage_report.report(today)
        stats = key_list_stats.stats_for([key])[key.pk]
        return {
            "records": totals.total(UsageRecord.objects.order_by()).cost_picos,
            "hours": totals.total(totals.hourly(*today.bounds())).cost_picos,
            "report": report.total.cost_picos,
            "days": sum(row.totals.cost_picos for row in report.days),
            "keys": sum(row.totals.cost_picos for row in report.keys),
            "models": sum(row.totals.cost_picos for row in report.models),
            "key page": key_activity.activity(key).total.cost_picos,
            "key list": stats.week.cost_picos,
        }

    def of_texts(self) -> dict[str, list[str]]:
        now = timezone.now()
        begin, end = now - timedelta(minutes=20), now + timedelta(minutes=20)
        span = {"starting_at": begin.isoformat(), "ending_at": end.isoformat()}
        queries = {
            "records": span | {"bucket_width": "1m"},
            "tags": span | {"bucket_width": "1h", "group_by": "tag:job"},
            "hours": span | {"bucket_width": "1h"},
            "days": span | {"bucket_width": "1d"},
        }
        found = {name: list(self._buckets(query)) for name, query in queries.items()}
        found["key info"] = [self._get("/api/v1/key", {})["usage"]["this_month"]["cost_usd"]]
        lines = csv.DictReader(usage_csv.csv_lines(DateRange.last_days(2)))
        return found | {"export": [line["cost_usd"] for line in lines]}

    def _buckets(self, query: dict[str, str]) -> Iterator[str]:
        for bucket in self._get("/api/v1/usage", query)["data"]:
            yield from (result["cost_usd"] for result in bucket["results"])

    def _get(self, path: str, query: dict[str, str]) -> Any:
        response = self._client.get(path, query, headers={"authorization": f"Bearer {self._raw_key}"})
        assert response.status_code == 200, response.content
        return response.json()["data"]


@pytest.fixture
def views(client: Client, issued: tuple[APIKey, str]) -> Views:
    return Views(client, issued[1])


def picos_of(text: str) -> int:
    """Return the pico-dollars of a decimal string, without a float."""
    whole, _, part = text.partition(".")
    return int(whole + part.ljust(12, "0"))


def test_a_thousand_small_requests_cost_a_thousand_times_one(key: APIKey, period: BudgetPeriod, views: Views) -> None:
    settle(key, 1, upstream_model="cheap", input_tokens=1)
    period.refresh_from_db()
    of_one = (period.spent, period.spent_rest_picos)
    (shown,) = status.for_key(key)

    settle(key, 999, upstream_model="cheap", input_tokens=1)

    period.refresh_from_db()
    assert of_one == (2, 900_000) and money.decimal(shown.spent) == "0.0000029"
    assert (period.spent, period.spent_rest_picos) == (2_900, 0)
    assert set(views.of_pages(key).values()) == {2_900 * money.PICOS_PER_MICRO}
    texts = views.of_texts()
    assert texts.pop("export") == ["0.002900"] and texts.pop("key info") == ["0.002900"]
    assert {sum(map(picos_of, found)) for found in texts.values()} == {2_900 * money.PICOS_PER_MICRO}


def test_sums_beyond_64_bits_are_exact(key: APIKey, period: BudgetPeriod, views: Views) -> None:
    settle(key, 5, upstream_model="dear", input_tokens=500_000_000)
    settle(key, 1, upstream_model="cheap", input_tokens=1)
    expected = 5 * MILLIONS + 2_900_000

    of_pages, texts = views.of_pages(key), views.of_texts()

    assert expected > 2**63 and set(of_pages.values()) == {expected}
    assert all(type(cost) is int for cost in of_pages.values())
    assert texts["export"] == texts["key info"] == texts["days"] == ["25000000.0000029"]
    assert {sum(map(picos_of, found)) for found in texts.values()} == {expected}
    period.refresh_from_db()
    assert (period.spent, period.spent_rest_picos) == money.split(expected)
    assert _mismatches() == []


def test_random_costs_add_up_in_records_and_hours(key: APIKey, period: BudgetPeriod, views: Views) -> None:
    random = Random(20261130)
    costs = [random.randrange(10 ** random.randrange(1, 19)) for _ in range(300)]
    savings = [random.choice((-1, 1)) * cost for cost in costs]
    for cost, saved in zip(costs, savings, strict=True):
        settle(key, 1, upstream_model="m", cost_usd_picos=cost, cache_savings_usd_picos=saved)

    assert set(views.of_pages(key).values()) == {sum(costs)}
    period.refresh_from_db()
    assert money.join(period.spent, period.spent_rest_picos) == sum(costs)
    parts = HourlyUsage.objects.values_list(*part_names("cache_savings_usd_picos"))
    assert sum(money.join(micros, rest) for micros, rest in parts) == sum(savings)
    assert _mismatches() == []


def test_a_changed_rest_is_found(key: APIKey) -> None:
    settle(key, 1, upstream_model="cheap", input_tokens=1)
    HourlyUsage.objects.update(cost_usd_picos_rest=900_001)

    assert _mismatches() == [("cost_usd_picos_rest", 900_000, 900_001)]


def _mismatches() -> list[tuple[str, int, int]]:
    now = timezone.now()
    intervals = rollup_check.iter_intervals(now - timedelta(days=1), now + timedelta(hours=1))
    return [
        (each.measure, each.records, each.rollups)
        for interval in intervals
        for each in rollup_check.mismatches(interval)
    ]
