"""Budgets: reserved at admission, spent at settlement, exact under concurrency."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from keys.budgets import status
from keys.budgets.reservations import BudgetRef, ReservationRequest, reservation_requests
from keys.errors import BudgetExceeded
from keys.models import APIKey, Budget, BudgetPeriod, HourlyUsage, ModelPrice, Notification, Team, UsageRecord
from keys.pricing.price_book import prices
from keys.usage import ledger, statements
from keys.usage.rows import Admission, Settlement, Status
from lib import money
from messages_api.backend.protocol.token_estimate import estimate
from messages_api.middleware import new_request_id
from tests.support.gateway import Gateway, GatewayServer, wait_until
from tests.support.recovery import recover
from tests.upstream import Reply, ScriptedUpstream, replied

PATH = "/api/v1/messages"
REQUEST: dict[str, Any] = {"model": "m", "max_tokens": 12, "messages": [{"role": "user", "content": "Hi"}]}
INPUT = estimate(REQUEST)  # type: ignore[arg-type]
PER_REQUEST = INPUT + 12
"""The tokens that a request reserves, and that the scripted upstream reports."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "run" in metafunc.fixturenames:
        metafunc.parametrize("run", range(20 if metafunc.config.getoption("at_length") else 1))


@pytest.fixture
def key(owner: User) -> APIKey:
    return APIKey.objects.issue(name="app", owner=owner)[0]


def budget(scope: APIKey | Team, amount: int, **fields: Any) -> Budget:
    values = {"unit": "tokens", "period": "month"} | fields
    where = {"team": scope} if isinstance(scope, Team) else {"api_key": scope}
    return Budget.objects.create(amount=amount, **where, **values)


def refs(*rows: Budget) -> list[BudgetRef]:
    return [
        BudgetRef(id=row.pk, scope="team" if row.team_id else "key", period=row.period, unit=row.unit) for row in rows
    ]


def admission(key: APIKey, requests: list[ReservationRequest] | None = None, **changes: Any) -> Admission:
    values: dict[str, Any] = {
        "id": new_request_id(),
        "api_key_id": key.pk,
        "secret_id": key.secrets.all()[0].pk,
        "api_format": "envelope",
        "model": "m",
        "streamed": False,
        "estimated_input_tokens": 5,
        "lease_s": 600,
        "reservation_requests": requests or [],
    }
    return Admission(**(values | changes))


def reserving(row: Budget, amount: int) -> list[ReservationRequest]:
    return [ReservationRequest(budget=refs(row)[0], amount=amount)]


def completed(input: int, output: int) -> Settlement:
    return Settlement(status=Status.COMPLETED, input_tokens=input, output_tokens=output, usage_source="reported")


def spent_and_reserved(row: Budget) -> tuple[int, int]:
    period = BudgetPeriod.objects.filter(budget=row).first()
    return (period.spent, period.reserved) if period else (0, 0)


# ---- The ledger.


def test_a_request_reserves_its_maximum_cost_and_then_spends_its_cost(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 100)
    request = admission(key, reserving(monthly, 60))

    ledger.admit(request)
    reserved = spent_and_reserved(monthly)
    ledger.settle(request, completed(7, 20))

    assert reserved == (0, 60)
    assert spent_and_reserved(monthly) == (27, 0)


def test_a_request_beyond_the_remaining_budget_is_rejected_with_a_record_and_reserves_nothing(
    quiet_ledger: None, key: APIKey
) -> None:
    monthly = budget(key, 100)
    ledger.admit(admission(key, reserving(monthly, 60)))
    rejected = admission(key, reserving(monthly, 41))

    with pytest.raises(BudgetExceeded) as caught:
        ledger.admit(rejected)

    assert "40 tokens remaining of the monthly budget of 100 tokens" in caught.value.message
    assert spent_and_reserved(monthly) == (0, 60)
    row = UsageRecord.objects.get(id=rejected.id)
    assert (row.status, row.http_status, row.error_type, row.cost_usd_picos) == (
        "rejected",
        402,
        "billing_error",
        None,
    )
    assert row.limit_exceeded is not None and row.limit_exceeded.pop("reset")
    assert row.limit_exceeded == {
        "scope": "key",
        "limit": "budget",
        "value": 100,
        "shadow": False,
        "period": "month",
        "unit": "tokens",
        "needed": 41,
    }


def test_a_request_reserves_in_all_budgets_or_in_none(quiet_ledger: None, owner: User) -> None:
    team = Team.objects.create(name="team")
    key = APIKey.objects.issue(name="app", team=team)[0]
    wide, narrow = budget(team, 1000), budget(key, 10)

    with pytest.raises(BudgetExceeded):
        ledger.admit(admission(key, [*reserving(wide, 50), *reserving(narrow, 50)]))

    assert spent_and_reserved(wide) == spent_and_reserved(narrow) == (0, 0)


