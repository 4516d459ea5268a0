"""Prices by model and time, and the maximum cost of a request."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.domain.prices import Price
from keys.models import ModelPrice
from keys.pricing.max_cost import max_cost, max_output
from keys.pricing.price_book import prices
from keys.pricing.rating import rate
from lib import money
from tests.keys.pricing.books import book, price, row

OPUS = price(
    input=15_000_000,
    output=75_000_000,
    cache_read=1_500_000,
    cache_write_5m=18_750_000,
    cache_write_1h=30_000_000,
)
counts = st.integers(0, 10**9)


@given(counts, st.integers(0, 100_000), st.integers(0, 100_000), st.booleans())
def test_no_request_exceeds_the_maximum_cost(input_tokens: int, max_tokens: int, output: int, writes: bool) -> None:
    spent = {"cache_write_1h_tokens" if writes else "input_tokens": input_tokens}
    rated = rate(row(**spent, output_tokens=min(output, max_tokens)), book(OPUS))
    reserved = max_cost(input_tokens=input_tokens, max_tokens=max_tokens, price=OPUS, may_write_cache=writes)

    assert rated.cost_usd_picos is not None and rated.cost_usd_picos <= money.picos(reserved)


def test_the_maximum_cost_is_rounded_up() -> None:
    cheap = Price(input=1, output=1_000_000)

    assert max_cost(input_tokens=1, max_tokens=2, price=cheap, may_write_cache=False) == 3
    assert max_cost(input_tokens=0, max_tokens=2, price=cheap, may_write_cache=False) == 2


def test_the_output_is_capped_by_the_maximum_of_the_model() -> None:
    assert max_output(64_000, Price(max_output_tokens=8_192)) == 8_192
    assert max_output(16, Price(max_output_tokens=8_192)) == 16
    assert max_output(64_000, None) == 64_000


MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("model", "upstream", "at", "expected"),
    [
        pytest.param("claude-3", "any", MAY, 1, id="an exact name over a prefix"),
        pytest.param("claude-4", "any", MAY, 2, id="the longest prefix"),
        pytest.param("claude-4", "any", JUNE, 3, id="the latest"),
        pytest.param("claude-3", "cheap", MAY, 4, id="a price of the upstream over one for any"),
        pytest.param("gpt-5", "any", JUNE, None, id="none"),
        pytest.param("claude-3", "any", datetime(2026, 4, 1, tzinfo=UTC), None, id="not valid yet"),
    ],
)
def test_a_price_is_found_by_upstream_model_and_time(
    db: None, model: str, upstream: str, at: datetime, expected: int | None
) -> None:
    for pattern, where, since, each in [
        ("claude-3", "", MAY, 1),
        ("claude-*", "", MAY, 2),
        ("claude-*", "", JUNE, 3),
        ("c*", "cheap", MAY, 4),
        ("c*", "", MAY, 5),
    ]:
        ModelPrice.objects.create(
            model_pattern=pattern, upstream=where, valid_from=since, input_price=each, output_price=each
        )
    prices.clear()

    found = prices.book().find(model, upstream=upstream, at=at)

    assert (found.input if found else None) == expected
