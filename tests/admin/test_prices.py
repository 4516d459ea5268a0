"""Prices in the admin: modifiers as rows of their form, versions, and negotiated factors."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.test import Client
from django.urls import reverse

from keys.models import ModelPrice, NegotiatedFactor, PriceModifier
from keys.pricing.price_book import prices
from tests.support.usage_rows import UsageRecorder

ADD = "/admin/keys/modelprice/add/"
FACTORS = "/admin/keys/negotiatedfactor/"
PRICE = {
    "model_pattern": "claude-haiku-5-5",
    "valid_from_0": "2026-10-07",
    "valid_from_1": "00:00:00",
    "input_price": "0.1",
    "output_price": "0.5",
    "cache_read_price": "0.01",
    "cache_write_5m_price": "",
    "web_search_price": "0.01",
}
LONG = ("prompt_over", "100000", "", "5", "5")
US = ("inference_geo", "us", "", "1.1", "1.1")
FIELDS = ("dimension", "value", "weekdays", "input_factor", "output_factor")


def form(*modifiers: tuple[str, ...], initial: Any = 0, **fields: str) -> dict[str, str]:
    rows = {
        f"modifiers-{number}-{name}": value
        for number, modifier in enumerate(modifiers)
        for name, value in zip(FIELDS, modifier, strict=True)
    }
    numbers = {"modifiers-TOTAL_FORMS": str(len(modifiers)), "modifiers-INITIAL_FORMS": str(initial)}
    return {**PRICE, **numbers, **rows, **fields}


def page_of(price: ModelPrice) -> str:
    return reverse("admin:keys_modelprice_change", args=[price.pk])


def errors(answer: Any) -> list[str]:
    """Return the messages of a form that is shown again, in their order."""
    assert answer.status_code == 200
    return [unescape(text) for text in re.findall(r"<li>([^<]*)</li>", "".join(_lists(answer.text)))]


def _lists(html: str) -> list[str]:
    return re.findall(r'<ul class="errorlist[^>]*>.*?</ul>', html, re.DOTALL)


def test_a_price_is_saved_with_its_modifiers(browser: Client) -> None:
    answer = browser.post(ADD, form(LONG, US, ("utc_hours", "01:00-04:00,06:00-10:00", "12345", "2", "1.5")))

    assert answer.status_code == 302, errors(answer)
    price = ModelPrice.objects.get()
    assert (price.input_price, price.cache_read_price, price.cache_write_5m_price) == (100_000, 10_000, None)
    assert price.web_search_price == 10_000
    found = price.modifiers.values_list(*FIELDS)
    assert list(found) == [
        ("prompt_over", "100000", "", Decimal(5), Decimal(5)),
        ("inference_geo", "us", "", Decimal("1.1"), Decimal("1.1")),
        ("utc_hours", "01:00-04:00,06:00-10:00", "12345", Decimal(2), Decimal("1.5")),
    ]
    assert set(LogEntry.objects.values_list("content_type__model", flat=True)) >= {"modelprice", "pricemodifier"}


@pytest.mark.parametrize(
    ("modifiers", "message"),
    [
        pytest.param([("colour", "us", "", "2", "2")], "Enter one of prompt_over, speed,", id="dimension"),
        pytest.param([("speed", "fast", "", "0", "2")], "Enter a factor greater than 0 with at most 4", id="zero"),
        pytest.param([("speed", "fast", "", "-1", "2")], "Enter a factor greater than 0 with at most 4", id="below"),
        pytest.param([("speed", "fast", "", "1.00001", "2")], "with at most 4 decimals, such as 1.1", id="decimals"),
        pytest.param([("speed", "fast", "", "2,5", "2")], "Enter a factor greater than 0", id="comma"),
        pytest.param([("speed", "fast", "", "", "2")], "Enter a factor greater than 0", id="no factor"),
        pytest.param([("speed", "fast", "", "NaN", "2")], "Enter a factor greater than 0", id="no number"),
        pytest.param([("speed", "fast", "", "1001", "2")], "Enter at most 1000.", id="large"),
        pytest.param([("prompt_over", "100k", "", "2", "2")], "Enter a number of tokens, such as 200000", id="tokens"),
        pytest.param([("prompt_over", "0", "", "2", "2")], "Enter a number of tokens, such as 200000", id="no tokens"),
        pytest.param([("speed", "standard", "", "2", "2")], "“standard” is the price itself. Enter a", id="neutral"),
        pytest.param([("utc_hours", "1-4", "", "2", "2")], "Enter hours such as 01:00-04:00", id="hours"),
        pytest.param([("utc_hours", "22:00-02:00", "", "2", "2")], "enter hours past midnight as 22:00-24", id="night"),
        pytest.param([("utc_hours", "01:00-25:00", "", "2", "2")], "A day ends at 24:00.", id="end of the day"),
        pytest.param([("utc_hours", "01:00-04:00,03:00-05:00", "", "2", "2")], "Hours overlap: enter each", id="twice"),
        pytest.param([("utc_hours", "01:00-04:00", "8", "2", "2")], "Enter each weekday once and in order", id="days"),
        pytest.param([("speed", "fast", "1", "2", "2")], "Only hours have weekdays. Leave it empty.", id="no days"),
        pytest.param(
            [("utc_hours", "01:00-04:00", "12", "2", "2"), ("utc_hours", "03:00-05:00", "", "2", "2")],
            "Hours overlap with those of 01:00-04:00. Enter hours that no other modifier has.",
            id="hours of two",
        ),
        pytest.param([US, US], "Please correct the duplicate values", id="a value twice"),
        pytest.param(
            [("speed", "fast", "", "1.0001", "1"), ("inference_geo", "us", "", "1.1", "1")],
            "Prices times factors may have at most six decimals of a dollar per million tokens. That of cache read has "
            "more: the price with speed fast and inference_geo us. Enter a factor or a price with fewer decimals.",
            id="not whole together",
        ),
    ],
)
def test_a_modifier_that_cannot_be_right_is_not_saved(
    browser: Client, modifiers: list[tuple[str, ...]], message: str
) -> None:
    found = errors(browser.post(ADD, form(*modifiers)))

    assert any(message in each for each in found), found
    assert not ModelPrice.objects.exists() and not PriceModifier.objects.exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"input_price": "0.0000001"}, "enter at most six decimals", id="digits"),
        pytest.param({"input_price": "-1"}, "Enter an amount in dollars", id="negative"),
        pytest.param({"input_price": "10001"}, "Enter at most $10,000.00.", id="large"),
        pytest.param({"input_price": ""}, "Enter an input and an output price, or mark the model as free.", id="none"),
        pytest.param(
            {"cache_read_price": "0"},
            "Enter a price above 0, or leave it empty: such tokens then cost the input price.",
            id="free reads",
        ),
        pytest.param(
            {"audio_output_price": "0"},
            "Enter a price above 0, or leave it empty: such tokens then cost the output price.",
            id="free audio",
        ),
        pytest.param({"is_free": "on"}, "A free model cannot have a price.", id="free"),
        pytest.param(
            {"model_pattern": "taken"},
            "A price of this model pattern and upstream is valid from the same time. Enter another time.",
            id="overlap",
        ),
    ],
)
def test_a_price_that_cannot_be_right_is_not_saved(browser: Client, fields: dict[str, str], message: str) -> None:
    start = datetime(2026, 10, 7, tzinfo=UTC)
    ModelPrice.objects.create(model_pattern="taken", valid_from=start, input_price=1, output_price=1)

    found = errors(browser.post(ADD, form(US, **fields)))

    assert any(message in each for each in found), found
    assert ModelPrice.objects.count() == 1


def test_a_free_model_has_no_modifiers(browser: Client) -> None:
    nothing = dict.fromkeys((name for name in PRICE if name.endswith("_price")), "")

    found = errors(browser.post(ADD, form(US, is_free="on", **nothing)))

    assert found[-1] == "A free model has no modifiers. Remove this one."


def test_a_new_version_takes_over_the_modifiers(browser: Client) -> None:
    browser.post(ADD, form(LONG, US))
    price = ModelPrice.objects.get()
    copy = f"{ADD}?copy={price.pk}"

    page = browser.get(copy)
    assert 'value="1.1"' in page.text and 'value="100000"' in page.text
    sent = browser.post(copy, form(LONG, US, valid_from_0="2026-12-01"))

    assert sent.status_code == 302, errors(sent)
    versions = ModelPrice.objects.order_by("valid_from")
    assert [list(version.modifiers.values_list("value", flat=True)) for version in versions] == [["100000", "us"]] * 2


def test_the_price_of_a_request_and_its_modifiers_do_not_change(browser: Client, recorder: UsageRecorder) -> None:
    browser.post(ADD, form(LONG))
    price, modifier = ModelPrice.objects.get(), PriceModifier.objects.get()
    row = {"modifiers-0-id": str(modifier.pk), "modifiers-0-price": str(price.pk)}
    changed = form(("prompt_over", "100000", "", "4", "4"), initial=1, **row)
    assert browser.post(page_of(price), changed).status_code == 302
    assert PriceModifier.objects.get().input_factor == 4

    prices.clear()
    prices.book()
    recorder.record(upstream_model="claude-haiku-5-5")

    assert "can no longer be edited" in browser.get(page_of(price)).text
    again = browser.post(page_of(price), form(LONG, initial=1, **row))
    assert again.status_code == 403 and PriceModifier.objects.get().input_factor == 4


def test_a_price_of_a_part_by_another_model_does_not_change(browser: Client, recorder: UsageRecorder) -> None:
    own, advisor, unused = (
        ModelPrice.objects.create(model_pattern=name, input_price=1, output_price=1)
        for name in ("own", "advisor", "unused")
    )
    prices.clear()
    prices.book()
    record = recorder.record(upstream_model="own")
    type(record).objects.filter(pk=record.pk).update(other_prices={"advisor": advisor.pk})

    may_edit = ["can no longer be edited" not in browser.get(page_of(price)).text for price in (own, advisor, unused)]

    assert may_edit == [False, False, True]


def test_a_viewer_sees_modifiers_and_cannot_change_them(browser_of: Callable[..., Client], browser: Client) -> None:
    browser.post(ADD, form(LONG))
    viewer = browser_of("view_modelprice")

    page = viewer.get(page_of(ModelPrice.objects.get()))

    assert "100000" in page.text and 'name="modifiers-0-value"' not in page.text
    assert viewer.post(page_of(ModelPrice.objects.get()), form(US)).status_code == 403


# ---- Negotiated factors


def factor(value: str, **fields: str) -> dict[str, str]:
    start = {"valid_from_0": "2026-11-01", "valid_from_1": "00:00:00"}
    return {"upstream": "anthropic", "factor": value, **start, **fields}


def test_a_negotiated_factor_is_saved_and_audited(browser: Client) -> None:
    assert browser.post(f"{FACTORS}add/", factor("0.93")).status_code == 302

    assert NegotiatedFactor.objects.get().factor == Decimal("0.93")
    assert LogEntry.objects.filter(content_type__model="negotiatedfactor").count() == 1
    assert "0.93" in browser.get(FACTORS).text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(factor("0"), "Enter a factor greater than 0 with at most 4 decimals, such as 1.1.", id="zero"),
        pytest.param(factor("0.93001"), "Enter a factor greater than 0 with at most 4 decimals", id="decimals"),
        pytest.param(
            factor("0.9999"),
            "That of cache read has more: claude-haiku-5-5 from 2026-10-07 with inference_geo us.",
            id="not whole with the modifiers of a price",
        ),
        pytest.param(
            factor("0.93", upstream="taken"),
            "A factor of this upstream is valid from the same time. Enter another time.",
            id="overlap",
        ),
    ],
)
def test_a_negotiated_factor_that_cannot_be_right_is_not_saved(
    browser: Client, fields: dict[str, str], message: str
) -> None:
    browser.post(ADD, form(US))
    start = datetime(2026, 11, 1, tzinfo=UTC)
    NegotiatedFactor.objects.create(upstream="taken", factor=Decimal("0.9"), valid_from=start)

    found = errors(browser.post(f"{FACTORS}add/", fields))

    assert any(message in each for each in found), found
    assert NegotiatedFactor.objects.count() == 1


def test_a_price_is_checked_with_the_negotiated_factors_of_its_time(browser: Client) -> None:
    start, end = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
    NegotiatedFactor.objects.create(upstream="any", factor=Decimal("0.9999"), valid_from=start)
    found = errors(browser.post(ADD, form(US, upstream="any")))
    assert found and "the price times the factor of any 0.9999 from 2026-09-01 with inference_geo us" in found[-1]

    NegotiatedFactor.objects.create(upstream="any", factor=Decimal("0.9"), valid_from=end)  # before the price
    assert browser.post(ADD, form(US, upstream="any")).status_code == 302