def test_a_request_is_charged_to_the_period_that_admitted_it(quiet_ledger: None, key: APIKey) -> None:
    daily = budget(key, 100, period="day")
    yesterday = timezone.now() - timedelta(days=1)
    request = admission(key, reserving(daily, 60), created_at=yesterday, lease_s=2 * 86_400)

    ledger.admit(request)
    ledger.settle(request, completed(7, 20))
    ledger.admit(admission(key, reserving(daily, 100)))

    spent = BudgetPeriod.objects.filter(budget=daily).order_by("starts_at").values_list("spent", "reserved")
    assert list(spent) == [(27, 0), (0, 100)]


def test_a_raised_budget_and_a_temporary_increase_apply_immediately_and_until_they_end(
    quiet_ledger: None, key: APIKey
) -> None:
    monthly = budget(key, 10, temporary_increase=50, temporary_increase_until=timezone.now() + timedelta(hours=1))
    ledger.admit(admission(key, reserving(monthly, 55)))

    Budget.objects.update(temporary_increase_until=timezone.now() - timedelta(seconds=1))
    with pytest.raises(BudgetExceeded):
        ledger.admit(admission(key, reserving(monthly, 1)))
    Budget.objects.update(amount=100)
    ledger.admit(admission(key, reserving(monthly, 1)))

    assert spent_and_reserved(monthly) == (0, 56)


def test_settling_twice_spends_once(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 100)
    request = admission(key, reserving(monthly, 60))
    ledger.admit(request)

    ledger.settle(request, completed(7, 20))
    ledger.settle(request, completed(50, 50))

    assert spent_and_reserved(monthly) == (27, 0)


def test_the_reservation_of_an_orphaned_request_is_released(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 100)
    ledger.admit(admission(key, reserving(monthly, 60)))
    UsageRecord.objects.update(boot_id="a-dead-worker", lease_expires_at=timezone.now() - timedelta(seconds=1))

    recover()

    assert UsageRecord.objects.get().status == "interrupted"
    assert spent_and_reserved(monthly) == (5, 0)


def test_an_orphaned_request_is_priced_with_its_first_target(quiet_ledger: None, key: APIKey) -> None:
    price = ModelPrice.objects.create(
        model_pattern="m-there", upstream="u", input_price=3_000_000, output_price=15_000_000
    )
    monthly = budget(key, 1_000_000, unit="usd")
    ledger.admit(admission(key, reserving(monthly, 900_000), upstream="u", upstream_model="m-there"))
    UsageRecord.objects.update(boot_id="a-dead-worker", lease_expires_at=timezone.now() - timedelta(seconds=1))

    recover()

    row = UsageRecord.objects.get()
    assert (row.status, row.cost_usd_picos, row.price, row.upstream) == ("interrupted", 15_000_000, price, "u")
    assert spent_and_reserved(monthly) == (15, 0)
    assert HourlyUsage.objects.get().unpriced_requests == 0


def test_a_replayed_settlement_spends(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 100)
    request = admission(key, reserving(monthly, 60))
    ledger.admit(request)

    statements.Settle(statements.closed(request, completed(7, 20))).abandon(
        RuntimeError("unavailable"), is_in_doubt=False
    )
    recover()

    assert spent_and_reserved(monthly) == (27, 0)


def test_a_deleted_budget_blocks_nothing(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 100)
    running, next_one = admission(key, reserving(monthly, 60)), admission(key, reserving(monthly, 60))
    ledger.admit(running)
    Budget.objects.all().delete()

    ledger.settle(running, completed(7, 20))
    ledger.admit(next_one)

    assert dict(UsageRecord.objects.values_list("id", "status")) == {running.id: "completed", next_one.id: "started"}


def test_a_request_is_priced_with_the_model_that_served_it_and_keeps_the_price(quiet_ledger: None, key: APIKey) -> None:
    price = ModelPrice.objects.create(model_pattern="m-there", input_price=3_000_000, output_price=15_000_000)
    monthly = budget(key, 1_000_000, unit="usd")
    request = admission(key, reserving(monthly, 900_000))
    prices.book()

    ledger.admit(request)
    ledger.settle(
        request, Settlement(**{**_fields(completed(1000, 100)), "upstream": "u", "upstream_model": "m-there"})
    )

    row = UsageRecord.objects.get()
    assert (row.cost_usd_picos, row.price) == (4_500_000_000, price)
    assert spent_and_reserved(monthly) == (4_500, 0)


def costing(picos: int) -> Settlement:
    return Settlement(**{**_fields(completed(0, 0)), "cost_usd_picos": picos})


