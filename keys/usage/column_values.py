"""
Values of usage records that fit their columns, whatever an upstream or a damaged spool contains.

A value of the wrong type becomes the empty value of its column, and the log says so: the rest of the record is worth
more than the value. Only a record without a valid ID, key, status or time cannot be written: UnfitRecord.
"""

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import Any

from django.db import models

from keys.domain import factors
from keys.models import UsageRecord
from keys.models.usage import BILLED_TOKEN_COLUMNS
from lib.bounded_json import bounded

logger = logging.getLogger(__name__)

MAX_TOKENS = 10**9  # hundreds of times the largest context window; sums of nine thousand million stay within 64 bits
MAX_ITEMS = 100
MAX_TEXT = 200
INTEGER_RANGES: dict[type, int] = {models.PositiveSmallIntegerField: 2**15 - 1, models.PositiveIntegerField: 2**31 - 1}
BIGINT_MAX = 2**63 - 1
COSTS = (
    "cost_usd_picos",
    "input_cost_usd_picos",
    "output_cost_usd_picos",
    "cache_read_cost_usd_picos",
    "cache_write_cost_usd_picos",
    "item_cost_usd_picos",
    "vendor_cost_usd_picos",
)
"""Amounts of a request, of nine million dollars at most."""
YEARS = range(1971, 9000)  # periods and hours around the moment exist too, in every time zone
ESSENTIAL = ("id", "api_key_id", "status", "created_at", "settled_at", "lease_expires_at", "reservations")
"""Columns whose value cannot be replaced."""
SURROGATES = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class UnfitRecord(ValueError):
    """The record has no valid ID, key, status or time, so it cannot be written."""


class _UnfitValue(ValueError):
    """The value has a type or size that its column cannot hold."""


Fit = Callable[[Any], Any]


