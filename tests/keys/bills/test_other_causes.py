"""Causes beside the common five: refusals, failed attempts, estimates, keys of one's own, long prompts."""

from datetime import timedelta
from typing import Any

import pytest

from keys.models import APIKey
from tests.keys.bills import samples
from tests.keys.bills.records import NOON, PLAIN, UPSTREAM, price, record, usage_of
from tests.keys.bills.test_reconciliation import FIRST, api_key, cost_of, days, found, imported, summary, totals

__all__ = ["api_key"]

pytestmark = pytest.mark.django_db

DECLINED: dict[str, Any] = {"input_tokens": 412, "output_tokens": 1}
REFUSED = DECLINED | {"refusal_category": "cyber", "refused_before_output": True}
MISSING: dict[str, Any] = {"input_tokens": 5_555, "output_tokens": 77}


@pytest.mark.parametrize("billed", [1, 2])
def test_a_refusal_that_is_billed_is_named_with_its_records(api_key: APIKey, billed: int) -> None:
    record(api_key, **PLAIN)
    for minute in range(2):
        record(api_key, at=NOON + timedelta(minutes=minute), **REFUSED)
    imported(days([usage_of(PLAIN, *[DECLINED] * billed)]))

    result = found(last=FIRST)

    assert summary(result) == {"refusal": billed * (412 * 4 + 20)}
    assert sum(len(item.records) for item in result.items) >= billed
    assert result.is_explained


def test_a_missing_record_beside_a_refusal_is_not_taken_for_it(api_key: APIKey) -> None:
    record(api_key, **PLAIN)
    record(api_key, **REFUSED)
    imported(days([usage_of(PLAIN, MISSING)]))

    assert summary(found(last=FIRST)) == {"missing_record": 5_555 * 4 + 77 * 20}


def test_a_declined_hop_that_is_billed_is_named(api_key: APIKey) -> None:
    price("claude-opus-4-8")
    hop = {"type": "message", "model": samples.MODEL, **DECLINED, "refusal_category": "cyber"}
    hop |= {"refused_before_output": True}
    served = {"type": "fallback_message", "model": "claude-opus-4-8", **PLAIN}
    both = {column: DECLINED[column] + PLAIN[column] for column in PLAIN}
    pk = record(api_key, **both, served_model="claude-opus-4-8", iterations=[hop, served]).pk
    imported(days([usage_of(PLAIN, model="claude-opus-4-8"), usage_of(DECLINED)]))

    result = found(last=FIRST)

    assert summary(result) == {"refusal": 412 * 4 + 20}
    assert [item.records for item in result.items] == [[pk]]
    assert result.is_explained


def attempt(upstream: str = UPSTREAM, **fields: Any) -> dict[str, Any]:
    return {"upstream": upstream, "model": samples.MODEL, "status": 200, "ms": 9, "error": "api_error"} | fields


@pytest.mark.parametrize("last", [UPSTREAM, "other"])
@pytest.mark.parametrize(
    "counted",
    [
        MISSING | {"usage_source": "reported"},
        {"input_tokens": 5_100, "output_tokens": 0, "usage_source": "estimated"},
    ],
    ids=["reported", "estimated"],
)
def test_a_failed_attempt_that_is_billed_is_named(api_key: APIKey, last: str, counted: dict[str, Any]) -> None:
    """The response came from this upstream or, by a fallback, from another one."""
    record(api_key, **PLAIN)
    attempts = [attempt(**counted), attempt(last, error="")]
    pk = record(api_key, **PLAIN, upstream=last, attempts=attempts).pk
    imported(days([usage_of(*[PLAIN] * (2 if last == UPSTREAM else 1), MISSING)]))

    result = found(last=FIRST)

    assert summary(result) == {"failed_attempt": 5_555 * 4 + 77 * 20}
    assert [item.records for item in result.items] == [[pk]]
    assert result.is_explained


def test_an_attempt_of_another_size_or_model_is_no_cause(api_key: APIKey) -> None:
    record(api_key, **PLAIN)
    small = attempt(input_tokens=90, output_tokens=0, usage_source="estimated")
    other = attempt(model="claude-haiku-5-5", input_tokens=5_555, output_tokens=0, usage_source="estimated")
    record(api_key, **PLAIN, attempts=[small, other, attempt(error="")])
    imported(days([usage_of(PLAIN, PLAIN, MISSING)]))

    assert list(found(last=FIRST).causes) == ["missing_record"]


@pytest.mark.parametrize("source", ["estimated", "partial"])
@pytest.mark.parametrize("billed", [350, 20, 0])
def test_estimated_usage_is_named(api_key: APIKey, source: str, billed: int) -> None:
    record(api_key, **PLAIN)
    cut = PLAIN | {"output_tokens": 120}
    pk = record(api_key, **cut, status="client_closed", usage_source=source).pk
    imported(days([usage_of(PLAIN, PLAIN | {"output_tokens": billed})]))

    result = found(last=FIRST)

    assert summary(result) == {"estimated_usage": (billed - 120) * 20}
    assert [item.records for item in result.items] == [[pk]]
    assert result.is_explained


