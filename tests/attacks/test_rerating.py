"""A re-rating of many requests of every dimension that is killed several times, and its undo: exact at any time."""

import os
import signal
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User

from keys.models import APIKey, Budget, BudgetPeriod, ModelPrice, PriceModifier, Rerating, UsageRecord
from keys.models.usage import HourlyUsage
from keys.pricing import price_book
from keys.pricing.rating import rate
from keys.usage import rows, statements
from keys.usage.rows import Settlement
from lib import money
from tests.support import ROOT
from tests.support.charged_requests import check_spending, mismatches
from tests.support.gateway import database_url, wait_until
from tests.support.usage_rows import admission_of

FIRST = datetime(2026, 7, 1, tzinfo=UTC)
DAYS = ("--from", "2026-06-30", "--to", "2026-08-01")
ZONES = ("UTC", "America/St_Johns", "Asia/Kathmandu")
BATCH = 200
Sums = dict[tuple[Any, ...], int]


@pytest.fixture
def keys(quiet_ledger: None, owner: User) -> list[APIKey]:
    """Keys with a budget per month and one per day, and prices that most requests have."""
    found = [APIKey.objects.issue(name=f"app {i}", owner=owner)[0] for i in range(4)]
    for key in found:
        for period in ("day", "month"):
            Budget.objects.create(api_key=key, period=period, unit="usd", amount=10**12, alert_threshold_percent=None)
    add_price("m*", 3_333_333)
    return found


def add_price(pattern: str, input_price: int) -> None:
    price = ModelPrice.objects.create(
        model_pattern=pattern,
        input_price=input_price,
        output_price=7_777_777,
        cache_read_price=333_333,
        web_search_price=10_000,
        valid_from=FIRST - timedelta(days=10) + timedelta(microseconds=input_price),
    )
    for dimension, value in (("speed", "fast"), ("inference_geo", "us")):
        PriceModifier.objects.create(
            price=price, dimension=dimension, value=value, input_factor=2, output_factor=3, weekdays=""
        )


def settle(keys: list[APIKey], random: Random, count: int, *, days: int) -> None:
    """Settle requests of every dimension as the ledger does."""
    book = price_book.load()
    budgets = {key.pk: list(key.budgets.values_list("pk", flat=True)) for key in keys}
    for begin in range(0, count, BATCH):
        statements.settle_rows(
            [_row(random.choice(keys), random, book, budgets, days=days) for _ in range(min(BATCH, count - begin))]
        )


def _row(key: APIKey, random: Random, book: Any, budgets: dict[int, list[int]], *, days: int) -> dict[str, Any]:
    at = FIRST + timedelta(seconds=random.random() * 86_400 * days)
    charged = [[budget_id, 0] for budget_id in budgets[key.pk] if random.random() < 0.8]
    admission = admission_of(key, created_at=at, reservations=charged, session_id=f"s{random.randrange(50)}")
    settlement = Settlement(
        status=random.choice(["completed", "client_closed", "failed"]),
        upstream=random.choice(["near", "far"]),
        upstream_model=random.choice(["m1", "m2", "unpriced"]),
        usage_source=random.choice(["reported", "partial", "estimated", "none"]),
        input_tokens=random.randint(0, 10**6),
        output_tokens=random.randint(0, 10**5),
        cache_read_tokens=random.choice([None, random.randint(0, 10**6)]),
        cache_write_5m_tokens=random.choice([None, random.randint(0, 10**5)]),
        web_searches=random.choice([None, 1, 3]),
        speed=random.choice(["", "fast", "ultra"]),
        inference_geo=random.choice(["", "us"]),
    )
    return rows.closed(admission, rows.rated(settlement, at=at, book=book), boot_id="attack")


def sums_of_records(zone: str, *, of: dict[str, int | None]) -> Sums:
    """Add up the costs by day, key, model and upstream, in the time zone."""
    found: Sums = defaultdict(int)
    for id, at, *others in UsageRecord.objects.values_list("id", "created_at", "api_key", "upstream_model", "upstream"):
        found[at.astimezone(ZoneInfo(zone)).date(), *others] += of[id] or 0
    return {subject: cost for subject, cost in found.items() if cost}


def sums_of_hours() -> Sums:
    """The same of the hourly rollups, which are hours of UTC."""
    found: Sums = defaultdict(int)
    names = ("hour", "api_key", "upstream_model", "upstream", "cost_usd_micros", "cost_usd_picos_rest")
    for hour, key, model, upstream, micros, rest in HourlyUsage.objects.values_list(*names):
        found[hour.date(), key, model, upstream] += money.join(micros, rest)
    return {subject: cost for subject, cost in found.items() if cost}


def costs() -> dict[str, int | None]:
    return dict(UsageRecord.objects.values_list("id", "cost_usd_picos"))


def check() -> None:
    assert sums_of_hours() == sums_of_records("UTC", of=costs())
    assert mismatches() == []
    check_spending()


class Command:
    """`manage.py rerate` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        environment = {**os.environ, "DATABASE_URL": database_url()}
        command = [sys.executable, "manage.py", "rerate", *arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    def output(self) -> str:
        output, _ = self._process.communicate(timeout=1_000)
        assert self._process.returncode == 0, output
        return output

    def kill_once(self, condition: Any) -> None:
        wait_until(lambda: self._process.poll() is not None or condition(), within_s=300)
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


@pytest.mark.timeout(3_600)
def test_a_run_that_is_killed_corrects_and_restores_every_sum(keys: list[APIKey], at_length: bool) -> None:
    random, count = Random(20261130), 100_000 if at_length else 1_500
    settle(keys, random, count, days=30 if at_length else 1)
    before, spent_before = costs(), list(BudgetPeriod.objects.order_by("pk").values())
    days_before = [sums_of_records(zone, of=before) for zone in ZONES]
    check()
    add_price("*", 5_000_001)
    add_price("m1", 5_000_002)
    book = price_book.load()
    expected = {row["id"]: rate(row, book).cost_usd_picos for row in UsageRecord.objects.order_by().values().iterator()}

    Command(*DAYS, "--apply").kill_once(lambda: Rerating.objects.filter(state="applying", records__gt=300).exists())
    run = Rerating.objects.get()
    check()
    for kill_at in (600, 900):
        Command("--continue", str(run.pk)).kill_once(
            lambda kill_at=kill_at: Rerating.objects.filter(records__gt=kill_at).exists()
        )
        check()
    assert f"of {count:,} requests change" in Command("--continue", str(run.pk)).output()

    assert costs() == expected != before
    run.refresh_from_db()
    old, new = (sum(cost or 0 for cost in of.values()) for of in (before, expected))
    assert (run.state, run.records, run.old_picos, run.new_picos) == ("applied", count, old, new)
    check()

    Command("--undo", str(run.pk)).kill_once(lambda: Rerating.objects.filter(restored_records__gt=300).exists())
    check()
    Command("--continue", str(run.pk)).output()

    assert costs() == before
    assert [sums_of_records(zone, of=costs()) for zone in ZONES] == days_before
    assert list(BudgetPeriod.objects.order_by("pk").values()) == spent_before
    check()
