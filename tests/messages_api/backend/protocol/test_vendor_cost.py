"""The cost that an upstream reports, in pico-dollars."""

import json
from typing import Any

import pytest

from messages_api.backend.protocol import wire
from messages_api.backend.protocol.vendor_cost import MAX_PICOS, vendor_cost_picos


@pytest.mark.parametrize(
    ("literal", "picos"),
    [
        ("0.00014", 140_000_000),
        ("1e-07", 100_000),
        ("0.1", 100_000_000_000),
        ("0.30000000000000004", 300_000_000_000),  # noise of the upstream's arithmetic
        ("0.0000000000015", 2),  # half up
        ("0.0000000000004", 0),
        ("0", 0),
        ("-0.0", 0),
        ("2", 2 * 10**12),
        ("123456.789012345678", 123_456_789_012_345_670),  # a double has 17 digits
        ("1000000", MAX_PICOS),
        ("1000000.1", None),
        ("1e300", None),
        ("-0.1", None),
        ("true", None),
        ("null", None),
        ('"0.00014"', 140_000_000),
        ('"1e-7"', None),
        ('"-1"', None),
        ('"a prompt"', None),
        ('{"total_cost": 0.006, "input_tokens_cost": 0.001}', 6_000_000_000),
        ("[]", None),
    ],
)
def test_dollars_of_json_become_exact_pico_dollars(literal: str, picos: int | None) -> None:
    usage = wire.decode(f'{{"cost": {literal}}}')

    assert vendor_cost_picos(usage) == picos


@pytest.mark.parametrize("number", range(1, 2000, 7))
def test_each_amount_with_twelve_decimals_is_exact(number: int) -> None:
    dollars = f"0.{number * 499_999_979:012d}"

    assert vendor_cost_picos(json.loads(f'{{"cost": {dollars}}}')) == number * 499_999_979


@pytest.mark.parametrize(("ticks", "picos"), [(292_331_500, 29_233_150_000), (0, 0), (-1, None), (1.5, None)])
def test_ticks_are_ten_billionths_of_a_dollar(ticks: Any, picos: int | None) -> None:
    assert vendor_cost_picos({"cost_in_usd_ticks": ticks}) == picos


def test_the_fee_for_a_request_with_the_own_key_of_the_customer_is_the_cost() -> None:
    usage = {"cost": 0.0005, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.01}}

    assert vendor_cost_picos(usage) == 500_000_000
