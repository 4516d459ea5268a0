"""Amounts of budgets, in money or in tokens, as people write them and as we count them. Pure."""

import re
from typing import NamedTuple

from lib import money

PERIODS = ("day", "week", "month", "total")
"""From the shortest to the longest."""
PERIOD_LABELS = {"day": "per day", "week": "per week", "month": "per month", "total": "in total"}
"""After an amount: `$20.00 per month`."""
PERIOD_ADJECTIVES = {"day": "daily", "week": "weekly", "month": "monthly", "total": "total"}
LARGEST = money.LARGEST
"""A thousand million dollars, or as many tokens as nobody has."""

_TOKENS = re.compile(r"\d{1,3}(?:,\d{3})+|\d+", re.ASCII)
_BUDGET = re.compile(r"([^/]*?) ?(tokens)?/([a-z]+)")


class BudgetSpec(NamedTuple):
    """What a budget allows: micro-dollars or tokens, for each period."""

    unit: str
    """`money` or `tokens`."""
    period: str
    amount: int


def parse(text: str, *, unit: str) -> int:
    """Micro-dollars of an amount in dollars, or tokens. Raise ValueError with words for people."""
    return money.parse(text) if unit == "usd" else _tokens(text.strip())


def _tokens(text: str) -> int:
    if not _TOKENS.fullmatch(text):
        raise ValueError("Give a whole number of tokens such as 1,000,000.")
    digits = text.replace(",", "")
    if len(digits) > 16 or int(digits) > LARGEST:
        raise ValueError(f"Give at most {LARGEST:,} tokens.")
    return int(digits)


def format_amount(amount: int, unit: str) -> str:
    """Format micro-dollars as dollars with all significant digits, or tokens with their unit."""
    return f"{amount:,} tokens" if unit == "tokens" else money.dollars(amount)


def written(amount: int, *, unit: str) -> str:
    """The reverse of `parse`, as it stands in a field: dollars with two decimals at least."""
    return money.plain(amount) if unit == "usd" else str(amount)


def parse_budget(text: str) -> BudgetSpec:
    """`20/month`, `0.50/day` or `1000000tokens/week`. Raise ValueError with words for people."""
    match = _BUDGET.fullmatch(text.strip())
    if match is None or match[3] not in PERIODS:
        raise ValueError("Give a budget as 20/month or 1000000tokens/day; the period is day, week, month or total.")
    unit = "tokens" if match[2] else "usd"
    return BudgetSpec(unit=unit, period=match[3], amount=parse(match[1], unit=unit))
