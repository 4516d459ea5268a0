"""
Amounts of money in integers, never float: parse, convert and format. Pure.

Budgets and prices are micro-dollars. Costs are pico-dollars: tokens times micro-dollars per million tokens, without a
rest. A format that rounds does so once, half up, and keeps enough digits to show that an amount is not zero.
"""

import re

MICROS = 1_000_000
"""Micro-dollars per dollar."""
PICOS_PER_MICRO = 1_000_000
"""Pico-dollars per micro-dollar."""
LARGEST = 10**15
"""A thousand million dollars, in micro-dollars. Sums of such amounts fit into 64 bits."""

# Thousands separators only in valid positions, so that 1,5 is not read as 15.
_AMOUNT = re.compile(r"\$?\s*(?P<whole>\d{1,3}(,\d{3})+|\d*)(\.(?P<part>\d*))?", re.ASCII)
_DECIMALS = 12  # of pico-dollars


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


# ---- conversions


def picos(micros: int) -> int:
    """Convert micro-dollars to pico-dollars."""
    return micros * PICOS_PER_MICRO


def rounded_up(picos: int) -> int:
    """Convert pico-dollars to micro-dollars, rounded up, as budgets reserve them."""
    return -(-picos // PICOS_PER_MICRO)


def split(picos: int) -> tuple[int, int]:
    """Split pico-dollars into whole micro-dollars and the rest.

    Truncate toward zero, as `/` and `%` of SQLite and PostgreSQL do. Sums of both parts stay within 64 bits, while a
    sum of pico-dollars exceeds them at nine million dollars.
    """
    micros, rest = divmod(abs(picos), PICOS_PER_MICRO)
    return (micros, rest) if picos >= 0 else (-micros, -rest)


def join(micros: int, rest: int) -> int:
    """Reverse `split`, also for sums of both parts."""
    return micros * PICOS_PER_MICRO + rest


# ---- formats


def dollars(micros: int) -> str:
    """Format micro-dollars with all significant digits, at least cents: `$0.000012`, `$12.50`, `$1,234.00`."""
    return exact(picos(micros))


def exact(picos: int) -> str:
    """Format pico-dollars with all significant digits, at least cents: `$0.0000029`, `$12.50`."""
    return f"{_sign(picos)}${_digits(picos, separator=',', least=2)}"


def short(picos: int) -> str:
    """Format pico-dollars rounded to cents, or to two significant digits of smaller amounts: `$12.35`, `$0.0000029`."""
    amount = abs(picos)
    decimals = next((n for n in range(2, _DECIMALS) if amount >= 10 ** (_DECIMALS + 1 - n)), _DECIMALS)
    unit = 10 ** (_DECIMALS - decimals)
    rounded = (amount + unit // 2) // unit * unit
    return exact(-rounded if picos < 0 else rounded)


def plain(micros: int) -> str:
    """Format micro-dollars for input fields and spreadsheets, so that `parse` reads them back: `1234.00`."""
    return f"{_sign(micros)}{_digits(picos(micros), least=2)}"


def decimal(picos: int) -> str:
    """Format pico-dollars for APIs and exports: all digits, six decimals at least: `12.500000`, `0.0000029`."""
    return f"{_sign(picos)}{_digits(picos, least=6)}"


def _sign(amount: int) -> str:
    return "-" if amount < 0 else ""


def _digits(picos: int, *, least: int, separator: str = "") -> str:
    whole, part = divmod(abs(picos), MICROS * PICOS_PER_MICRO)
    return f"{whole:{separator}}.{f'{part:0{_DECIMALS}}'.rstrip('0').ljust(least, '0')}"
