"""Budgets: held before a call, spent after it, exact however many calls run at once."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
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
from keys.pricing.rating import Price
from keys.usage import ledger
from keys.usage.rows import Admission, Settlement, Status
from messages_api.backend.protocol.token_estimate import estimate
from messages_api.middleware import new_request_id
from tests.support.gateway import Gateway, GatewayServer
from tests.upstream import Reply, ScriptedUpstream, replied

PATH = "/api/v1/messages"
REQUEST: dict[str, Any] = {"model": "m", "max_tokens": 12, "messages": [{"role": "user", "content": "Hi"}]}
INPUT = estimate(REQUEST)  # type: ignore[arg-type]
A_CALL = INPUT + 12
"""What a call holds, and what the scripted upstream says that it took."""


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


def standing(row: Budget) -> tuple[int, int]:
    period = BudgetPeriod.objects.filter(budget=row).first()
    return (period.spent, period.reserved) if period else (0, 0)


# ---- on the ledger


def test_a_call_holds_what_it_may_cost_and_then_spends_what_it_did(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 100)
    call = admission(key, reserving(monthly, 60))

    ledger.admit(call)
    held = standing(monthly)
    ledger.settle(call, completed(7, 20))

    assert held == (0, 60)
    assert standing(monthly) == (27, 0)


def test_a_call_that_may_cost_more_than_is_left_is_refused_with_a_row_and_holds_nothing(
    quiet_ledger: None, key: APIKey
) -> None:
    monthly = budget(key, 100)
    ledger.admit(admission(key, reserving(monthly, 60)))
    refused = admission(key, reserving(monthly, 41))

    with pytest.raises(BudgetExceeded) as caught:
        ledger.admit(refused)

    assert "40 tokens remaining of the monthly budget of 100 tokens" in caught.value.message
    assert standing(monthly) == (0, 60)
    row = UsageRecord.objects.get(id=refused.id)
    assert (row.status, row.http_status, row.error_type, row.cost_usd_micros) == (
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


def test_all_budgets_are_held_or_none(quiet_ledger: None, owner: User) -> None:
    team = Team.objects.create(name="team")
    key = APIKey.objects.issue(name="app", team=team)[0]
    wide, narrow = budget(team, 1000), budget(key, 10)

    with pytest.raises(BudgetExceeded):
        ledger.admit(admission(key, [*reserving(wide, 50), *reserving(narrow, 50)]))

    assert standing(wide) == standing(narrow) == (0, 0)


def test_a_call_that_outlives_its_period_is_charged_to_the_period_that_admitted_it(
    quiet_ledger: None, key: APIKey
) -> None:
    daily = budget(key, 100, period="day")
    yesterday = timezone.now() - timedelta(days=1)
    call = admission(key, reserving(daily, 60), created_at=yesterday, lease_s=2 * 86_400)

    ledger.admit(call)
    ledger.settle(call, completed(7, 20))
    ledger.admit(admission(key, reserving(daily, 100)))

    spent = BudgetPeriod.objects.filter(budget=daily).order_by("starts_at").values_list("spent", "reserved")
    assert list(spent) == [(27, 0), (0, 100)]


def test_a_raised_budget_and_a_temporary_increase_count_at_once_and_no_longer_than_they_stand(
    quiet_ledger: None, key: APIKey
) -> None:
    monthly = budget(key, 10, temporary_increase=50, temporary_increase_until=timezone.now() + timedelta(hours=1))
    ledger.admit(admission(key, reserving(monthly, 55)))

    Budget.objects.update(temporary_increase_until=timezone.now() - timedelta(seconds=1))
    with pytest.raises(BudgetExceeded):
        ledger.admit(admission(key, reserving(monthly, 1)))
    Budget.objects.update(amount=100)
    ledger.admit(admission(key, reserving(monthly, 1)))

    assert standing(monthly) == (0, 56)


def test_settling_twice_spends_once(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 100)
    call = admission(key, reserving(monthly, 60))
    ledger.admit(call)

    ledger.settle(call, completed(7, 20))
    ledger.settle(call, completed(50, 50))

    assert standing(monthly) == (27, 0)


def test_what_a_dead_worker_held_is_given_back(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 100)
    ledger.admit(admission(key, reserving(monthly, 60)))
    UsageRecord.objects.update(boot_id="a-dead-one", lease_expires_at=timezone.now() - timedelta(seconds=1))

    ledger._maintain()

    assert UsageRecord.objects.get().status == "interrupted"
    assert standing(monthly) == (5, 0)


def test_what_a_dead_worker_asked_for_is_rated_by_what_it_was_to_ask(quiet_ledger: None, key: APIKey) -> None:
    price = ModelPrice.objects.create(
        model_pattern="m-there", upstream="u", input_price=3_000_000, output_price=15_000_000
    )
    monthly = budget(key, 1_000_000, unit="usd")
    ledger.admit(admission(key, reserving(monthly, 900_000), upstream="u", upstream_model="m-there"))
    UsageRecord.objects.update(boot_id="a-dead-one", lease_expires_at=timezone.now() - timedelta(seconds=1))

    ledger._maintain()

    row = UsageRecord.objects.get()
    assert (row.status, row.cost_usd_micros, row.price, row.upstream) == ("interrupted", 15, price, "u")
    assert standing(monthly) == (15, 0)
    assert HourlyUsage.objects.get().unpriced_requests == 0


def test_a_settlement_from_the_spool_spends_too(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 100)
    call = admission(key, reserving(monthly, 60))
    ledger.admit(call)

    ledger._Settle(ledger._closed(call, completed(7, 20))).abandon(RuntimeError("unavailable"), is_in_doubt=False)
    ledger._maintain()

    assert standing(monthly) == (27, 0)


def test_a_removed_budget_holds_nobody_up(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 100)
    running, next_one = admission(key, reserving(monthly, 60)), admission(key, reserving(monthly, 60))
    ledger.admit(running)
    Budget.objects.all().delete()

    ledger.settle(running, completed(7, 20))
    ledger.admit(next_one)

    assert dict(UsageRecord.objects.values_list("id", "status")) == {running.id: "completed", next_one.id: "started"}


def test_money_is_rated_with_the_price_of_what_served_the_call_and_the_row_keeps_it(
    quiet_ledger: None, key: APIKey
) -> None:
    price = ModelPrice.objects.create(model_pattern="m-there", input_price=3_000_000, output_price=15_000_000)
    monthly = budget(key, 1_000_000, unit="usd")
    call = admission(key, reserving(monthly, 900_000))
    prices.book()

    ledger.admit(call)
    ledger.settle(call, Settlement(**{**_fields(completed(1000, 100)), "upstream": "u", "upstream_model": "m-there"}))

    row = UsageRecord.objects.get()
    assert (row.cost_usd_micros, row.price) == (4_500, price)
    assert standing(monthly) == (4_500, 0)


def test_a_model_without_a_price_is_unpriced_and_never_0(quiet_ledger: None, key: APIKey) -> None:
    call = admission(key)
    ledger.admit(call)
    ledger.settle(call, completed(7, 20))

    assert UsageRecord.objects.get().cost_usd_micros is None
    hour = HourlyUsage.objects.get()
    assert (hour.requests, hour.unpriced_requests, hour.cost_usd_micros) == (1, 1, 0)


def _fields(settlement: Settlement) -> dict[str, Any]:
    return {name: getattr(settlement, name) for name in settlement.__dataclass_fields__}


def test_a_warning_is_written_once_a_period_when_the_threshold_is_reached(quiet_ledger: None, key: APIKey) -> None:
    monthly = budget(key, 100, alert_threshold_percent=50)
    key.owner.email = "owner@example.org"  # type: ignore[union-attr]
    key.owner.save()  # type: ignore[union-attr]

    for tokens in (49, 1, 10):
        call = admission(key, reserving(monthly, tokens))
        ledger.admit(call)
        ledger.settle(call, completed(0, tokens))

    (notice,) = Notification.objects.all()
    assert notice.recipients == ["owner@example.org"]
    assert notice.subject.startswith("Budget alert: 50 % of the monthly budget of key app")
    assert notice.data["spent"] == 50 and notice.data["limit"] == 100


def test_nobody_is_warned_of_a_period_that_is_over(quiet_ledger: None, key: APIKey) -> None:
    daily = budget(key, 100, period="day", alert_threshold_percent=50)
    call = admission(key, reserving(daily, 60), created_at=timezone.now() - timedelta(days=1), lease_s=200_000)

    ledger.admit(call)
    ledger.settle(call, completed(0, 60))

    assert BudgetPeriod.objects.get().spent == 60 and not Notification.objects.exists()


def test_hours_add_up_to_the_rows(quiet_ledger: None, key: APIKey) -> None:
    now = timezone.now()
    for hours in (0, 0, 1, 30):
        call = admission(key, created_at=now - timedelta(hours=hours))
        ledger.admit(call)
        ledger.settle(call, completed(7, 20))
    ledger.reject(admission(key), http_status=403, error_type="permission_error")
    ledger.close()

    assert sum(HourlyUsage.objects.values_list("requests", flat=True)) == UsageRecord.objects.count() == 5
    completed_hours = HourlyUsage.objects.filter(status="completed")
    assert completed_hours.count() == 3 and sum(completed_hours.values_list("output_tokens", flat=True)) == 80


def test_a_key_stands_with_its_own_budgets_and_its_teams(quiet_ledger: None, owner: User) -> None:
    team = Team.objects.create(name="team")
    key = APIKey.objects.issue(name="app", team=team)[0]
    shared, own = budget(team, 1000, period="total"), budget(key, 100, period="day")
    call = admission(key, [*reserving(shared, 60), *reserving(own, 60)])
    ledger.admit(call)

    found = [(each.budget, each.scope, each.spent, each.reserved, each.remaining) for each in status.for_key(key)]

    assert found == [(own, "key", 0, 60, 40), (shared, "team", 0, 60, 940)]
    assert [each.resets_at is None for each in status.for_key(key)] == [False, True]


def test_claims_are_what_the_dearest_target_may_cost() -> None:
    cheap, dear = (
        Price(input=1_000_000, output=1_000_000),
        Price(input=2_000_000, output=8_000_000, max_output_tokens=5),
    )
    both = [
        BudgetRef(id=1, scope="key", period="day", unit="usd"),
        BudgetRef(id=2, scope="team", period="day", unit="tokens"),
    ]

    found = reservation_requests(both, input_tokens=10, max_tokens=20, prices=[cheap, dear], may_write_cache=False)

    assert [each.amount for each in found] == [60, 30]


@pytest.mark.usefixtures("quiet_ledger")
def test_whatever_the_order_never_more_is_spent_and_held_than_there_is_and_nothing_is_held_at_rest(key: APIKey) -> None:
    monthly = budget(key, 1000)
    random = Random(20261125)
    running: list[Admission] = []
    for _ in range(300):
        if running and random.random() < 0.5:
            call = running.pop(random.randrange(len(running)))
            ledger.settle(call, completed(0, random.randint(0, call.reservation_requests[0].amount // 8)))
        else:
            call = admission(key, reserving(monthly, random.randint(0, 200)))
            with suppress(BudgetExceeded):
                ledger.admit(call)
                running.append(call)
        spent, reserved = standing(monthly)
        assert spent + reserved <= 1000 and reserved == sum(each.reservation_requests[0].amount for each in running)
    for call in running:
        ledger.settle(call, completed(0, 0))

    assert standing(monthly)[1] == 0
    assert {"completed", "rejected"} == set(UsageRecord.objects.values_list("status", flat=True))


# ---- over real sockets, four gateways at once


@pytest.fixture
def four(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User
) -> Iterator[list[Gateway]]:
    """Four processes on one database, with a key whose budget is good for a hundred calls."""
    servers = [GatewayServer(CONFIG_CACHE_TTL_S="5", DATABASE_TIMEOUT_S="10") for _ in range(4)]
    first = Gateway(servers[0], upstream, owner)
    budget(first.key, 100 * A_CALL)
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
        yield [first, *(first.at(server) for server in servers[1:])]


def test_a_thousand_calls_at_once_spend_a_budget_for_a_hundred_exactly(
    four: list[Gateway], upstream: ScriptedUpstream, run: int
) -> None:
    upstream.queue(replied(Reply(usage=(INPUT, 12))), times=None)

    statuses = asyncio.run(_all_at_once(four, 1000))

    assert statuses == Counter({"200": 100, "402": 900})
    assert len(upstream.requests) == 100
    assert standing(Budget.objects.get()) == (100 * A_CALL, 0)
    rows = Counter(UsageRecord.objects.values_list("status", flat=True))
    assert rows == Counter({"completed": 100, "rejected": 900})


async def _all_at_once(gateways: list[Gateway], count: int) -> Counter[str]:
    return Counter(await asyncio.gather(*(_call(gateways[i % len(gateways)]) for i in range(count))))


async def _call(gateway: Gateway) -> str:
    """The status of one call on a connection of its own."""
    body = json.dumps(REQUEST).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {gateway.raw_key}\r\n"
    )
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.split(b" ", 2)[1].decode()
