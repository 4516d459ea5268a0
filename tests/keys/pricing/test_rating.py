"""The rules of rating: served facts, names, parts, refusals, searches, factors, and what stays unpriced."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.domain.price_modifiers import Modifier
from keys.domain.prices import Price
from keys.models import UsageRecord
from keys.pricing import rating, reasons
from keys.pricing.rating import rate
from tests.keys.pricing.books import NOON, book, price, row

MILLION = 10**6
THOUSAND_TOKENS = {"input_tokens": 1_000, "output_tokens": 100}
COST = 1_000 * 2_000_000 + 100 * 10_000_000


def modifier(
    dimension: str, value: str, factor: int = 20_000, output: int | None = None, weekdays: str = ""
) -> Modifier:
    return Modifier.parsed(
        dimension,
        value,
        weekdays=weekdays,
        input_factor=factor,
        output_factor=factor if output is None else output,
    )


FAST = modifier("speed", "fast")
US = modifier("inference_geo", "us", 11_000)


def cost(*prices: Price, factors: Any = None, **columns: Any) -> int | str:
    """Return the cost of 1,000 input and 100 output tokens, or why they are unpriced."""
    found = rate(row(**THOUSAND_TOKENS | columns), book(*prices, factors=factors))
    return found.unpriced_reason if found.cost_usd_picos is None else found.cost_usd_picos


# ---- Kinds


def test_a_kind_without_a_rate_costs_what_contains_it_and_is_not_free() -> None:
    plain = price()

    for name in ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"):
        assert cost(plain, **{name: 7}) == COST + 7 * 2_000_000
    assert cost(plain, audio_input_tokens=900, audio_output_tokens=90) == COST


def test_audio_is_a_part_of_input_and_output() -> None:
    audio = price(audio_input=32_000_000, audio_output=64_000_000)

    found = rate(row(**THOUSAND_TOKENS, audio_input_tokens=900, audio_output_tokens=5_000), book(audio))

    assert [(line.kind, line.tokens, line.rate) for line in found.lines] == [
        ("input", 100, 2_000_000),
        ("audio_input", 900, 32_000_000),
        ("audio_output", 100, 64_000_000),
    ]


def test_the_parts_of_the_cost_are_by_column_and_the_cache_saves() -> None:
    cached = price(cache_read=200_000, cache_write_5m=2_500_000, cache_write_1h=4_000_000, web_search=10_000)
    tokens = {"cache_read_tokens": 10_000, "cache_write_5m_tokens": 100, "cache_write_1h_tokens": 10}

    found = rate(row(**THOUSAND_TOKENS, **tokens, web_searches=2), book(cached))

    assert found.parts == {
        "input_cost_usd_picos": 2_000 * MILLION,
        "output_cost_usd_picos": 1_000 * MILLION,
        "cache_read_cost_usd_picos": 2_000 * MILLION,
        "cache_write_cost_usd_picos": 290 * MILLION,
        "item_cost_usd_picos": 20_000 * MILLION,
        "cache_savings_usd_picos": (18_000 - 50 - 20) * MILLION,
    }
    assert found.cost_usd_picos == 25_290 * MILLION


def test_writes_without_reads_cost_more_than_they_save() -> None:
    found = rate(row(cache_write_1h_tokens=10), book(price(cache_write_1h=4_000_000)))

    assert found.parts["cache_savings_usd_picos"] == -20 * MILLION


# ---- Modifiers


@pytest.mark.parametrize(
    ("prompt", "factor"),
    [
        pytest.param({"input_tokens": 200}, 1, id="exactly as long"),
        pytest.param({"input_tokens": 201}, 2, id="one token more"),
        pytest.param(
            {"input_tokens": 1, "cache_read_tokens": 100, "cache_write_5m_tokens": 100}, 2, id="with the cache"
        ),
        pytest.param({"input_tokens": 501}, 3, id="the longest that it exceeds, alone"),
        pytest.param({"input_tokens": 200, "output_tokens": 900}, 1, id="without the output"),
        pytest.param({"input_tokens": 200, "audio_input_tokens": 150}, 1, id="audio is not counted twice"),
    ],
)
def test_a_prompt_is_longer_by_all_its_input(prompt: dict[str, int], factor: int) -> None:
    longer = price(modifiers=(modifier("prompt_over", "200"), modifier("prompt_over", "500", 30_000)))

    found = rate(row(**prompt), book(longer))

    assert {line.rate for line in found.lines if line.kind != "output"} == {factor * 2_000_000}


def test_modifiers_multiply_and_have_a_factor_of_their_own_for_output() -> None:
    longer = modifier("prompt_over", "10", 20_000, 15_000)
    assert cost(price(modifiers=(FAST, US, longer)), speed="fast", inference_geo="us") == (
        1_000 * 8_800_000 + 100 * 33_000_000
    )


@pytest.mark.parametrize(
    ("at", "factor"),
    [
        pytest.param(datetime(2026, 11, 20, 1, tzinfo=UTC), 2, id="Friday at the beginning"),
        pytest.param(datetime(2026, 11, 20, 3, 59, 59, 999_999, tzinfo=UTC), 2, id="the last microsecond"),
        pytest.param(datetime(2026, 11, 20, 4, tzinfo=UTC), 1, id="at the end"),
        pytest.param(datetime(2026, 11, 20, 9, tzinfo=UTC), 2, id="the second range"),
        pytest.param(datetime(2026, 11, 21, 2, tzinfo=UTC), 1, id="Saturday"),
        pytest.param(datetime.fromisoformat("2026-11-21T03:00:00+08:00"), 1, id="Friday 19:00 UTC, Saturday in China"),
        pytest.param(datetime.fromisoformat("2026-11-22T20:30:00-06:00"), 2, id="Monday UTC, Sunday in America"),
    ],
)
def test_hours_are_those_of_the_start_in_utc(at: datetime, factor: int) -> None:
    hours = modifier("utc_hours", "01:00-04:00,06:00-10:00", weekdays="12345")

    assert cost(price(modifiers=(hours,)), created_at=at) == factor * COST


@pytest.mark.parametrize("dimension", ["speed", "service_tier", "inference_geo", "region"])
def test_a_value_without_a_modifier_is_unpriced_and_a_neutral_one_is_the_price(dimension: str) -> None:
    known = price(modifiers=(modifier(dimension, "known"),))

    assert cost(known, **{dimension: "known"}) == 2 * COST
    assert cost(known, **{dimension: "ultra"}) == cost(price(), **{dimension: "known"}) == f"unknown_{dimension}"
    assert cost(known) == COST
    assert cost(price(is_free=True, input=0, output=0), **{dimension: "ultra"}) == 0


@pytest.mark.parametrize(
    ("dimension", "value"),
    [
        ("speed", "standard"),
        ("service_tier", "standard"),
        ("service_tier", "default"),
        ("service_tier", "auto"),
        ("inference_geo", "global"),
        ("inference_geo", "not_available"),
    ],
)
def test_the_neutral_values_cost_the_price(dimension: str, value: str) -> None:
    assert cost(price(), **{dimension: value}) == COST


# ---- Names


def test_the_served_model_is_priced_before_the_requested_one() -> None:
    served, requested = price(model_pattern="served", id=2, input=1), price(model_pattern="m", id=1)

    assert rate(row(served_model="served"), book(served, requested)).price_id == 2
    assert rate(row(served_model="unlisted"), book(served, requested)).price_id == 1
    assert rate(row(), book(served, requested)).price_id == 1


@pytest.mark.parametrize(
    ("served", "requested", "expected"),
    [
        pytest.param("gpt-4o-2024-08-06", "gpt-4o", "alias", id="a dated ID has the price of its alias"),
        pytest.param("claude-opus-5-5-20260922", "claude-opus-5-5", "alias", id="a date in one number"),
        pytest.param("claude-opus-5-5@20260922", "claude-opus-5-5", "alias", id="a date after an at sign"),
        pytest.param("gpt-4o", "gpt-4o-2024-08-06", "dated", id="an alias has that of the dated ID"),
        pytest.param("gpt-4o-2024-08-06", "gpt-4o-2024-08-06", "dated", id="an own price before that of the alias"),
        pytest.param("gpt-4o-mini", "gpt-4o", "prefix", id="another model has a prefix before the requested model"),
        pytest.param("o9", "gpt-4o", "alias", id="an unknown one has that of the requested model"),
    ],
)
def test_a_dated_id_and_its_alias_are_the_same_model(served: str, requested: str, expected: str) -> None:
    names = {"gpt-4o": "alias", "claude-opus-5-5": "alias", "gpt-*": "prefix", "claude-*": "prefix"}
    if expected == "dated":
        names = {"gpt-4o-2024-08-06": "dated", "gpt-*": "prefix"}
    prices = [price(model_pattern=name, id=number) for number, name in enumerate(names)]

    found = rate(row(served_model=served, upstream_model=requested), book(*prices))

    assert list(names.values())[found.price_id or 0] == expected


def test_a_part_has_the_price_of_the_model_that_it_names_alone() -> None:
    main, advisor = price(id=1), price(id=2, model_pattern="advisor", input=8_000_000)
    entries = [
        {"type": "message", "input_tokens": 10},
        {"type": "advisor_message", "model": "advisor", "input_tokens": 20},
    ]

    both = rate(row(iterations=entries, input_tokens=30), book(main, advisor))
    assert both.cost_usd_picos == 10 * 2_000_000 + 20 * 8_000_000
    assert (both.price_id, both.other_prices) == (1, {"advisor": 2})
    assert cost(main, iterations=entries) == "no_price"


def test_the_entries_are_rated_and_not_the_sum() -> None:
    longer = price(modifiers=(modifier("prompt_over", "100"),))
    entries = [{"type": "compaction", "input_tokens": 101}, {"type": "message", "input_tokens": 100}]

    assert cost(longer, iterations=entries) == 101 * 4_000_000 + 100 * 2_000_000
    assert cost(longer, iterations=[]) == 2 * COST


def test_audio_of_several_samplings_is_unpriced() -> None:
    entries = [{"type": "message", "input_tokens": 5}, {"type": "message", "input_tokens": 5}]

    assert cost(price(), iterations=entries, audio_input_tokens=3) == "audio_in_iterations"
    assert cost(price(audio_input=3), iterations=entries[:1], audio_input_tokens=3) == 2 * 2_000_000 + 3 * 3


# ---- Refusals

BILLED_SINCE = datetime(2026, 9, 24, tzinfo=UTC)


@pytest.mark.parametrize("category", ["bio", "frontier_llm", "reasoning_extraction"])
def test_categories_are_billed_from_a_date_on(category: str) -> None:
    refused = {"refusal_category": category, "refused_before_output": True}

    assert cost(price(), **refused, created_at=BILLED_SINCE) == COST
    assert cost(price(), **refused, created_at=BILLED_SINCE - timedelta(microseconds=1)) == 0


@pytest.mark.parametrize("category", ["cyber", "general_harms", "uncategorized"])
def test_other_categories_are_billed_after_output_alone(category: str) -> None:
    assert cost(price(), refusal_category=category, refused_before_output=True) == 0
    assert cost(price(), refusal_category=category, refused_before_output=False) == COST
    assert cost(refusal_category=category, refused_before_output=True) == 0  # without a price


def test_an_unknown_category_is_unpriced_before_output() -> None:
    assert cost(price(), refusal_category="new", refused_before_output=True) == "unknown_refusal_category"
    assert cost(price(), refusal_category="new", refused_before_output=False) == COST


def test_the_refusal_of_the_request_is_that_of_its_last_sampling() -> None:
    entries = [{"type": "compaction", "input_tokens": 10}, {"type": "message", "input_tokens": 20}]

    found = rate(row(iterations=entries, refusal_category="cyber", refused_before_output=True), book(price()))

    assert [(line.tokens, line.is_billed, line.picos) for line in found.lines] == [
        (10, True, 20_000_000),
        (20, False, 0),
    ]


# ---- Searches and factors


def test_searches_without_a_price_are_unpriced_and_take_no_modifier() -> None:
    searching = price(web_search=10_000, modifiers=(FAST,))

    assert cost(price(), web_searches=1) == "no_web_search_price"
    assert cost(price(), web_searches=0) == COST
    assert cost(searching, web_searches=3, speed="fast") == 2 * COST + 30_000 * MILLION
    assert cost(replace(searching, web_search=0), web_searches=3) == COST
    assert cost(price(is_free=True), web_searches=3) == 0


def test_a_negotiated_factor_is_of_an_upstream_and_applies_to_searches_too() -> None:
    searching = price(web_search=10_000)

    found = rate(row(**THOUSAND_TOKENS, web_searches=1), book(searching, factors={"u": 9_300}))

    assert found.cost_usd_picos == (COST + 10_000 * MILLION) * 93 // 100
    assert found.price_factor == Decimal("0.93")
    assert cost(searching, factors={"other": 9_300}) == COST
    assert (
        cost(searching, factors={"u": 9_300}, created_at=datetime(2026, 1, 1, tzinfo=UTC) - timedelta(1)) == "no_price"
    )


def test_no_rate_is_rounded() -> None:
    assert cost(price(input=1), factors={"u": 9_300}) == "fractional_rate"
    assert cost(price(input=100), factors={"u": 9_300}) == 1_000 * 93 + 100 * 9_300_000


def test_a_cost_that_no_column_holds_is_unpriced() -> None:
    assert cost(price(), input_tokens=2**63 // 2_000_000) == "cost_too_large"


def test_a_request_that_no_upstream_received_costs_nothing() -> None:
    found = rate(row(**THOUSAND_TOKENS, usage_source="none"), book())

    assert (found.cost_usd_picos, found.price_id, set(found.parts.values())) == (0, None, {0})


def test_a_price_with_an_invalid_modifier_is_no_price_and_not_the_one_before() -> None:
    assert cost(price(is_valid=False, id=2, valid_from=NOON), price(id=1)) == "invalid_price"


def test_each_reason_has_words() -> None:
    known = set(reasons.UNPRICED)

    assert {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)} - {
        reasons.UNKNOWN,
        *reasons.UNBILLED,
    } <= known
    assert max(map(len, known)) <= (UsageRecord._meta.get_field("unpriced_reason").max_length or 0)
    assert set(rating.PART_COLUMNS) <= {column.attname for column in UsageRecord._meta.concrete_fields}


@given(st.data())
def test_lines_add_up_to_the_cost_and_no_entry_fails(data: Any) -> None:
    counts = st.integers(0, 10**6)
    entry = st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["message", "compaction", "advisor_message", "fallback_message", "new"]),
            "model": st.sampled_from(["", "m", "free", "other"]),
            "refusal_category": st.sampled_from(["", "bio", "cyber", "new"]),
            "refused_before_output": st.booleans(),
            **{f"{kind}_tokens": counts for kind in ("input", "output", "cache_read", "cache_write_5m")},
        },
    )
    prices = [
        price(modifiers=(FAST, US), web_search=10_000),
        price(id=2, model_pattern="free", is_free=True, input=0, output=0),
        price(id=3, model_pattern="other", modifiers=(FAST,)),
    ]
    columns = {
        "iterations": data.draw(st.none() | st.lists(entry, max_size=4)),
        "speed": data.draw(st.sampled_from(["", "fast", "ultra"])),
        "web_searches": data.draw(st.none() | st.integers(0, 9)),
        "input_tokens": data.draw(st.none() | counts),
    }

    found = rate(row(**columns), book(*prices, factors=data.draw(st.sampled_from([None, {"u": 9_300}]))))

    assert (found.cost_usd_picos is None) == bool(found.unpriced_reason)
    if found.cost_usd_picos is not None:
        assert found.cost_usd_picos == sum(line.picos for line in found.lines)
        assert all(line.picos in (0, line.tokens * line.rate) for line in found.lines)
        assert found.cost_usd_picos == sum(
            amount or 0 for name, amount in found.parts.items() if name != "cache_savings_usd_picos"
        )
