"""Requests that are charged to budgets of every period and unit, and what their records spent."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from keys.budgets.reservations import BudgetRef, ReservationRequest
from keys.models import APIKey, Budget, BudgetPeriod, ModelPrice, Team, UsageRecord
from keys.models.usage import BILLED_TOKEN_COLUMNS
from keys.pricing.price_book import prices
from keys.usage import ledger, rollup_check
from keys.usage.rollup_check import Mismatch
from keys.usage.rows import Admission, Settlement
from tests.support.usage_rows import SETTLEMENT, admission_of

ALL_TIME = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


class Installation:
    """A key of a team, each with a budget of every period and unit."""

    def __init__(self) -> None:
        team = Team.objects.create(name="team")
        self.key = APIKey.objects.issue(name="app", team=team)[0]
        scopes: list[dict[str, Any]] = [{"api_key": self.key}, {"team": team}]
        self.budgets = [
            Budget.objects.create(period=period, unit=unit, amount=10**9, **scope)
            for scope in scopes
            for period in Budget.Period.values
            for unit in Budget.Unit.values
        ]
        ModelPrice.objects.create(
            model_pattern="*",
            input_price=3_333_333,
            output_price=7_777_777,
            valid_from=datetime(2020, 1, 1, tzinfo=UTC),
        )
        prices.book()

    def admit(self, at: datetime, *, budgets: list[Budget] | None = None) -> Admission:
        requests = [
            ReservationRequest(
                budget=BudgetRef(id=each.pk, scope="key", period=each.period, unit=each.unit), amount=1_000 + each.pk
            )
            for each in (self.budgets if budgets is None else budgets)
        ]
        admission = admission_of(
            self.key, created_at=at, reservation_requests=requests, upstream="local", upstream_model="m"
        )
        ledger.admit(admission)
        return admission

    def settle(self, admission: Admission, **fields: Any) -> None:
        ledger.settle(admission, Settlement(**(SETTLEMENT | {"upstream_model": "m"} | fields)))

    def settle_random_requests(self, now: datetime, random: Random, count: int) -> list[Admission]:
        """Settle most requests of the last forty days, half of them of the last three. Return those in flight."""
        in_flight = []
        for _ in range(count):
            seconds = random.choice([3, 40]) * 86_400 * random.random()
            charged = random.sample(self.budgets, random.choice([0, 3, len(self.budgets)]))
            admission = self.admit(now - timedelta(seconds=seconds), budgets=charged)
            if random.random() < 0.2:
                in_flight.append(admission)
            else:
                self.settle(admission, input_tokens=random.randint(0, 10_000), output_tokens=random.randint(0, 99))
        return in_flight


def recorded(row: BudgetPeriod) -> tuple[int, int]:
    """What the records of a period spent, in pico-dollars or tokens, and have reserved of its budget."""
    spent = reserved = 0
    for record in UsageRecord.objects.filter(created_at__gte=row.starts_at, created_at__lt=row.ends_at):
        amounts = dict(record.reservations)
        if row.budget_id not in amounts:
            continue
        if record.status == "started":
            reserved += amounts[row.budget_id]
        elif row.budget.unit == "usd":
            spent += record.cost_usd_picos or 0
        else:
            spent += sum(getattr(record, name) or 0 for name in BILLED_TOKEN_COLUMNS)
    return spent, reserved


def mismatches() -> list[Mismatch]:
    """Return where rollups differ from the records."""
    intervals = rollup_check.iter_intervals(*ALL_TIME)
    return [each for interval in intervals for each in rollup_check.mismatches(interval)]


def check_spending() -> None:
    """Compare every period of every budget with the records."""
    rows = list(BudgetPeriod.objects.select_related("budget"))
    assert [(row.spent_exactly, row.reserved) for row in rows] == [recorded(row) for row in rows]
