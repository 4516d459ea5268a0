"""Exports of OpenRouter and DeepSeek, and CSV files whose columns the user names."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from keys.bills.csv_rows import Row
from keys.bills.lines import (
    BillError,
    Kind,
    Line,
    check_currency,
    count_of,
    day_of,
    geo_of,
    picos_of,
    text_of,
    tier_of,
    unit_of,
)

DEEPSEEK_OFFSET = timedelta(hours=8)
"""Hours of DeepSeek's files without an offset are Beijing's."""
DEEPSEEK_TYPES = {
    "input_cache_hit_tokens": Kind.CACHE_READ,
    "input_cache_miss_tokens": Kind.INPUT,
    "output_tokens": Kind.OUTPUT,
    "request_count": Kind.REQUEST,
}
MAPPED_COUNTS = {
    "input_tokens": Kind.INPUT,
    "output_tokens": Kind.OUTPUT,
    "cache_read_tokens": Kind.CACHE_READ,
    "cache_write_5m_tokens": Kind.CACHE_WRITE_5M,
    "cache_write_1h_tokens": Kind.CACHE_WRITE_1H,
    "web_searches": Kind.WEB_SEARCH,
    "requests": Kind.REQUEST,
}
MAPPED_TEXTS: dict[str, Callable[..., str]] = {
    "model": text_of,
    "service_tier": tier_of,
    "speed": text_of,
    "inference_geo": geo_of,
    "provider_key": text_of,
    "workspace": text_of,
    "message_id": text_of,
}
MAPPED_FIELDS = ("day", "amount", "currency", *MAPPED_COUNTS, *MAPPED_TEXTS)
"""Fields to which the columns of any CSV can be mapped."""


def generation_lines(row: Row) -> Iterator[Line]:
    """Yield the line of a request. With a key of another provider, the cost is OpenRouter's fee alone."""
    yield Line(
        position=row.position,
        day=row.read("created_at", day_of),
        kind=Kind.ALL_TOKENS,
        model=row.read("model_permaslug", text_of, max_length=256),
        message_id=row.read("generation_id", text_of),
        provider_key=text_of(row.get("api_key_name")),
        description=text_of(row.get("provider_name"), max_length=200),
        is_byok=bool(row.get("byok_usage_inference") and row.read("byok_usage_inference", picos_of)),
        amount_usd_picos=row.read("cost_total", picos_of),
    )


def daily_lines(row: Row) -> Iterator[Line]:
    """Yield the lines of a day and model: its cost, and its number of requests."""
    common: dict[str, Any] = {
        "position": row.position,
        "day": row.read("Date", day_of),
        "model": row.read("Slug", text_of, max_length=256),
        "is_byok": bool(row.get("BYOK Usage") and row.read("BYOK Usage", picos_of)),
    }
    yield Line(kind=Kind.ALL_TOKENS, amount_usd_picos=row.read("Usage", picos_of), **common)
    if row.get("Requests") and (requests := row.read("Requests", count_of)):
        yield Line(kind=Kind.REQUEST, quantity=requests, **common)


def deepseek_amount_lines(row: Row) -> Iterator[Line]:
    """Yield the tokens of a row. Its hour decides the UTC day; its price is not summed: the cost file has the cost."""
    kind = DEEPSEEK_TYPES.get(row.read("type", text_of))
    if kind is None:
        raise BillError(f"{row.position}: type: “{text_of(row.get('type'))[:40]}” is unknown")
    if quantity := row.read("amount", count_of):
        yield Line(
            position=row.position,
            day=row.read("start_time_iso", day_of, offset=DEEPSEEK_OFFSET),
            kind=kind,
            model=row.read("model", text_of, max_length=256),
            provider_key=text_of(row.get("api_key_name") or row.get("api_key")),
            quantity=quantity,
        )


def deepseek_cost_lines(row: Row) -> Iterator[Line]:
    row.read("currency", check_currency)
    yield Line(
        position=row.position,
        day=row.read("start_time_iso", day_of, offset=DEEPSEEK_OFFSET),
        kind=Kind.ALL_TOKENS,
        model=row.read("model", text_of, max_length=256),
        description=text_of(row.get("wallet_type"), max_length=200),
        amount_usd_picos=row.read("cost", picos_of),
    )


# ---- Any CSV.


def parse_mapping(text: str) -> dict[str, str]:
    """Parse `day=Date, amount=Cost` to columns by field. Raise BillError."""
    mapping: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.replace("\n", ",").split(","))):
        field, equals, column = (part.strip() for part in pair.partition("="))
        if not equals or not column or field not in MAPPED_FIELDS:
            raise BillError(f"Columns: “{pair[:60]}” is not field=column. Fields: {', '.join(MAPPED_FIELDS)}.")
        mapping[field] = column
    if mapping and ("day" not in mapping or not {"amount", *MAPPED_COUNTS} & mapping.keys()):
        raise BillError("Columns: name those of day and of an amount or a number of tokens.")
    return mapping


def mapped_lines(row: Row, mapping: Mapping[str, str]) -> Iterator[Line]:
    """Yield the lines of a row of any CSV, by the columns that the user named."""
    if "currency" in mapping:
        row.read(mapping["currency"], check_currency)
    common = {field: row.read(mapping[field], parse) for field, parse in MAPPED_TEXTS.items() if field in mapping}
    common |= {"position": row.position, "day": row.read(mapping["day"], day_of)}
    counts = {
        kind: row.read(mapping[field], count_of)
        for field, kind in MAPPED_COUNTS.items()
        if field in mapping and row.read(mapping[field], str.strip)
    }
    for kind, quantity in counts.items():
        if quantity:
            yield Line(kind=kind, quantity=quantity, **common)
    if "amount" in mapping:
        column = mapping["amount"]
        amount, unit = row.read(column, picos_of), row.read(column, unit_of)
        yield Line(kind=Kind.ALL_TOKENS, amount_usd_picos=amount, unit_usd_picos=unit, **common)
