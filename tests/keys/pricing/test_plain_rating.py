"""Rating with rates that are kept: the columns of `rate`, whatever was rated before."""

from datetime import timedelta
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from keys.domain.price_modifiers import Modifier
from keys.pricing import plain_rating
from keys.pricing.plain_rating import rated_columns
from keys.pricing.rating import MAX_COST, rate
from tests.keys.pricing.books import NOON, book, price, row


def modifier(dimension: str, value: str, factor: int, weekdays: str = "") -> Modifier:
    return Modifier.parsed(dimension, value, weekdays=weekdays, input_factor=factor, output_factor=factor + 1_000)


MODIFIERS = (
    modifier("speed", "fast", 20_000),
    modifier("service_tier", "batch", 5_000),
    modifier("inference_geo", "us", 11_000),
    modifier("prompt_over", "1000", 20_000),
    modifier("prompt_over", "100000", 30_000),
    modifier("utc_hours", "12:00-13:00", 7_000),
    modifier("utc_hours", "20:00-21:00", 8_000, weekdays="6"),
)
PRICES = [
    price(modifiers=MODIFIERS, cache_read=200_000, cache_write_5m=2_500_000, audio_input=5_000_000, web_search=10_000),
    price(modifiers=MODIFIERS[:2], valid_from=NOON - timedelta(days=30), input=3, output=1_000_001),
    price(id=2, model_pattern="free", is_free=True, input=0, output=0),
    price(id=3, model_pattern="plain", cache_write_1h=7_000_000),
    price(id=4, model_pattern="broken", is_valid=False),
    price(id=5, model_pattern="dear", input=MAX_COST),
    price(id=6, model_pattern="plain", upstream="u", valid_from=NOON - timedelta(days=1), input=5_000_000),
]
MODELS = st.sampled_from(["m", "free", "plain", "broken", "dear", "unknown", "plain-2026-01-01", ""])
COUNTS = st.none() | st.integers(0, 2) | st.integers(0, 10**6)
ROWS = st.fixed_dictionaries(
    {"upstream": st.sampled_from(["u", "v", ""]), "upstream_model": MODELS, "served_model": MODELS},
    optional={
        "created_at": st.integers(-90 * 24, 48).map(lambda hours: NOON + timedelta(hours=hours)),
        "usage_source": st.sampled_from(["reported", "estimated", "none"]),
        "speed": st.sampled_from(["", "standard", "fast", "ultra"]),
        "service_tier": st.sampled_from(["", "batch", "priority"]),
        "inference_geo": st.sampled_from(["", "us"]),
        "region": st.sampled_from(["", "eu"]),
        "refusal_category": st.sampled_from(["", "bio", "cyber"]),
        "refused_before_output": st.booleans(),
        "iterations": st.none() | st.lists(st.fixed_dictionaries({"input_tokens": COUNTS}), max_size=2),
        "web_searches": st.none() | st.integers(0, 2),
        **{f"audio_{direction}_tokens": st.none() | st.integers(0, 9) for direction in ("input", "output")},
        **{
            f"{kind}_tokens": COUNTS
            for kind in ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
        },
    },
)  # fmt: skip


@given(st.lists(ROWS, min_size=1, max_size=8), st.sampled_from([None, {"u": 9_300}, {"v": 10_001}]))
def test_the_columns_are_those_of_rate_whatever_was_rated_before(columns: list[dict[str, Any]], factors: Any) -> None:
    kept = book(*PRICES, factors=factors)

    for each in [row(**found) for found in columns * 2]:
        assert rated_columns(each, kept) == rate(each, book(*PRICES, factors=factors)).columns


def test_a_second_plain_request_is_not_rated_line_by_line() -> None:
    kept = book(*PRICES)
    first, second = (row(input_tokens=tokens, output_tokens=7, cache_read_tokens=1) for tokens in (5, 900))
    rated_columns(first, kept)

    with patch.object(plain_rating, "rate", side_effect=AssertionError), patch.object(
        plain_rating, "effective_rates", side_effect=AssertionError
    ):  # fmt: skip
        found = rated_columns(second, kept)

    assert found == rate(second, kept).columns
