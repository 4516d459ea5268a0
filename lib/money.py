"""
Amounts in micro-dollars: parse and format, in integers, never float. Pure.

Every format keeps enough digits to show that an amount is not zero: one micro-dollar is $0.000001.
"""

import re
from decimal import Decimal

MICROS = 1_000_000
"""Micro-dollars per dollar."""
LARGEST = 10**15
"""A thousand million dollars. Sums of such amounts fit into 64 bits."""

# Thousands separators only in valid positions, so that 1,5 is not read as 15.
_AMOUNT = re.compile(r"\$?\s*(?P<whole>\d{1,3}(,\d{3})+|\d*)(\.(?P<part>\d*))?", re.ASCII)


def parse(text: str) -> int:
    """Parse `12`, `12.50` or `$1,234.5` to micro-dollars. Raise ValueError with a message for users."""
    match = _AMOUNT.fullmatch(text.strip())
    whole, part = (match["whole"].replace(",", ""), match["part"] or "") if match else ("", "")
    if not whole and not part:
        raise ValueError("Enter an amount in dollars, such as 12.50.")
    if len(part.rstrip("0")) > 6:
        raise ValueError("A millionth of a dollar is the smallest amount: enter at most six decimals.")
    micros = int(whole[:20] or "0") * MICROS + int(part.ljust(6, "0")[:6])
    if micros > LARGEST or len(whole) > 20:
        raise ValueError("Enter an amount of at most 1,000,000,000 dollars.")
    return micros


def dollars(micros: int) -> str:
    """Format with all significant digits, at least cents: `$0.000012`, `$12.50`, `$1,234.00`."""
    return f"{'-' if micros < 0 else ''}${_digits(abs(micros), separator=',')}"


def unrounded(millionths: int) -> str:
    """Format millionths of a micro-dollar, the unit of tokens times price: `$0.00000015`."""
    return f"{'-' if millionths < 0 else ''}${_digits(abs(millionths), separator=',', places=12)}"


def short(micros: int) -> str:
    """Format rounded to cents, or to two significant digits of smaller amounts: `$12.35`, `$0.0012`."""
    amount = abs(micros)
    decimals = next((n for n in range(2, 6) if amount >= 10 ** (7 - n)), 6)
    unit = 10 ** (6 - decimals)
    return dollars((-1 if micros < 0 else 1) * ((amount + unit // 2) // unit * unit))


def plain(micros: int) -> str:
    """Format for input fields and spreadsheets, so that `parse` reads it back: `1234.00`."""
    return f"{'-' if micros < 0 else ''}{_digits(abs(micros), separator='')}"


def six_decimals(micros: int) -> str:
    """Return dollars with all six decimals, as the API returns amounts: `12.500000`."""
    return f"{Decimal(micros).scaleb(-6):.6f}"


def _digits(amount: int, *, separator: str, places: int = 6) -> str:
    whole, _, part = f"{Decimal(amount).scaleb(-places):{separator}.{places}f}".partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"
