"""Worked examples after the price rules of providers, to the pico-dollar."""

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from keys.models import ModelPrice, PriceModifier
from keys.pricing import price_book
from keys.pricing.rating import Rating, rate
from keys.pricing.reasons import NO_PRICE
from tests.keys.pricing.books import row

FILE = Path(__file__).with_name("price_cases.json")


@cache
def data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def save(name: str) -> None:
    """Save a price with its modifiers, validated as a form validates them."""
    fields = dict(data()["prices"][name])
    modifiers, since = fields.pop("modifiers"), datetime.fromisoformat(fields.pop("valid_from")).replace(tzinfo=UTC)
    price = ModelPrice(**fields, valid_from=since)
    price.full_clean()
    price.save()
    for dimension, value, weekdays, input_factor, output_factor in modifiers:
        modifier = PriceModifier(
            price=price,
            dimension=dimension,
            value=value,
            weekdays=weekdays,
            input_factor=input_factor,
            output_factor=output_factor,
        )
        modifier.full_clean()
        modifier.save()


def rated(case: dict[str, Any]) -> Rating:
    for name in case["prices"]:
        save(name)
    return rate(row(created_at=datetime.fromisoformat(case["at"]), **case["record"]), price_book.load())


@pytest.mark.django_db
@pytest.mark.parametrize("case", data()["cases"], ids=lambda case: case["id"])
def test_a_request_costs_what_the_provider_bills(case: dict[str, Any]) -> None:
    found = rated(case)

    assert found.cost_usd_picos == case["picos"]
    assert found.unpriced_reason == ("" if case["picos"] is not None else NO_PRICE)
    assert sum(line.picos for line in found.lines) == (found.cost_usd_picos or 0)
    parts = found.parts
    savings = parts.pop("cache_savings_usd_picos")
    assert sum(amount or 0 for amount in parts.values()) == (found.cost_usd_picos or 0)
    assert (savings is None) == (found.cost_usd_picos is None)


def test_all_examples_are_there() -> None:
    assert len(data()["cases"]) == 38 == len({case["id"] for case in data()["cases"]})
