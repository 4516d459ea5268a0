"""Prices by model and time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from keys.models import ModelPrice, NegotiatedFactor, PriceModifier
from keys.pricing import price_book
from keys.pricing.price_book import prices
from tests.keys.pricing import books

MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("model", "upstream", "at", "expected"),
    [
        pytest.param("claude-3", "any", MAY, 1, id="an exact name over a prefix"),
        pytest.param("claude-4", "any", MAY, 2, id="the longest prefix"),
        pytest.param("claude-4", "any", JUNE, 3, id="the latest"),
        pytest.param("claude-3", "cheap", MAY, 4, id="a price of the upstream over one for any"),
        pytest.param("claude-3-20260501", "any", JUNE, 1, id="the name without its date over a prefix"),
        pytest.param("claude-3-5", "any", JUNE, 3, id="not the name without anything else"),
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


def test_the_price_book_is_read_with_three_queries(db: None, django_assert_num_queries: Any) -> None:
    for name in ("first", "second", "third"):
        price = ModelPrice.objects.create(model_pattern=name, input_price=10_000, output_price=10_000, valid_from=MAY)
        for value in ("fast", "slow"):
            PriceModifier.objects.create(
                price=price, dimension="speed", value=value, input_factor=Decimal("1.1"), output_factor=2
            )
    NegotiatedFactor.objects.create(upstream="any", factor=Decimal("0.9"), valid_from=MAY)
    NegotiatedFactor.objects.create(upstream="any", factor=Decimal("0.8"), valid_from=JUNE)

    with django_assert_num_queries(3):
        book = price_book.load()

    found = book.find("second", upstream="any", at=JUNE)
    assert found is not None and [each.input_factor for each in found.modifiers] == [11_000, 11_000]
    assert [book.price_factor("any", at=at) for at in (MAY - timedelta(1), MAY, JUNE)] == [None, 9_000, 8_000]
    assert book.price_factor("other", at=JUNE) is None


def test_a_modifier_past_its_form_makes_its_price_invalid(db: None, caplog: pytest.LogCaptureFixture) -> None:
    for since in (MAY, JUNE):
        ModelPrice.objects.create(model_pattern="m", input_price=1, output_price=1, valid_from=since)
    latest = ModelPrice.objects.get(valid_from=JUNE)
    PriceModifier.objects.create(price=latest, dimension="utc_hours", value="late", input_factor=1, output_factor=1)

    found = price_book.load().find("m", upstream="any", at=JUNE)

    assert found is not None and (found.id, found.is_valid) == (latest.pk, False)
    assert "has an invalid modifier: Enter hours such as" in caplog.text


@pytest.mark.parametrize("factor", [Decimal(0), Decimal(-1), Decimal("1000.0001")])
def test_the_database_holds_no_factor_that_is_not_positive(db: None, factor: Decimal) -> None:
    price = ModelPrice.objects.create(model_pattern="m", input_price=1, output_price=1)

    for row in (
        NegotiatedFactor(upstream="any", factor=factor),
        PriceModifier(price=price, dimension="speed", value="fast", input_factor=factor, output_factor=1),
        PriceModifier(price=price, dimension="speed", value="fast", input_factor=1, output_factor=factor),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            row.save()


def test_a_price_that_was_found_before_is_replaced_when_another_one_starts() -> None:
    later = books.price(id=2, valid_from=books.NOON)
    prices = books.book(books.price(id=1), later)
    before = prices.find("m", upstream="u", at=books.NOON - timedelta(seconds=1))
    assert before is not None
    assert before.id == 1

    assert prices.find("m", upstream="u", at=books.NOON) is later
    assert prices.find("m", upstream="u", at=books.START - timedelta(seconds=1)) is None


def test_the_models_whose_prices_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_book, "MAX_RANKED", 3)
    prices = books.book(books.price(model_pattern="*"))

    found = [prices.find(f"m{number}", upstream="u", at=books.NOON) for number in range(10)]

    assert all(price is not None for price in found)
    assert len(prices._ranked) == 3
