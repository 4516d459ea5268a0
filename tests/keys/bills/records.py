"""Usage records for reconciliations: of chosen times and tokens, rated like those of the gateway."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from keys.models import APIKey, ModelPrice, UsageRecord
from keys.pricing import price_book, rating
from messages_api.middleware import new_request_id
from tests.keys.bills import samples

UPSTREAM = "anthropic"
MODIFIERS = [("speed", "fast", "2"), ("inference_geo", "us", "1.1"), ("service_tier", "batch", "0.5")]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLAIN: dict[str, Any] = {"input_tokens": 1_000, "output_tokens": 500}
SAMPLE: dict[str, Any] = {
    "input_tokens": 12_345,
    "output_tokens": 5_678,
    "cache_read_tokens": 40_000,
    "cache_write_5m_tokens": 2_000,
    "cache_write_1h_tokens": 3_000,
    "web_searches": 3,
}


def price(model: str = samples.MODEL, **changes: Any) -> ModelPrice:
    """Save the price of Opus 5.5 with its modifiers for fast mode and US-only inference."""
    values = {
        "input_price": 4_000_000,
        "output_price": 20_000_000,
        "cache_read_price": 200_000,
        "cache_write_5m_price": 5_000_000,
        "cache_write_1h_price": 8_000_000,
        "web_search_price": 10_000,
        "valid_from": datetime(2026, 9, 22, tzinfo=UTC),
    } | changes
    row = ModelPrice.objects.create(model_pattern=model, **values)
    for dimension, value, factor in (
        ("speed", "fast", "2"),
        ("inference_geo", "us", "1.1"),
        ("service_tier", "batch", "0.5"),
    ):
        row.modifiers.create(
            dimension=dimension, value=value, input_factor=Decimal(factor), output_factor=Decimal(factor)
        )
    return row


def record(api_key: APIKey, *, at: datetime = NOON, **columns: Any) -> UsageRecord:
    """Save a settled record, rated at the stored prices, and add it to its hourly rollup."""
    row: dict[str, Any] = {
        "id": new_request_id(),
        "api_key": api_key,
        "created_at": at,
        "settled_at": at + timedelta(seconds=5),
        "status": "completed",
        "http_status": 200,
        "api_format": "anthropic",
        "model": samples.MODEL,
        "upstream": UPSTREAM,
        "upstream_model": samples.MODEL,
        "streamed": False,
        "usage_source": "reported",
        "boot_id": "test",
        "lease_expires_at": at,
    } | columns
    rated = rating.rate(row, price_book.load())
    row |= rated.parts | {
        "cost_usd_picos": rated.cost_usd_picos,
        "unpriced_reason": rated.unpriced_reason,
        "price_id": rated.price_id,
        "other_prices": rated.other_prices,
        "price_factor": rated.price_factor,
    }
    return UsageRecord.objects.create(**row)


def usage_of(*all_columns: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the result of a usage report for requests with these tokens."""

    def total(column: str) -> int:
        return sum(int(columns.get(column, 0)) for columns in all_columns)

    return samples.usage_result(
        uncached_input_tokens=total("input_tokens"),
        output_tokens=total("output_tokens"),
        cache_read_input_tokens=total("cache_read_tokens"),
        cache_creation={
            "ephemeral_5m_input_tokens": total("cache_write_5m_tokens"),
            "ephemeral_1h_input_tokens": total("cache_write_1h_tokens"),
        },
        server_tool_use={"web_search_requests": total("web_searches")},
        **changes,
    )
