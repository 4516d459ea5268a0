"""Amounts of budgets as people write them, and as we count them: exact, never through a float. Pure."""

import re
from typing import NamedTuple

MICROS = 1_000_000
DECIMALS = 6
PERIODS = ("day", "week", "month", "total")

_WHOLE = r"\d{1,3}(?:,\d{3})+|\d*"
_DOLLARS = re.compile(rf"\$? ?({_WHOLE})(?:\.(\d*))?", re.ASCII)
_TOKENS = re.compile(rf"({_WHOLE})", re.ASCII)
_BUDGET = re.compile(r"([^/]*?) ?(tokens)?/([a-z]+)")


class Allowance(NamedTuple):
    """What a budget allows: micro-dollars or tokens, for each period."""

    unit: str
    """`money` or `tokens`."""
    period: str
    amount: int


def parse(text: str, *, unit: str) -> int:
    """Micro-dollars of an amount in dollars, or tokens. Raise ValueError with words for people."""
    return _micros(text.strip()) if unit == "money" else _tokens(text.strip())


def _micros(text: str) -> int:
    match = _DOLLARS.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        raise ValueError("Give dollars such as 20 or 0.50.")
    decimals = match[2] or ""
    if len(decimals) > DECIMALS:
        raise ValueError("Give at most 6 decimals: the gateway counts in millionths of a dollar.")
    return _number(match[1]) * MICROS + int(decimals.ljust(DECIMALS, "0"))


def _tokens(text: str) -> int:
    match = _TOKENS.fullmatch(text)
    if match is None or not match[1]:
        raise ValueError("Give a whole number of tokens such as 1,000,000.")
    return _number(match[1])


def _number(text: str) -> int:
    digits = text.replace(",", "") or "0"
    if len(digits) > 15:
        raise ValueError("This is more than anybody can spend.")
    return int(digits)


def written(amount: int, *, unit: str) -> str:
    """The reverse of `parse`, as it stands in a field: dollars with two decimals at least."""
    if unit != "money":
        return str(amount)
    whole, micros = divmod(amount, MICROS)
    return f"{whole}.{f'{micros:06}'.rstrip('0').ljust(2, '0')}"


def parse_budget(text: str) -> Allowance:
    """`20/month`, `0.50/day` or `1000000tokens/week`. Raise ValueError with words for people."""
    match = _BUDGET.fullmatch(text.strip())
    if match is None or match[3] not in PERIODS:
        raise ValueError("Give a budget as 20/month or 1000000tokens/day; the period is day, week, month or total.")
    unit = "tokens" if match[2] else "money"
    return Allowance(unit=unit, period=match[3], amount=parse(match[1], unit=unit))
