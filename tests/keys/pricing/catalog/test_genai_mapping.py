"""Prices of genai-prices as those of the gateway: exact, or named as not mappable."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data import providers
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from keys.pricing.catalog import genai_matching
from keys.pricing.catalog.genai_mapping import CatalogPrice, catalog_prices
from keys.pricing.catalog.proposals import RATES

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
M = 1_000_000


def model(prices: Any, *variants: PriceVariant) -> ModelInfo:
    return ModelInfo(id="m", match=ClauseEquals(equals="m"), prices=prices, price_variants=list(variants))


def prices(**units: Any) -> ModelPrice:
    return ModelPrice(**{name: Decimal(value) if isinstance(value, str) else value for name, value in units.items()})


def tiered(base: str, *tiers: tuple[int, str]) -> TieredPrices:
    return TieredPrices(base=Decimal(base), tiers=[Tier(start=start, price=Decimal(price)) for start, price in tiers])


def mapped(prices: Any, *variants: PriceVariant) -> CatalogPrice:
    [found] = catalog_prices(model(prices, *variants), at=NOW)
    return found


def modifiers(found: CatalogPrice) -> list[tuple[str, str, str]]:
    assert found.price is not None
    return [
        (each.dimension, each.value, each.factors.replace("\N{MULTIPLICATION SIGN} ", ""))
        for each in found.price.modifiers
    ]


@pytest.mark.parametrize(
    ("catalog_id", "rates", "expected"),
    [
        pytest.param(
            "anthropic/claude-opus-5-5",
            [4 * M, 20 * M, 200_000, 5 * M, 8 * M, None, None, 10_000],
            [("service_tier", "batch", "0.5"), ("speed", "fast", "2")],
            id="fast mode and batch",
        ),
        pytest.param(
            "anthropic/claude-haiku-5-5",
            [100_000, 500_000, 10_000, 125_000, 200_000, None, None, 10_000],
            [("prompt_over", "100000", "5"), ("service_tier", "batch", "0.5")],
            id="a price by the length of the prompt",
        ),
        pytest.param(
            "openai/gpt-6-sol",
            [2 * M, 10 * M, 200_000, 2_500_000, None, None, None, 10_000],
            [
                ("prompt_over", "272000", "2, output 1.5"),
                ("service_tier", "batch", "0.5"),
                ("service_tier", "fast", "2"),
                ("service_tier", "flex", "0.5"),
                ("service_tier", "priority", "2"),
            ],
            id="service tiers",
        ),
        pytest.param(
            "deepseek/deepseek-flash",
            [150_000, 600_000, 3_000, None, None, None, None, None],
            [("utc_hours", "01:00-04:00,06:00-10:00", "2")],
            id="hours of the day",
        ),
        pytest.param(
            "mistral/mistral-large-2512",
            [500_000, 1_500_000, 50_000, None, None, None, None, None],
            [("service_tier", "batch", "0.5")],
            id="without cache writes",
        ),
    ],
)
def test_a_price_of_the_catalog_is_mapped_exactly(
    catalog_id: str, rates: list[int | None], expected: list[tuple[str, str, str]]
) -> None:
    match = genai_matching.get(catalog_id)
    assert match is not None

    [found] = catalog_prices(match.model, at=NOW)

    assert found.price is not None and found.is_complete
    assert [found.price.rates.get(name) for name in RATES] == rates
    assert sorted(modifiers(found)) == sorted(expected)


def test_every_price_of_the_catalog_is_mapped_or_named() -> None:
    found = [each for provider in providers for model in provider.models for each in catalog_prices(model, at=NOW)]

    assert len(found) > 2_000
    assert all(each.price is not None or each.notes for each in found)
    rates = [rate for each in found if each.price for rate in each.price.rates.values()]
    assert len(rates) > 4_000 and all(type(rate) is int for rate in rates)


def test_a_rate_that_is_not_whole_is_rejected_and_not_rounded() -> None:
    found = mapped(prices(input_mtok="0.0416666666666667", output_mtok="1"))

    assert (found.price, found.notes) == (
        None,
        ("input_mtok 0.0416666666666667 is not a whole number of micro-dollars.",),
    )


def test_a_fee_per_thousand_searches_becomes_one_per_search() -> None:
    found = mapped(prices(input_mtok="1", output_mtok="2", web_searches_kcount="10"))

    assert found.price is not None and found.price.rates["web_search_price"] == 10_000


def test_a_model_without_costs_is_free_explicitly() -> None:
    found = mapped(prices(input_mtok="0", output_mtok="0", cache_read_mtok="0"))

    assert found.price is not None and found.price.is_free and found.price.rates == {}


@pytest.mark.parametrize(
    ("units", "note"),
    [
        pytest.param({"audio_hours": "1"}, "The catalog has no prices per token of it.", id="per hour"),
        pytest.param({"input_mtok": "1"}, "The catalog has no input and output price of it.", id="input alone"),
        pytest.param(
            {"input_mtok": "0", "output_mtok": "2"}, "The catalog has no input and output price of it.", id="free input"
        ),
    ],
)
def test_a_model_without_both_rates_has_no_price(units: dict[str, str], note: str) -> None:
    found = mapped(prices(**units))

    assert (found.price, found.notes) == (None, (note,))


def test_different_factors_of_input_kinds_are_not_mappable() -> None:
    long = {
        "input_mtok": tiered("1", (200_000, "2")),
        "cache_read_mtok": "0.1",
        "output_mtok": tiered("4", (200_000, "6")),
    }

    found = mapped(prices(**long))

    assert modifiers(found) == []
    assert found.notes == ("Not mappable: prompt over 200000: different factors (1, 2).",)
    assert not found.is_complete  # long prompts would be too cheap


def test_two_prompt_lengths_are_two_modifiers() -> None:
    tiers = {"input_mtok": tiered("1", (100, "2"), (200, "4")), "output_mtok": tiered("1", (100, "1"), (200, "3"))}

    assert modifiers(mapped(prices(**tiers))) == [
        ("prompt_over", "100", "2, output 1"),
        ("prompt_over", "200", "4, output 3"),
    ]


@pytest.mark.parametrize(
    ("variant", "note"),
    [
        pytest.param(
            {"input_mtok": "2", "cache_read_mtok": "0.3"}, "different factors (2, 3).", id="another factor of reads"
        ),
        pytest.param({"input_mtok": "0.33333", "cache_read_mtok": "0.033333"}, "decimals", id="a long factor"),
        pytest.param({"cache_write_mtok": "2"}, "5 minutes has a price only there.", id="a kind only there"),
        pytest.param({"web_searches_kcount": "5"}, "another price of web searches.", id="a fee"),
    ],
)
def test_a_variant_that_is_no_factor_leaves_its_requests_unpriced(variant: dict[str, str], note: str) -> None:
    standard = prices(input_mtok="1", output_mtok="2", cache_read_mtok="0.1", web_searches_kcount="10")

    found = mapped(standard, PriceVariant(when={"speed": "fast"}, prices=prices(**variant)))

    assert modifiers(found) == []
    assert found.is_complete
    [only] = found.notes
    assert only.startswith("Not mappable: speed fast: ") and note in only and only.endswith("stay unpriced.")


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(PriceVariant(when={"route": "eu"}, prices=prices(input_mtok="2")), id="an unknown condition"),
        pytest.param(
            PriceVariant(when={"speed": "fast", "service_tier": "flex"}, prices=prices(input_mtok="2")),
            id="two conditions",
        ),
        pytest.param(
            PriceVariant(when={"service_tier": "default"}, prices=prices(input_mtok="2")), id="of the standard tier"
        ),
    ],
)
def test_a_variant_with_another_condition_is_named(variant: PriceVariant) -> None:
    found = mapped(prices(input_mtok="1", output_mtok="2"), variant)

    assert modifiers(found) == [] and not found.is_complete and found.notes[0].startswith("Not mappable: ")


def test_a_variant_that_begins_later_does_not_apply_yet() -> None:
    later = PriceVariant(
        when={"speed": "fast"}, prices=prices(input_mtok="2"), constraint=StartDateConstraint(date(2027, 1, 1))
    )

    assert modifiers(mapped(prices(input_mtok="1", output_mtok="2"), later)) == []


def test_a_price_that_begins_later_is_a_price_of_its_own() -> None:
    steps = [
        ConditionalPrice(prices=prices(input_mtok="1", output_mtok="2")),
        ConditionalPrice(StartDateConstraint(date(2026, 11, 1)), prices=prices(input_mtok="3", output_mtok="4")),
        ConditionalPrice(StartDateConstraint(date(2027, 1, 1)), prices=prices(input_mtok="5", output_mtok="6")),
    ]

    found = catalog_prices(model(steps), at=NOW)

    assert [(each.since, each.price and each.price.rates["input_price"]) for each in found] == [
        (date(2026, 11, 1), 3 * M),
        (date(2027, 1, 1), 5 * M),
    ]


def test_hours_past_midnight_are_two_ranges() -> None:
    night = TimeOfDateConstraint(time(22, 30, tzinfo=UTC), time(2, 0, tzinfo=UTC))
    steps = [
        ConditionalPrice(prices=prices(input_mtok="1", output_mtok="2")),
        ConditionalPrice(night, prices=prices(input_mtok="0.5", output_mtok="1")),
    ]

    assert modifiers(mapped(steps)) == [("utc_hours", "00:00-02:00,22:30-24:00", "0.5")]
