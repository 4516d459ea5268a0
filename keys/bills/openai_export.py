"""OpenAI's exports: costs and usage of completions, as JSON and as CSV."""

from collections.abc import Iterator
from typing import Any

from keys.bills.csv_rows import Row
from keys.bills.lines import (
    BillError,
    EmptyDay,
    Kind,
    Line,
    check_currency,
    count_of,
    day_of,
    picos_of,
    text_of,
    tier_of,
)
from keys.bills.results_of_json import Result

EMPTY_ROW_CELLS = 4
"""Cells of the row of a day without usage."""
# The longest name first: "cached input" ends in "input" too. The second word of a pair is that of the API's field.
LINE_ITEMS = (
    ("cached input", Kind.CACHE_READ),
    ("cached_input", Kind.CACHE_READ),
    ("input_cached_tokens", Kind.CACHE_READ),
    ("cache write", Kind.CACHE_WRITE_5M),
    ("cache_write", Kind.CACHE_WRITE_5M),
    ("input_tokens", Kind.INPUT),
    ("output_tokens", Kind.OUTPUT),
    ("input", Kind.INPUT),
    ("output", Kind.OUTPUT),
)
QUANTITY_UNITS = {"tokens": 1, "1000_tokens": 1_000, "1k_tokens": 1_000, "1000000_tokens": 1_000_000}


def costs_lines(result: Result) -> Iterator[Line]:
    amount = result.part("amount")
    amount.read("currency", check_currency)
    if amount.get("value") is None:
        raise BillError(f"{amount.position}.value: is missing")
    model, kind = item_of(result.read("line_item", text_of, max_length=200))
    yield Line(
        position=result.position,
        day=result.day,
        kind=kind,
        model=model,
        description=result.read("line_item", text_of, max_length=200),
        provider_key=result.read("api_key_id", text_of),
        workspace=result.read("project_id", text_of),
        quantity=_quantity(result, kind),
        amount_usd_picos=amount.read("value", picos_of),
    )


def item_of(line_item: str) -> tuple[str, str]:
    """Return model and kind of a line item such as `gpt-6-sol, cached input`."""
    model, comma, item = line_item.partition(", ")
    if not line_item:
        return "", Kind.ALL_TOKENS
    if not comma:
        return "", Kind.WEB_SEARCH if "web search" in line_item.lower() else Kind.OTHER
    item = item.strip().lower()
    return model, next((kind for name, kind in LINE_ITEMS if item == name), Kind.OTHER)


def _quantity(source: Result | Row, kind: str) -> int | None:
    """Return the tokens of a line item, or None where its quantity is of something else or is not whole."""
    factor = QUANTITY_UNITS.get(source.read("quantity_unit", text_of) if source.get("quantity_unit") else "")
    if factor is None or kind == Kind.OTHER or source.get("quantity") in (None, ""):
        return None
    return int(source.read("quantity", count_of)) * factor


def usage_lines(result: Result) -> Iterator[Line]:
    return _usage_lines(result, day=result.day)


def _usage_lines(source: Result | Row, *, day: Any) -> Iterator[Line]:
    """Yield the lines of a group. Input contains what was cached and written: it is split, never added to it."""

    def tokens(name: str) -> int | None:
        return None if source.get(name) in (None, "") else int(source.read(name, count_of))

    total, cached = tokens("input_tokens") or 0, tokens("input_cached_tokens") or 0
    written, uncached = tokens("input_cache_write_tokens"), tokens("input_uncached_tokens")
    if written is None:  # files before cache writes were billed, and the CSV
        written = 0 if uncached is None else total - cached - uncached
    if uncached is None:
        uncached = total - cached - written
    if min(uncached, written) < 0 or uncached + cached + written != total:
        raise BillError(f"{source.position}: input_tokens: {total:,} is not the sum of its uncached and cached parts")
    long_lived = tokens("input_cache_write_12h_tokens") or 0
    counts = {
        Kind.INPUT: uncached,
        Kind.CACHE_READ: cached,
        Kind.CACHE_WRITE_5M: written - long_lived,
        Kind.CACHE_WRITE_1H: long_lived,
        Kind.OUTPUT: tokens("output_tokens") or 0,
        Kind.REQUEST: tokens("num_model_requests") or 0,
    }
    is_batch = str(source.get("batch")).lower() == "true"
    common = {
        "position": source.position,
        "day": day,
        "model": source.read("model", text_of, max_length=256) if source.get("model") else "",
        "service_tier": "batch" if is_batch else tier_of(source.get("service_tier") or ""),
        "provider_key": text_of(source.get("api_key_id") or ""),
        "workspace": text_of(source.get("project_id") or ""),
    }
    for kind, quantity in counts.items():
        if quantity:
            yield Line(kind=kind, quantity=quantity, **common)


def usage_csv_lines(row: Row) -> Iterator[Line | EmptyDay]:
    day = row.read("start_time_iso", day_of)
    yield EmptyDay(day)
    if row.get("input_tokens") or row.get("output_tokens"):
        yield from _usage_lines(row, day=day)


def costs_csv_lines(row: Row) -> Iterator[Line | EmptyDay]:
    """Yield the line of a row. A day without costs has a row of blanks."""
    day = row.read("start_time_iso", day_of)
    yield EmptyDay(day)
    if not row.get("amount_value"):
        return
    row.read("amount_currency", check_currency)
    model, kind = item_of(text_of(row.get("line_item"), max_length=200))
    yield Line(
        position=row.position,
        day=day,
        kind=kind,
        model=model,
        description=text_of(row.get("line_item"), max_length=200),
        provider_key=text_of(row.get("api_key_id")),
        workspace=text_of(row.get("project_id")),
        quantity=_quantity(row, kind),
        amount_usd_picos=row.read("amount_value", picos_of),
    )
