"""What a budget allows, and what a period of it has spent: arithmetic of the models and of locked rows. Pure."""

from datetime import datetime
from typing import Any

from keys.domain import amounts
from lib import money
from lib.periods import FOREVER


class BudgetAmount:
    """A budget's amount, with its temporary increase."""

    __slots__ = ()
    amount: Any
    temporary_increase: Any
    temporary_increase_until: Any

    def limit_at(self, moment: datetime) -> int:
        """Return the amount at a moment, with the temporary increase that is in effect then."""
        is_increased = self.temporary_increase_until is not None and moment < self.temporary_increase_until
        return int(self.amount + self.temporary_increase if is_increased else self.amount)


class PeriodAmounts:
    """The amounts of a budget's period."""

    __slots__ = ()
    budget: Any
    starts_at: Any
    ends_at: Any
    spent: Any
    spent_rest_picos: Any
    reserved: Any

    @property
    def spent_exactly(self) -> int:
        """What is spent, in pico-dollars or tokens."""
        return amounts.exact(self.spent, self.budget.unit) + int(self.spent_rest_picos)

    @property
    def used(self) -> int:
        """What is spent or reserved. A part of a micro-dollar counts as a whole one: reservations are whole."""
        return int(self.spent + (self.spent_rest_picos > 0) + self.reserved)

    def spend(self, amount: int) -> None:
        """Add pico-dollars or tokens to what is spent. Less than 0 corrects what was spent before."""
        spent = max(0, self.spent_exactly + amount)
        self.spent, self.spent_rest_picos = money.split(spent) if self.budget.unit == "usd" else (spent, 0)

    @property
    def resets_at(self) -> datetime | None:
        """When it ends; None: never."""
        return None if self.ends_at == FOREVER else self.ends_at

    def contains(self, moment: datetime) -> bool:
        return bool(self.starts_at <= moment < self.ends_at)
