"""Anthropic's exports: usage and cost reports of both generations, and the CSV files of the Console."""

from collections.abc import Iterator
from typing import Any

from keys.bills.csv_rows import Row
from keys.bills.lines import Kind, Line, check_currency, count_of, day_of, geo_of, picos_of, text_of, tier_of, unit_of
from keys.bills.results_of_json import Result

CENTS = -2
TOKEN_TYPES = {
    "uncached_input_tokens": Kind.INPUT,
    "output_tokens": Kind.OUTPUT,
    "cache_read_input_tokens": Kind.CACHE_READ,
    "cache_creation.ephemeral_5m_input_tokens": Kind.CACHE_WRITE_5M,
    "cache_creation.ephemeral_1h_input_tokens": Kind.CACHE_WRITE_1H,
}
COST_TYPES = {
    "tokens": Kind.ALL_TOKENS,
    "token": Kind.ALL_TOKENS,
    "web_search": Kind.WEB_SEARCH,
    "code_execution": Kind.CODE_EXECUTION,
    "session_usage": Kind.SESSION,
    "tax": Kind.TAX,
    "credit": Kind.CREDIT,
    "discount": Kind.DISCOUNT,
}
USAGE_COLUMNS = {
    "usage_input_tokens_no_cache": Kind.INPUT,
    "usage_input_tokens_cache_write_5m": Kind.CACHE_WRITE_5M,
    "usage_input_tokens_cache_write_1h": Kind.CACHE_WRITE_1H,
    "usage_input_tokens_cache_read": Kind.CACHE_READ,
    "usage_output_tokens": Kind.OUTPUT,
    "web_search_count": Kind.WEB_SEARCH,
}
COST_TOKEN_TYPES = {
    "input_no_cache": Kind.INPUT,
    "input_cache_read": Kind.CACHE_READ,
    "input_cache_write_5m": Kind.CACHE_WRITE_5M,
    "input_cache_write_1h": Kind.CACHE_WRITE_1H,
    "output": Kind.OUTPUT,
}


def usage_lines(result: Result) -> Iterator[Line]:
    """Yield the lines of a result of a usage report: one for each kind of which there is any."""
    common = _common(result) | {"provider_key": result.read("api_key_id", text_of)}
    counts = {
        Kind.INPUT: result.read("uncached_input_tokens", _count),
        Kind.OUTPUT: result.read("output_tokens", _count),
        Kind.CACHE_READ: result.read("cache_read_input_tokens", _count),
    }
    writes, tools = result.part("cache_creation"), result.part("server_tool_use")
    counts[Kind.CACHE_WRITE_5M] = writes.read("ephemeral_5m_input_tokens", _count)
    counts[Kind.CACHE_WRITE_1H] = writes.read("ephemeral_1h_input_tokens", _count)
    counts[Kind.WEB_SEARCH] = tools.read("web_search_requests", _count)
    counts[Kind.REQUEST] = result.read("requests", _count)
    for kind, quantity in counts.items():
        if quantity:
            yield Line(kind=kind, quantity=quantity, **common)


def cost_lines(result: Result) -> Iterator[Line]:
    """Yield the line of a result of a cost report. Amounts are cents, as decimal texts."""
    result.read("currency", check_currency)
    cost_type = result.read("cost_type", text_of)
    kind = COST_TYPES.get(cost_type, Kind.OTHER) if cost_type else Kind.ALL_TOKENS
    token_type = result.read("token_type", text_of)
    if kind == Kind.ALL_TOKENS and token_type:
        kind = TOKEN_TYPES.get(token_type, Kind.OTHER)
    list_amount = result.get("list_amount")
    yield Line(
        kind=kind,
        description=result.read("description", text_of, max_length=200) or cost_type,
        amount_usd_picos=result.read("amount", picos_of, exponent=CENTS),
        list_amount_usd_picos=None if list_amount is None else result.read("list_amount", picos_of, exponent=CENTS),
        unit_usd_picos=result.read("amount", unit_of, exponent=CENTS),
        **_common(result),
    )


def _common(result: Result) -> dict[str, Any]:
    return {
        "position": result.position,
        "day": result.day,
        "model": result.read("model", text_of, max_length=256),
        "service_tier": result.read("service_tier", tier_of),
        "speed": result.read("speed", text_of, max_length=32),
        "inference_geo": result.read("inference_geo", geo_of),
        "context_window": result.read("context_window", text_of, max_length=32),
        "workspace": result.read("workspace_id", text_of),
    }


def _count(value: Any) -> int:
    return 0 if value is None else count_of(value)


def console_usage_lines(row: Row) -> Iterator[Line]:
    """Yield the lines of a row of the Console's usage CSV."""
    common = _console(row) | {"model": row.read("model_version", text_of, max_length=256)}
    for column, kind in USAGE_COLUMNS.items():
        if row.get(column) and (quantity := row.read(column, count_of)):
            yield Line(kind=kind, quantity=quantity, **common)


def console_cost_lines(row: Row) -> Iterator[Line]:
    """Yield the line of a row of the Console's cost CSV: models by display name, amounts with two decimals."""
    kind = COST_TYPES.get(row.get("cost_type"), Kind.OTHER) if row.get("cost_type") else Kind.ALL_TOKENS
    if kind == Kind.ALL_TOKENS and row.get("token_type"):
        kind = COST_TOKEN_TYPES.get(row.get("token_type"), Kind.OTHER)
    listed = row.get("list_price_usd")
    yield Line(
        kind=kind,
        amount_usd_picos=row.read("cost_usd", picos_of),
        list_amount_usd_picos=row.read("list_price_usd", picos_of) if listed else None,
        unit_usd_picos=row.read("cost_usd", unit_of),
        description=row.read("token_type", text_of, max_length=200),
        **_console(row) | {"model": model_of(row.read("model", text_of, max_length=256))},
    )


def model_of(display_name: str) -> str:
    """Return the model of a display name: `Claude Opus 5.5` is claude-opus-5-5."""
    return display_name.lower().replace(" ", "-").replace(".", "-")


def _console(row: Row) -> dict[str, Any]:
    """Return what both CSV files have. An empty speed in a file with that column is the standard one."""
    names = row.cells
    usage_type = row.get("usage_type").strip().lower()
    return {
        "position": row.position,
        "day": row.read("usage_date_utc", day_of),
        "service_tier": "batch" if usage_type == "batch" else "",
        "speed": (row.read("speed", text_of, max_length=32) or "standard") if "speed" in names else "",
        "inference_geo": (row.read("inference_geo", geo_of) or "global") if "inference_geo" in names else "",
        "context_window": text_of(row.get("context_window"), max_length=32),
        "provider_key": text_of(row.get("api_key_id") or row.get("api_key")),
        "workspace": text_of(row.get("workspace")),
    }
