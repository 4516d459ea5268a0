"""The cost of tokens in pico-dollars, in integers, without rounding."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.models import ModelPrice
from keys.pricing.price_book import prices
from keys.pricing.rating import Price, Tokens, cost, max_cost, max_output
from lib import money

OPUS = Price(
    input=15_000_000, output=75_000_000, cache_read=1_500_000, cache_write_5m=18_750_000, cache_write_1h=30_000_000
)
counts = st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        pytest.param(Tokens(input=1_000_000), 15_000_000_000_000, id="a million in"),
        pytest.param(Tokens(input=9, output=12), 1_035_000_000, id="a short request"),
        pytest.param(Tokens(cache_read=1), 1_500_000, id="a part of a micro-dollar is kept"),
        pytest.param(
            Tokens(cache_write_5m=4, cache_write_1h=2), 135_000_000, id="cache writes have prices of their own"
        ),
        pytest.param(Tokens(), 0, id="nothing"),
    ],
)
def test_each_kind_of_token_has_its_price(tokens: Tokens, expected: int) -> None:
    assert cost(tokens, OPUS) == expected


@given(counts, counts, counts)
def test_a_request_costs_the_sum_of_its_parts(fresh: int, read: int, output: int) -> None:
    whole = cost(Tokens(input=fresh, cache_read=read, output=output), OPUS)
    parts = [Tokens(input=fresh), Tokens(cache_read=read), Tokens(output=output)]

    assert whole == sum(cost(part, OPUS) for part in parts)


@given(counts, st.integers(0, 100_000), st.integers(0, 100_000), st.booleans())
def test_no_request_exceeds_the_maximum_cost(input_tokens: int, max_tokens: int, output: int, writes: bool) -> None:
    spent = Tokens(cache_write_1h=input_tokens) if writes else Tokens(input=input_tokens)
    reserved = max_cost(input_tokens=input_tokens, max_tokens=max_tokens, price=OPUS, may_write_cache=writes)

    assert cost(spent, OPUS) + cost(Tokens(output=min(output, max_tokens)), OPUS) <= money.picos(reserved)


def test_the_maximum_cost_is_rounded_up() -> None:
    price = Price(input=1, output=1_000_000)

    assert max_cost(input_tokens=1, max_tokens=2, price=price, may_write_cache=False) == 3
    assert max_cost(input_tokens=0, max_tokens=2, price=price, may_write_cache=False) == 2


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