def test_parts_of_a_micro_dollar_are_carried_and_corrections_take_them_back(key: APIKey) -> None:
    period = BudgetPeriod(budget=budget(key, 10, unit="usd", period="total"), starts_at=timezone.now())
    found = []

    for picos in (2_900_000, 2_900_000, 200_000, -1, -5_999_998, -2):
        period.spend(picos)
        period.save()
        found.append(BudgetPeriod.objects.values_list("spent", "spent_rest_picos").get())

    assert found == [(2, 900_000), (5, 800_000), (6, 0), (5, 999_999), (0, 1), (0, 0)]


def test_a_part_of_a_micro_dollar_leaves_no_room_for_the_last_one(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 10, unit="usd")
    first = admission(key, reserving(monthly, 7))
    ledger.admit(first)
    statements.settle_rows([statements.closed(first, costing(6_000_001))])

    with pytest.raises(BudgetExceeded) as caught:
        ledger.admit(admission(key, reserving(monthly, 4)))
    ledger.admit(admission(key, reserving(monthly, 3)))

    assert "$0.000003 remaining of the monthly budget of $0.00001" in caught.value.message
    (shown,) = status.for_key(key)
    assert (shown.limit, shown.spent, shown.reserved, shown.remaining) == (10_000_000, 6_000_001, 3_000_000, 999_999)


@pytest.mark.parametrize(("picos", "is_alerted"), [(4_999_999, False), (5_000_000, True)])
def test_an_alert_is_exact(quiet_ledger: None, key: APIKey, picos: int, is_alerted: bool) -> None:
    monthly = budget(key, 10, unit="usd", alert_threshold_percent=50)
    request = admission(key, reserving(monthly, 10))
    ledger.admit(request)

    statements.settle_rows([statements.closed(request, costing(picos))])

    assert Notification.objects.exists() == is_alerted


def test_a_model_without_a_price_is_unpriced_and_never_0(quiet_ledger: None, key: APIKey) -> None:
    request = admission(key)
    ledger.admit(request)
    ledger.settle(request, completed(7, 20))

    assert UsageRecord.objects.get().cost_usd_picos is None
    hour = HourlyUsage.objects.get()
    assert (hour.requests, hour.unpriced_requests, hour.cost_usd_micros, hour.cost_usd_picos_rest) == (1, 1, 0, 0)


def _fields(settlement: Settlement) -> dict[str, Any]:
    return {name: getattr(settlement, name) for name in settlement.__dataclass_fields__}


def test_an_alert_is_queued_once_per_period_when_the_threshold_is_reached(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 100, alert_threshold_percent=50)
    key.owner.email = "owner@example.org"  # type: ignore[union-attr]
    key.owner.save()  # type: ignore[union-attr]

    for tokens in (49, 1, 10):
        request = admission(key, reserving(monthly, tokens))
        ledger.admit(request)
        ledger.settle(request, completed(0, tokens))

    (notification,) = Notification.objects.all()
    assert notification.recipients == ["owner@example.org"]
    assert notification.subject.startswith("Budget alert: 50 % of the monthly budget of key app")
    assert notification.data["spent"] == "50" and notification.data["limit"] == "100"


def test_no_alert_is_queued_for_a_period_that_is_over(quiet_ledger: None, key: APIKey) -> None:
    daily = budget(key, 100, period="day", alert_threshold_percent=50)
    request = admission(key, reserving(daily, 60), created_at=timezone.now() - timedelta(days=1), lease_s=200_000)

    ledger.admit(request)
    ledger.settle(request, completed(0, 60))

    assert BudgetPeriod.objects.get().spent == 60 and not Notification.objects.exists()


def test_hourly_rollups_add_up_to_the_records(quiet_ledger: None, key: APIKey) -> None:
    now = timezone.now()
    for hours in (0, 0, 1, 30):
        request = admission(key, created_at=now - timedelta(hours=hours))
        ledger.admit(request)
        ledger.settle(request, completed(7, 20))
    ledger.reject(admission(key), http_status=403, error_type="permission_error")
    ledger.close()

    assert sum(HourlyUsage.objects.values_list("requests", flat=True)) == UsageRecord.objects.count() == 5
    completed_hours = HourlyUsage.objects.filter(status="completed")
    assert completed_hours.count() == 3 and sum(completed_hours.values_list("output_tokens", flat=True)) == 80


def test_the_status_of_a_key_has_its_own_budgets_and_those_of_its_team(quiet_ledger: None, owner: User) -> None:
    team = Team.objects.create(name="team")
    key = APIKey.objects.issue(name="app", team=team)[0]
    shared, own = budget(team, 1000, period="total"), budget(key, 100, period="day")
    request = admission(key, [*reserving(shared, 60), *reserving(own, 60)])
    ledger.admit(request)

    found = [(each.budget, each.scope, each.spent, each.reserved, each.remaining) for each in status.for_key(key)]

    assert found == [(own, "key", 0, 60, 40), (shared, "team", 0, 60, 940)]
    assert [each.resets_at is None for each in status.for_key(key)] == [False, True]


