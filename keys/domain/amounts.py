"""Budget amounts: parse, convert and format micro-dollars and tokens. Pure."""

import re
from typing import NamedTuple

from lib import money

PERIODS = ("day", "week", "month", "total")
"""From the shortest to the longest."""
PERIOD_LABELS = {"day": "per day", "week": "per week", "month": "per month", "total": "in total"}
"""After an amount: `$20.00 per month`."""
PERIOD_ADJECTIVES = {"day": "daily", "week": "weekly", "month": "monthly", "total": "total"}
MAX_AMOUNT = money.LARGEST
"""Micro-dollars (a thousand million dollars) or tokens."""

_TOKENS = re.compile(r"\d{1,3}(?:,\d{3})+|\d+", re.ASCII)
_BUDGET = re.compile(r"([^/]*?) ?(tokens)?/([a-z]+)")


class BudgetSpec(NamedTuple):
    """The amount, unit and period of a budget."""

    unit: str
    """`usd` or `tokens`."""
    period: str
    amount: int
    """Micro-dollars or tokens."""


def parse(text: str, *, unit: str) -> int:
    """Parse an amount in dollars to micro-dollars, or a number of tokens. Raise ValueError with a message for users."""
    return money.parse(text) if unit == "usd" else _tokens(text.strip())


def _tokens(text: str) -> int:
    if not _TOKENS.fullmatch(text):
        raise ValueError("Enter a whole number of tokens, such as 1,000,000.")
    digits = text.replace(",", "")
    if len(digits) > 16 or int(digits) > MAX_AMOUNT:
        raise ValueError(f"Enter at most {MAX_AMOUNT:,} tokens.")
    return int(digits)


def exact(amount: int, unit: str) -> int:
    """Convert micro-dollars to pico-dollars, the unit of what is spent. Tokens stay tokens."""
    return money.picos(amount) if unit == "usd" else amount


def format_amount(amount: int, unit: str) -> str:
    """Format micro-dollars as dollars with all significant digits, or tokens with their unit."""
    return format_exact(exact(amount, unit), unit)


def format_exact(amount: int, unit: str) -> str:
    """Format pico-dollars as dollars with all significant digits, or tokens with their unit."""
    return f"{amount:,} tokens" if unit == "tokens" else money.exact(amount)


def to_decimal(amount: int, unit: str) -> str:
    """Format pico-dollars as a decimal string of dollars, or tokens as a number, for APIs."""
    return str(amount) if unit == "tokens" else money.decimal(amount)


def to_input(amount: int, *, unit: str) -> str:
    """Format an amount for an input field, so that `parse` reads it back: dollars with at least two decimals."""
    return money.plain(amount) if unit == "usd" else str(amount)


def parse_budget(text: str) -> BudgetSpec:
    """Parse `20/month`, `0.50/day` or `1000000tokens/week`. Raise ValueError with a message for users."""
    match = _BUDGET.fullmatch(text.strip())
    if match is None or match[3] not in PERIODS:
        raise ValueError("Enter a budget as 20/month or 1000000tokens/day; the period is day, week, month or total.")
    unit = "tokens" if match[2] else "usd"
    return BudgetSpec(unit=unit, period=match[3], amount=parse(match[1], unit=unit))