def fitted(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row with values that fit. Raise UnfitRecord if an essential one does not."""
    found = {}
    for name, value in row.items():
        # Almost every value, inline for speed: a request has eighty of them.
        kind = type(value)
        if (
            (name in NULLABLE)
            if value is None
            else (kind is str and len(value) <= LENGTHS[name] and value.isascii() and "\0" not in value)
            or (kind is int and 0 <= value <= LIMITS[name])
        ):
            found[name] = value
            continue
        try:
            found[name] = FITS[name](value)
        except _UnfitValue:
            if name in ESSENTIAL:
                raise UnfitRecord(f"{name} is {type(value).__name__}") from None
            logger.warning("Ledger: %s: %s is a %s and was dropped", row.get("id", "-"), name, type(value).__name__)
            found[name] = EMPTY[name]
    return found


def text(value: Any, *, length: int = MAX_TEXT) -> str:
    """Return a text that every database stores: without NUL and lone surrogates, cut to a length."""
    if not isinstance(value, str):
        raise _UnfitValue
    cut = value[:length]
    if "\0" in cut:
        cut = cut.replace("\0", REPLACEMENT)
    return cut if cut.isascii() else SURROGATES.sub(REPLACEMENT, cut)


def count(value: Any, *, most: int = MAX_TOKENS) -> int | None:
    """Return a number from 0 to `most`, or None for None."""
    if value is None or (type(value) is int and 0 <= value <= most):
        return value
    if isinstance(value, float) and value.is_integer():
        return count(int(value), most=most)
    raise _UnfitValue


def _amount(value: Any, *, most: int, least: int = 0) -> int | None:
    """Return pico-dollars, or None for None. A float is no amount: it may have lost digits."""
    if value is None or (type(value) is int and least <= value <= most):
        return value
    raise _UnfitValue


def total_tokens(values: Iterable[Any]) -> int:
    """Return the sum of token counts. An unknown one counts 0."""
    return sum(map(tokens, values))


def tokens(value: Any) -> int:
    """Return a number of tokens, 0 for an unknown one."""
    try:
        return count(value) or 0
    except _UnfitValue:
        return 0


def _choice(value: Any, *, among: frozenset[str]) -> str:
    if isinstance(value, str) and value in among:
        return str(value)
    raise _UnfitValue


def _required(value: Any, *, fit: Fit) -> Any:
    fit_value = fit(value)
    if fit_value is None or fit_value == "":
        raise _UnfitValue
    return fit_value


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _UnfitValue


def _moment(value: Any) -> datetime | None:
    if value is None or (isinstance(value, datetime) and value.tzinfo is not None and value.year in YEARS):
        return value
    raise _UnfitValue


def _ip(value: Any) -> str:
    return _ip_of(text(value))


@lru_cache(1024)
def _ip_of(value: str) -> str:
    """Return an IP address without its zone, which PostgreSQL does not store."""
    try:
        return str(ip_address(value.partition("%")[0]))
    except ValueError:
        raise _UnfitValue from None


def _scalar(value: Any) -> Any:
    """Return a value of JSON without structure; None for anything else."""
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT and value.isascii() and "\0" not in value else text(value)
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) <= BIGINT_MAX):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None


def _factor(value: Any) -> Decimal | None:
    """Return an exact factor on prices. The spool holds it as text."""
    if value is None:
        return None
    try:
        return factors.to_decimal(factors.from_decimal(value))
    except (ValueError, TypeError):
        raise _UnfitValue from None


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _UnfitValue
    items = value.items() if len(value) <= MAX_ITEMS else list(value.items())[:MAX_ITEMS]
    return {_scalar(name): _scalar(item) for name, item in items if isinstance(name, str)}


def _mapping_or_none(value: Any) -> dict[str, Any] | None:
    return None if value is None else _mapping(value)


def _mappings(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise _UnfitValue
    return [_mapping(item) for item in value[:MAX_ITEMS] if isinstance(item, dict)]


def _object_or_none(value: Any) -> dict[str, Any] | None:
    """Return an upstream's object without content: numbers, Booleans and short texts."""
    if value is not None and not isinstance(value, dict):
        raise _UnfitValue
    return bounded(value) or None


def _iterations(value: Any) -> list[dict[str, Any]] | None:
    """Return the samplings of a response, each with all of its counts."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise _UnfitValue
    return [_iteration(entry) for entry in value[:MAX_ITEMS]] or None


def _iteration(entry: dict[str, Any]) -> dict[str, Any]:
    names = {"type": text(entry.get("type"), length=40), "model": text(entry.get("model"), length=256)}
    counts = {name: count(entry.get(name)) or 0 for name in BILLED_TOKEN_COLUMNS}
    if "refusal_category" not in entry:
        return names | counts
    refusal = {
        "refusal_category": text(entry["refusal_category"], length=40),
        "refused_before_output": _flag(entry.get("refused_before_output")),
    }
    return names | counts | refusal


def _other_prices(value: Any) -> dict[str, int] | None:
    """Return IDs of prices by model. The names have the length of a model, so that each part finds its price."""
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > MAX_ITEMS:
        raise _UnfitValue
    return {text(model, length=256): _required(id, fit=partial(count, most=BIGINT_MAX)) for model, id in value.items()}


def _reservations(value: Any) -> list[list[int]]:
    """Return pairs of a period's ID and an amount."""
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise _UnfitValue
    return [[_required(number, fit=partial(count, most=BIGINT_MAX)) for number in pair] for pair in value]


def _bound_of(fit: Fit, function: Callable[..., Any], name: str) -> int:
    return fit.keywords[name] if isinstance(fit, partial) and fit.func is function else -1


def _fit_of(column: "models.Field[Any, Any]") -> Fit:
    name = column.attname
    if name in BY_NAME:
        return BY_NAME[name]
    if isinstance(column, models.CharField):
        return partial(text, length=column.max_length or MAX_TEXT)
    if isinstance(column, models.DateTimeField):
        return _moment
    if isinstance(column, models.BooleanField):
        return _flag
    if isinstance(column, models.ForeignKey):
        return partial(count, most=BIGINT_MAX)
    return partial(count, most=INTEGER_RANGES.get(type(column), MAX_TOKENS))


BY_NAME: dict[str, Fit] = {
    "id": partial(_required, fit=partial(text, length=UsageRecord._meta.pk.max_length or 0)),
    "api_key_id": partial(_required, fit=partial(count, most=BIGINT_MAX)),
    "created_at": partial(_required, fit=_moment),
    "lease_expires_at": partial(_required, fit=_moment),
    "status": partial(_choice, among=frozenset(UsageRecord.Status.values)),
    "usage_source": partial(_choice, among=frozenset(["", *UsageRecord.UsageSource.values])),
    "client_ip": _ip,
    "attempts": _mappings,
    "reservations": _reservations,
    "limit_exceeded": _mapping_or_none,
    "interruption": _mapping_or_none,
    "tags": _mapping_or_none,
    "iterations": _iterations,
    "usage_object": _object_or_none,
    **{name: partial(_amount, most=BIGINT_MAX) for name in COSTS},
    "cache_savings_usd_picos": partial(_amount, most=BIGINT_MAX, least=-BIGINT_MAX),
    "other_prices": _other_prices,
    "price_factor": _factor,
}
_COLUMNS = {column.attname: column for column in UsageRecord._meta.concrete_fields}
FITS: dict[str, Fit] = {name: _fit_of(column) for name, column in _COLUMNS.items()}
"""The function that fits a value to a column, by column. Raises _UnfitValue."""
LENGTHS = {name: _bound_of(fit, text, "length") for name, fit in FITS.items()}
"""The maximum length of plain texts; -1 for other columns."""
LIMITS = {name: max(_bound_of(fit, count, "most"), _bound_of(fit, _amount, "most")) for name, fit in FITS.items()}
"""The maximum of numbers; -1 for other columns."""
NULLABLE = {name for name, column in _COLUMNS.items() if column.null}
EMPTY: dict[str, Any] = {
    **{name: None if column.null else "" for name, column in _COLUMNS.items()},
    **{name: bool(column.get_default()) for name, column in _COLUMNS.items() if type(column) is models.BooleanField},
    "attempts": [],
}