def test_a_reservation_is_in_the_unit_of_its_budget() -> None:
    both = [
        BudgetRef(id=1, scope="key", period="day", unit="usd"),
        BudgetRef(id=2, scope="team", period="day", unit="tokens"),
    ]

    assert [each.amount for each in reservation_requests(both, micros=60, tokens=30)] == [60, 30]


@pytest.mark.usefixtures("quiet_ledger")
def test_in_any_order_spent_and_reserved_stay_within_the_budget(key: APIKey) -> None:
    monthly = budget(key, 1000)
    random = Random(20261125)
    running: list[Admission] = []
    for _ in range(300):
        if running and random.random() < 0.5:
            request = running.pop(random.randrange(len(running)))
            ledger.settle(request, completed(0, random.randint(0, request.reservation_requests[0].amount // 8)))
        else:
            request = admission(key, reserving(monthly, random.randint(0, 200)))
            with suppress(BudgetExceeded):
                ledger.admit(request)
                running.append(request)
        spent, reserved = spent_and_reserved(monthly)
        assert spent + reserved <= 1000 and reserved == sum(each.reservation_requests[0].amount for each in running)
    for request in running:
        ledger.settle(request, completed(0, 0))

    assert spent_and_reserved(monthly)[1] == 0
    assert {"completed", "rejected"} == set(UsageRecord.objects.values_list("status", flat=True))


# ---- Real sockets, four concurrent gateways.


@pytest.fixture
def four(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User
) -> Iterator[list[Gateway]]:
    """Four processes on one database, with a key whose budget lasts for a hundred requests."""
    servers = [GatewayServer(CONFIG_CACHE_TTL_S="5", DATABASE_TIMEOUT_S="60") for _ in range(4)]
    first = Gateway(servers[0], upstream, owner)
    ModelPrice.objects.create(
        model_pattern="*", input_price=1_234_567, output_price=9_999_999, valid_from=datetime(2026, 1, 1, tzinfo=UTC)
    )
    budget(first.key, 100 * PER_REQUEST)
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
        yield [first, *(first.at(server) for server in servers[1:])]


def test_a_thousand_concurrent_requests_spend_a_budget_for_a_hundred_exactly(
    four: list[Gateway], upstream: ScriptedUpstream, run: int
) -> None:
    upstream.queue(replied(Reply(usage=(INPUT, 12))), times=None)

    statuses = asyncio.run(_send_all(four, 1000))
    wait_until(lambda: not UsageRecord.objects.filter(status="started").exists())

    assert statuses == Counter({"200": 100, "402": 900})
    assert len(upstream.requests) == 100
    assert spent_and_reserved(Budget.objects.get()) == (100 * PER_REQUEST, 0)
    rows = Counter(UsageRecord.objects.values_list("status", flat=True))
    assert rows == Counter({"completed": 100, "rejected": 900})


def test_a_thousand_concurrent_requests_spend_a_budget_of_money_to_the_pico_dollar(
    four: list[Gateway], upstream: ScriptedUpstream, run: int
) -> None:
    cost = INPUT * 1_234_567 + 12 * 9_999_999
    reserved = money.rounded_up(cost)
    # A hundred reservations, each of which is less than a micro-dollar too large: not enough for another request.
    assert 0 < money.picos(reserved) - cost < cost // 100
    Budget.objects.update(unit="usd", amount=100 * reserved)
    upstream.queue(replied(Reply(usage=(INPUT, 12))), times=None)

    statuses = asyncio.run(_send_all(four, 1000))
    wait_until(lambda: not UsageRecord.objects.filter(status="started").exists())

    assert statuses == Counter({"200": 100, "402": 900})
    period = BudgetPeriod.objects.get()
    assert (period.spent, period.spent_rest_picos, period.reserved) == (*money.split(100 * cost), 0)
    assert set(UsageRecord.objects.filter(status="completed").values_list("cost_usd_picos", flat=True)) == {cost}


async def _send_all(gateways: list[Gateway], count: int) -> Counter[str]:
    return Counter(await asyncio.gather(*(_send(gateways[i % len(gateways)]) for i in range(count))))


async def _send(gateway: Gateway) -> str:
    """Return the status of one request on a connection of its own."""
    body = json.dumps(REQUEST).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {gateway.raw_key}\r\n"
    )
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    response = await reader.read()
    writer.close()
    await writer.wait_closed()
    return response.split(b" ", 2)[1].decode()
