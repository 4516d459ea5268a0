"""The figures of docs/money.md and the reasons of docs/pricing.md are those of rating."""

import re
from datetime import datetime

import pytest

from keys.domain.price_modifiers import DIMENSIONS
from keys.pricing import price_book, reasons, refusals
from keys.pricing.rating import Rating, rate
from lib import money
from tests.keys.pricing.books import row
from tests.keys.pricing.test_price_cases import data, save
from tests.support import ROOT

MONEY = (ROOT / "docs" / "money.md").read_text()
PRICING = (ROOT / "docs" / "pricing.md").read_text()
X = "\N{MULTIPLICATION SIGN}"


def rated(id: str) -> Rating:
    case = next(case for case in data()["cases"] if case["id"] == id)
    for name in case["prices"]:
        save(name)
    return rate(row(created_at=datetime.fromisoformat(case["at"]), **case["record"]), price_book.load())


def _words(kind: str) -> str:
    return kind.replace("_", " ")


@pytest.mark.django_db
@pytest.mark.parametrize("id", ["a03-vendor-example", "a04-vendor-example-cached", "a29-compaction"])
def test_the_examples_of_the_provider_are_worked_out_as_rating_does(id: str) -> None:
    found = rated(id)

    lines = [
        f"    {line.tokens:,} {_words(line.kind)} {X} {money.dollars(line.rate)} = {money.exact(line.picos)}\n"
        for line in found.lines
    ]
    assert "".join(lines) + f"    total {money.exact(found.cost_usd_picos or 0)}\n" in MONEY


@pytest.mark.django_db
def test_the_figure_that_is_followed_is_that_of_rating() -> None:
    found = rated("a07-haiku55-over")

    for line in found.lines:
        label = _words(line.kind).capitalize()
        price = money.dollars(line.price)
        assert f"| {label} | {line.tokens:,} | {price} {X} 5 | {money.exact(line.picos)} |" in MONEY
    total = found.cost_usd_picos or 0
    assert f"**{money.exact(total)}**" in MONEY
    assert money.short(total) in MONEY and f"`{money.decimal(total)}`" in MONEY


def test_all_reasons_dimensions_and_categories_are_documented() -> None:
    documented = set(re.findall(r"`(\w+)`", PRICING))

    assert {*reasons.UNPRICED, *DIMENSIONS} <= documented
    assert refusals.CATEGORIES - {refusals.UNCATEGORIZED} <= documented
    assert all(since.date().isoformat() in PRICING for since, _ in refusals.BILLED_SINCE)