def test_an_estimate_explains_no_more_than_was_recorded(api_key: APIKey) -> None:
    for day in range(2):
        record(api_key, at=NOON + timedelta(days=day), **MISSING)
    record(api_key, input_tokens=10, output_tokens=3, status="client_closed", usage_source="estimated")
    imported(days([usage_of(MISSING | {"input_tokens": 555})], [usage_of(MISSING)]))

    assert "estimated_usage" not in found().causes


def test_requests_with_a_key_of_ones_own_are_named(api_key: APIKey) -> None:
    price("openai/gpt-example", input_price=1_000_000, output_price=2_000_000)
    cost: dict[str, Any] = {"input_tokens": 136, "output_tokens": 2}  # $0.00014
    common: dict[str, Any] = {"upstream": "openrouter", "upstream_model": "openai/gpt-example"}
    record(api_key, message_id="gen-1795176000-EXAMPLE", **cost, **common)
    byok = {"cost_total": "0.000007", "byok_usage_inference": "0.00014"}
    head, row = samples.OPENROUTER_GENERATIONS.decode().strip().split("\n")
    cells = dict(zip(head.split(","), row.split(","), strict=True)) | byok
    imported(f"{head}\n{','.join(cells.values())}\n".encode(), "openrouter")

    result = found(last=FIRST, upstream="openrouter")

    assert summary(result) == {"byok": 7 - 140}
    assert result.is_explained


def test_a_daily_export_names_a_key_of_ones_own(api_key: APIKey) -> None:
    price("openai/gpt-example", input_price=1_000_000, output_price=2_000_000)
    cost: dict[str, Any] = {"input_tokens": 136, "output_tokens": 2}
    record(api_key, **cost, upstream="openrouter", upstream_model="openai/gpt-example")
    imported(samples.OPENROUTER_DAILY.replace(b"0.00014,0,1", b"0.000007,0.00014,1"), "openrouter")

    result = found(last=FIRST, upstream="openrouter")

    assert summary(result) == {"byok": 7 - 140}
    assert result.is_explained


LONG: dict[str, Any] = {"input_tokens": 120_000, "output_tokens": 200}


def test_a_missing_request_with_a_long_prompt_is_named_at_its_price(api_key: APIKey) -> None:
    row = price("claude-haiku-5-5")
    row.modifiers.create(dimension="prompt_over", value="100000", input_factor=5, output_factor=5)
    record(api_key, **PLAIN, upstream_model="claude-haiku-5-5")
    imported(days([usage_of(PLAIN, LONG, model="claude-haiku-5-5")]))
    long = cost_of(LONG, factor=5, model="claude-haiku-5-5")
    imported(days(cost_of(PLAIN, model="claude-haiku-5-5") + long))

    result = found(last=FIRST)

    short = 120_000 * 4 + 200 * 20
    assert summary(result) == {"missing_record": short, "prompt_length": 4 * short}
    assert result.is_explained


@pytest.mark.parametrize("count", [1, 3])
def test_long_prompts_that_a_price_lacks_are_named_with_their_records(api_key: APIKey, count: int) -> None:
    """The price has no modifier for prompts that the provider bills at twice the input and 1.5 times the output."""
    for minute in range(3):
        record(api_key, at=NOON + timedelta(minutes=minute), **PLAIN)
    pks = {record(api_key, at=NOON - timedelta(minutes=minute), **LONG).pk for minute in range(count)}
    prompt, output = totals(*[LONG] * count), totals(*[LONG] * count)
    prompt["output_tokens"] = output["input_tokens"] = 0
    imported(days([usage_of(*[PLAIN] * 3, *[LONG] * count)]))
    imported(days(cost_of(totals(*[PLAIN] * 3)) + cost_of(prompt, factor=2) + cost_of(output, factor=1.5)))

    result = found(last=FIRST)

    assert summary(result) == {"prompt_length": count * (120_000 * 4 + 200 * 10)}
    assert {pk for item in result.items for pk in item.records} == pks
    assert result.is_explained


def test_usage_without_any_record_is_missing_and_not_a_part_of_a_request(api_key: APIKey) -> None:
    imported(days([usage_of(PLAIN)]))

    assert summary(found(last=FIRST)) == {"missing_record": 14_000}


def test_missing_records_without_a_price_are_shown(api_key: APIKey) -> None:
    """Their amount is unknown: a bill of tokens alone must not look as if nothing were missing."""
    imported(samples.DEEPSEEK_AMOUNT, "deepseek")

    result = found(last=FIRST, upstream="deepseek")

    assert summary(result) == {"missing_record": 0}
    assert result.items[0].text.endswith("no usage record; the gateway has no price for them")


def test_missing_records_of_a_regional_upstream_are_priced_with_its_region(api_key: APIKey) -> None:
    """No bill states the region: the records of the upstream do."""
    row = price("gpt-6-sol")
    row.modifiers.create(dimension="region", value="eu", input_factor="1.1", output_factor="1.1")
    record(api_key, **PLAIN, upstream_model="gpt-6-sol", region="eu")
    imported(days([usage_of(PLAIN, MISSING, model="gpt-6-sol")]))

    assert summary(found(last=FIRST)) == {"missing_record": (5_555 * 4 + 77 * 20) * 11 // 10}
