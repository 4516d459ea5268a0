"""Batches of the ledger: the first attempt expects periods and open records, and the next ones do not."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from keys.budgets.reservations import BudgetRef, ReservationRequest
from keys.models import APIKey, Budget, BudgetPeriod, HourlyUsage, UsageRecord
from keys.usage import statements
from keys.usage.rows import Admission, Settlement
from keys.usage.statements import Admit, Settle
from tests.support.usage_rows import SETTLEMENT, admission_of

pytestmark = pytest.mark.usefixtures("quiet_ledger", "record_table_form")

AT = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
RESERVED, USED = 400, 21
"""Tokens of a request."""


@pytest.fixture
def key(owner: Any) -> APIKey:
    return APIKey.objects.issue(name="app", owner=owner)[0]


@pytest.fixture
def budget(key: APIKey) -> Budget:
    return Budget.objects.create(api_key=key, period="month", unit="tokens", amount=10_000)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The attempts of all batches, from 0."""
    found: list[int] = []
    write = statements._written_batch

    def counting(batch: Any, connection: Any, *, attempt: int) -> Any:
        found.append(attempt)
        return write(batch, connection, attempt=attempt)

    monkeypatch.setattr(statements, "_written_batch", counting)
    yield found


def request_of(budget: Budget) -> Admission:
    reference = BudgetRef(id=budget.pk, scope="key", period="month", unit="tokens")
    assert budget.api_key is not None
    return admission_of(
        budget.api_key, created_at=AT, reservation_requests=[ReservationRequest(budget=reference, amount=RESERVED)]
    )


def settle(admission: Admission, *, is_expected: bool = True, **changes: Any) -> Settle:
    return Settle(statements.closed(admission, Settlement(**SETTLEMENT | changes)), is_expected=is_expected)


def amounts() -> list[tuple[int, int]]:
    return list(BudgetPeriod.objects.values_list("spent", "reserved"))


def counted() -> int:
    return sum(HourlyUsage.objects.values_list("requests", flat=True))


def test_the_first_request_of_a_budget_creates_its_period_in_a_second_attempt(
    budget: Budget, attempts: list[int]
) -> None:
    first, second = request_of(budget), request_of(budget)

    statements.write([Admit(first)], connection)
    assert attempts == [0, 1]
    assert amounts() == [(0, RESERVED)]
    statements.write([Admit(second)], connection)

    assert attempts == [0, 1, 0]
    assert amounts() == [(0, 2 * RESERVED)]
    assert first.reservations == second.reservations == [[budget.pk, RESERVED]]


def test_an_expected_batch_takes_no_second_attempt(budget: Budget, attempts: list[int]) -> None:
    running, new = request_of(budget), request_of(budget)
    statements.write([Admit(running)], connection)
    attempts.clear()

    statements.write([settle(running), Admit(new)], connection)

    assert attempts == [0]
    assert amounts() == [(USED, RESERVED)]
    assert counted() == 1


def test_a_batch_with_a_settled_record_is_written_again_and_each_request_counts_once(
    budget: Budget, attempts: list[int]
) -> None:
    settled, open_one, new = (request_of(budget) for _ in range(3))
    statements.write([Admit(settled), Admit(open_one)], connection)
    statements.write([settle(settled)], connection)
    attempts.clear()

    statements.write([settle(settled), settle(open_one), Admit(new)], connection)

    assert attempts == [0, 1]
    assert amounts() == [(2 * USED, RESERVED)]
    assert counted() == 2
    assert dict(UsageRecord.objects.values_list("id", "status")) == {
        settled.id: "completed",
        open_one.id: "completed",
        new.id: "started",
    }


def test_a_batch_with_an_unexpected_settlement_begins_with_the_second_form(budget: Budget, attempts: list[int]) -> None:
    request = request_of(budget)
    statements.write([Admit(request)], connection)
    attempts.clear()

    with CaptureQueriesContext(connection) as queries:
        statements.write([settle(request, is_expected=False)], connection)

    assert attempts == [0]
    assert amounts() == [(USED, 0)]
    inserts = [query["sql"] for query in queries if f'INSERT INTO "{UsageRecord._meta.db_table}"' in query["sql"]]
    assert len(inserts) == 1
    assert "RETURNING" in inserts[0]


def test_a_failed_attempt_leaves_nothing(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    running, settled = request_of(budget), request_of(budget)
    statements.write([Admit(running), Admit(settled)], connection)
    statements.write([settle(settled)], connection)
    monkeypatch.setattr(statements, "MAX_MOVES", 1)  # then the last attempt fails as well

    def failing(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("keys.usage.record_writer.write", failing)
    with pytest.raises(RuntimeError):
        statements.write([settle(running), settle(settled)], connection)

    assert UsageRecord.objects.get(pk=running.id).status == "started"
    assert amounts() == [(USED, RESERVED)]
    assert counted() == 1
