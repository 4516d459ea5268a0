"""Budget amounts are parsed and formatted without loss."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.domain import amounts


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("20", "usd", 20_000_000),
        ("$20", "usd", 20_000_000),
        (" 0.50 ", "usd", 500_000),
        (".5", "usd", 500_000),
        ("7.", "usd", 7_000_000),
        ("1,234.000001", "usd", 1_234_000_001),
        ("0.1", "usd", 100_000),
        ("0", "usd", 0),
        ("1000000", "tokens", 1_000_000),
        ("1,000,000", "tokens", 1_000_000),
    ],
)
def test_an_amount_is_parsed(text: str, unit: str, amount: int) -> None:
    assert amounts.parse(text, unit=unit) == amount


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        *((text, "usd") for text in ("", ".", "$", "-1", "+1", "1e3", "nan", "1.0000001", "1,00", "1 000", "٣", "0x1")),
        *((text, "tokens") for text in ("", "1.5", "-1", "1e6", "$5", "1,0", "9" * 16)),
        ("9" * 16, "usd"),
    ],
)
def test_an_invalid_amount_raises_a_message_for_users(text: str, unit: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)enter"):
        amounts.parse(text, unit=unit)


@given(st.integers(min_value=0, max_value=10**15 - 1), st.sampled_from(["usd", "tokens"]))
def test_an_amount_in_an_input_field_is_parsed_back(amount: int, unit: str) -> None:
    assert amounts.parse(amounts.to_input(amount, unit=unit), unit=unit) == amount


@pytest.mark.parametrize(
    ("amount", "text"), [(20_000_000, "20.00"), (12, "0.000012"), (1_500_000, "1.50"), (0, "0.00")]
)
def test_dollars_have_all_significant_decimals_and_at_least_two(amount: int, text: str) -> None:
    assert amounts.to_input(amount, unit="usd") == text


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("20/month", ("usd", "month", 20_000_000)),
        ("$0.50/day", ("usd", "day", 500_000)),
        ("1000000tokens/week", ("tokens", "week", 1_000_000)),
        ("1,000 tokens/total", ("tokens", "total", 1_000)),
    ],
)
def test_a_budget_is_parsed(text: str, spec: tuple[str, str, int]) -> None:
    assert amounts.parse_budget(text) == spec


@pytest.mark.parametrize("text", ["20", "20/year", "/month", "month/20", "20tokens", "x/day", "1.5tokens/day"])
def test_an_invalid_budget_raises_a_message_for_users(text: str) -> None:
    with pytest.raises(ValueError, match="Enter"):
        amounts.parse_budget(text)
