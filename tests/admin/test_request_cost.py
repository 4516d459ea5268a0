"""The arithmetic on the page of a request: line by line, at the prices that its record names, to the pico-dollar."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from keys.models import ModelPrice, NegotiatedFactor, UsageRecord
from keys.pricing import price_book
from keys.pricing.breakdown import cost_breakdown
from keys.pricing.price_book import prices
from keys.pricing.rating import rate
from tests.admin.test_usage_records import cost_breakdown_of, facts_of, page_of
from tests.keys.pricing.test_price_cases import data, save
from tests.support.usage_rows import UsageRecorder

X = "\N{MULTIPLICATION SIGN}"
YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def rerated(record: UsageRecord, **columns: Any) -> UsageRecord:
    """Write columns of a record, and its cost at the prices in the database."""
    row = {column.attname: getattr(record, column.attname) for column in record._meta.concrete_fields} | columns
    found = rate(row, price_book.load())
    UsageRecord.objects.filter(pk=record.pk).update(**columns | found.columns)
    return UsageRecord.objects.get(pk=record.pk)


def test_a_fallback_is_broken_down_by_part_with_what_is_not_billed(browser: Client, recorder: UsageRecorder) -> None:
    save("claude-fable-5-2")
    save("claude-opus-5-5")
    case = next(each for each in data()["cases"] if each["id"] == "a26-fallback-unbilled-hop")

    record = rerated(recorder.record(), **case["record"], speed="fast", web_searches=2)

    page = browser.get(page_of(record))
    assert cost_breakdown_of(page) == [
        ["1. Message (claude-fable-5-2)", "Input", "408", "$8.00", "$0.00 (not billed: refusal before any output)"],
        ["2. Fallback (claude-opus-5-5)", "Input", "412", f"$4.00 {X} 2 speed fast", "$0.003296"],
        ["2. Fallback (claude-opus-5-5)", "Output", "264", f"$20.00 {X} 2 speed fast", "$0.01056"],
        ["2. Fallback (claude-opus-5-5)", "Web search", "2", "$0.01 each", "$0.02"],
        ["Total", "$0.033856"],
    ]
    assert facts_of(page)["Amount"] == "$0.033856"
    assert (facts_of(page)["Served model"], facts_of(page)["Speed"]) == ("claude-opus-5-5", "fast")


def test_the_page_uses_the_prices_that_the_record_names(browser: Client, recorder: UsageRecorder) -> None:
    save("claude-haiku-5-5")
    NegotiatedFactor.objects.create(upstream="local", factor=Decimal("0.93"), valid_from=YEAR)
    record = rerated(recorder.record(), served_model="claude-haiku-5-5", cache_read_tokens=100_000, output_tokens=1)
    before = cost_breakdown_of(browser.get(page_of(record)))
    assert before == [
        ["Input", "9", f"$0.10 {X} 5 prompt longer than 100000 {X} 0.93 negotiated", "$0.000004185"],
        ["Output", "1", f"$0.50 {X} 5 prompt longer than 100000 {X} 0.93 negotiated", "$0.000002325"],
        ["Cache read", "100,000", f"$0.01 {X} 5 prompt longer than 100000 {X} 0.93 negotiated", "$0.00465"],
        ["Total", "$0.00465651"],
    ]

    ModelPrice.objects.create(
        model_pattern="claude-haiku-5-5", input_price=1, output_price=1, valid_from=datetime(2026, 11, 1, tzinfo=UTC)
    )
    NegotiatedFactor.objects.all().delete()

    assert cost_breakdown_of(browser.get(page_of(record))) == before
    assert facts_of(browser.get(page_of(record)))["Negotiated factor"] == "0.93"


@pytest.mark.parametrize("case", data()["cases"], ids=lambda case: case["id"])
def test_each_breakdown_adds_up_to_the_pico_dollar(case: dict[str, Any], recorder: UsageRecorder) -> None:
    for name in case["prices"]:
        save(name)
    columns = {"input_tokens": 0, "output_tokens": 0, **case["record"]}
    record = rerated(recorder.record(), created_at=datetime.fromisoformat(case["at"]), **columns)
    if not case["picos"] and case["id"] != "a22-refused-cyber":
        assert cost_breakdown(record) is None
        return

    found = cost_breakdown(record)

    assert found is not None and found.adds_up
    assert sum(line.picos for line in found.lines) == found.cost == case["picos"]


def test_an_unpriced_request_says_why_and_shows_the_cost_that_its_upstream_reports(
    browser: Client, recorder: UsageRecorder
) -> None:
    usage = {"prompt_tokens": 194, "cost": 0.00014, "is_byok": False}
    record = rerated(recorder.record(), vendor_cost_usd_picos=140_000_000, usage_object=usage)

    facts = facts_of(browser.get(page_of(record)))

    assert facts["Amount"] == "unpriced"
    assert facts["Unpriced because"] == "no price of a model at the upstream was valid when the request started"
    assert facts["Reported by the upstream"] == "$0.00014"
    assert '"prompt_tokens": 194' in facts["Usage as reported"]


def test_a_hostile_value_is_text(browser: Client, recorder: UsageRecorder) -> None:
    hostile = "<script>alert(1)</script>"
    record = rerated(recorder.record(), usage_object={hostile: hostile}, speed=hostile[:20], served_model=hostile)

    assert "<script>alert" not in browser.get(page_of(record)).text


def test_a_settlement_writes_the_cost_its_parts_and_its_prices(recorder: UsageRecorder) -> None:
    save("claude-haiku-5-5")
    NegotiatedFactor.objects.create(upstream="local", factor=Decimal("0.5"), valid_from=YEAR)
    prices.clear()
    prices.book()

    record = recorder.record(upstream_model="claude-haiku-5-5-20261001", cache_read_tokens=10)

    price = ModelPrice.objects.get()
    assert (record.price_id, record.price_factor, record.other_prices) == (price.pk, Decimal("0.5"), None)
    assert record.cost_usd_picos == (9 * 100_000 + 12 * 500_000 + 10 * 10_000) // 2
    assert record.cost_usd_picos == sum(
        amount or 0
        for amount in (
            record.input_cost_usd_picos,
            record.output_cost_usd_picos,
            record.cache_read_cost_usd_picos,
            record.cache_write_cost_usd_picos,
            record.item_cost_usd_picos,
        )
    )
    assert record.cache_savings_usd_picos == 10 * 90_000 // 2
    unpriced = recorder.record(upstream_model="other")
    assert (unpriced.cost_usd_picos, unpriced.unpriced_reason, unpriced.price_id) == (None, "no_price", None)
    assert recorder.record(usage_source="none").cost_usd_picos == 0
