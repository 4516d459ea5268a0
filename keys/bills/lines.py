"""Lines of a bill as parsers yield them, and the values in their cells: exact amounts, counts and days. Pure."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

from keys.models.bills import BillLine

Kind = BillLine.LineKind
PICOS = 12
"""Decimals of a dollar in pico-dollars."""
LARGEST_AMOUNT = 9 * 10**18
LARGEST_COUNT = 10**15
YEARS = range(2020, 2100)
NEUTRAL_TIERS = {"standard", "default", "auto"}
NEUTRAL_GEOS = {"global", "not_available"}
TOKEN_KINDS = (Kind.INPUT, Kind.OUTPUT, Kind.CACHE_READ, Kind.CACHE_WRITE_5M, Kind.CACHE_WRITE_1H)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class BillError(Exception):
    """A file that cannot be imported. The message names the position and the field."""


class CellError(ValueError):
    """A value that cannot be read. The message completes "<position>: <field>: "."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of a bill. Empty text: the bill does not say."""

    position: str
    day: date
    kind: str
    model: str = ""
    service_tier: str = ""
    speed: str = ""
    inference_geo: str = ""
    context_window: str = ""
    provider_key: str = ""
    workspace: str = ""
    message_id: str = ""
    description: str = ""
    is_byok: bool = False
    quantity: int | None = None
    amount_usd_picos: int | None = None
    list_amount_usd_picos: int | None = None
    unit_usd_picos: int = 1


@dataclass(frozen=True, slots=True)
class EmptyDay:
    """A day of the bill without a line: part of its period."""

    day: date


# ---- Amounts and counts.


def decimal_of(value: Any) -> Decimal:
    """Return a number that was read from text. Raise CellError for floats, texts that are no number, and extremes."""
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise CellError(f"{shown(value)} is not a number")
    text = value.strip() if isinstance(value, str) else str(value)
    if "," in text:
        raise CellError(f"{shown(value)} has a comma: write amounts with a point and without separators")
    if len(text) > 100 or not _NUMBER.fullmatch(text):
        raise CellError(f"{shown(value)} is not a number")
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise CellError(f"{shown(value)} is not a number") from error


def picos_of(value: Any, *, exponent: int = 0) -> int:
    """Return an amount of 10^exponent dollars (-2: cents) in pico-dollars. Digits beyond a pico-dollar are rounded."""
    number = decimal_of(value)
    if number and number.adjusted() + exponent > 7:
        raise CellError(f"{shown(value)} is more than an amount can be")
    picos = int(number.scaleb(exponent + PICOS).to_integral_value())
    if abs(picos) > LARGEST_AMOUNT:
        raise CellError(f"{shown(value)} is more than an amount can be")
    return picos


def unit_of(value: Any, *, exponent: int = 0) -> int:
    """Return the pico-dollars of the last digit of an amount that is written with fixed decimals."""
    places = -min(0, int(decimal_of(value).as_tuple().exponent))
    return int(10 ** max(0, PICOS + exponent - places))


def count_of(value: Any) -> int:
    """Return a whole number, also if it is written as `10.0`."""
    number = decimal_of(value)
    if number != number.to_integral_value() or not 0 <= number <= LARGEST_COUNT:
        raise CellError(f"{shown(value)} is not a whole number")
    return int(number)


# ---- Days.


def instant_of(value: Any, *, offset: timedelta = timedelta(0)) -> datetime:
    """Return a time from ISO 8601 or seconds since 1970. A time without an offset is read with the given one."""
    try:
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return _in_range(datetime.fromtimestamp(int(value), UTC))
        parsed = datetime.fromisoformat(str(value).strip())
        return _in_range((parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone(offset))).astimezone(UTC))
    except (ValueError, OverflowError, OSError) as error:
        raise CellError(f"{shown(value)} is not a time") from error


def day_of(value: Any, *, offset: timedelta = timedelta(0)) -> date:
    """Return the UTC day of a time, or a day as it is written."""
    if isinstance(value, str) and _DAY.fullmatch(value.strip()):
        try:
            return _in_range(datetime.fromisoformat(value.strip()).replace(tzinfo=UTC)).date()
        except ValueError as error:
            raise CellError(f"{shown(value)} is not a day") from error
    return instant_of(value, offset=offset).date()


def _in_range(moment: datetime) -> datetime:
    if moment.year not in YEARS:
        raise CellError(f"the year {moment.year} is not between {YEARS[0]} and {YEARS[-1]}")
    return moment


# ---- Texts.


def text_of(value: Any, *, max_length: int = 128) -> str:
    """Return a text for a column: printable and short. Empty for null."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CellError(f"{shown(value)} is not a text")
    return printable(value.strip())[:max_length]


def printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def tier_of(value: Any) -> str:
    tier = text_of(value, max_length=32).lower()
    return "standard" if tier in NEUTRAL_TIERS else tier


def geo_of(value: Any) -> str:
    geo = text_of(value, max_length=32).lower()
    return "global" if geo in NEUTRAL_GEOS else geo


def check_currency(value: Any) -> None:
    """Raise CellError for any currency but US dollars: an exchange rate would be a guess."""
    if text_of(value).upper() != "USD":
        raise CellError(f"{shown(value)} is not USD. Bills in other currencies cannot be reconciled")


def shown(value: Any) -> str:
    """Return a value of the file for a message: quoted, printable, short."""
    text = printable(str(value))
    return f"“{text[:40]}…”" if len(text) > 40 else f"“{text}”"
