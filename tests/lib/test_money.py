"""Amounts in micro-dollars and pico-dollars are parsed, converted and formatted without loss."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.domain.amounts import format_amount
from lib import money


@pytest.mark.parametrize(
    "text, micros",
    [
        ("12", 12_000_000),
        ("12.5", 12_500_000),
        ("$1,234.50", 1_234_500_000),
        ("$ 3", 3_000_000),
        (" 0.000001 ", 1),
        (".5", 500_000),
        ("7.", 7_000_000),
        ("0", 0),
        ("1.5000000000", 1_500_000),
        ("1000000000", money.LARGEST),
    ],
)
def test_an_amount_is_parsed_exactly(text: str, micros: int) -> None:
    assert money.parse(text) == micros


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "such as 12.50"),
        (".", "such as 12.50"),
        ("$", "such as 12.50"),
        ("-1", "such as 12.50"),
        ("1,5", "such as 12.50"),
        ("1,234,5.00", "such as 12.50"),
        ("1e3", "such as 12.50"),
        ("NaN", "such as 12.50"),
        ("Infinity", "such as 12.50"),
        ("\N{ARABIC-INDIC DIGIT ONE}", "such as 12.50"),
        ("1 000", "such as 12.50"),
        ("0.0000001", "at most six decimals"),
        ("1000000000.01", "at most 1,000,000,000 dollars"),
        ("9" * 5000, "at most 1,000,000,000 dollars"),
    ],
)
def test_an_invalid_amount_raises_a_message_for_users(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        money.parse(text)


@pytest.mark.parametrize(
    "micros, shown",
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (12, "$0.000012"),
        (12_500_000, "$12.50"),
        (12_345_678, "$12.345678"),
        (1_234_000_000, "$1,234.00"),
        (-500_000, "-$0.50"),
    ],
)
def test_a_small_amount_is_not_formatted_as_zero(micros: int, shown: str) -> None:
    assert money.dollars(micros) == shown
    assert micros < 0 or format_amount(micros, "usd") == shown


@pytest.mark.parametrize(
    "picos, shown",
    [
        (0, "$0.00"),
        (1, "$0.000000000001"),
        (2_900_000, "$0.0000029"),
        (2_950_000, "$0.000003"),
        (12_000_000, "$0.000012"),
        (123_000_000, "$0.00012"),
        (1_234_000_000, "$0.0012"),
        (12_345_000_000, "$0.012"),
        (123_456_000_000, "$0.12"),
        (999_999_000_000, "$1.00"),
        (12_344_999_999_999, "$12.34"),
        (12_345_000_000_000, "$12.35"),
        (1_234_567_890_123_000_000, "$1,234,567.89"),
        (-5_000_000, "-$0.000005"),
    ],
)
def test_a_short_amount_is_rounded_once_and_not_formatted_as_zero(picos: int, shown: str) -> None:
    assert money.short(picos) == shown


@given(st.integers(min_value=0, max_value=money.LARGEST))
def test_a_formatted_amount_is_parsed_back(micros: int) -> None:
    assert money.parse(money.plain(micros)) == money.parse(money.dollars(micros)) == micros


@pytest.mark.parametrize(
    "picos, shown, decimal",
    [
        (0, "$0.00", "0.000000"),
        (1, "$0.000000000001", "0.000000000001"),
        (150_000, "$0.00000015", "0.00000015"),
        (3_702_000_000, "$0.003702", "0.003702"),
        (12_500_000_000_000, "$12.50", "12.500000"),
        (-2_900_000, "-$0.0000029", "-0.0000029"),
        (10**21, "$1,000,000,000.00", "1000000000.000000"),
        (10**40 + 1, f"$10{',000' * 9}.000000000001", f"1{'0' * 28}.000000000001"),
    ],
)
def test_an_exact_amount_has_all_its_digits(picos: int, shown: str, decimal: str) -> None:
    assert (money.exact(picos), money.decimal(picos)) == (shown, decimal)


PICOS = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@given(PICOS)
def test_a_decimal_string_is_the_amount(picos: int) -> None:
    text = money.decimal(picos)

    assert Fraction(text) == Fraction(picos, 10**12)
    assert 6 <= len(text.partition(".")[2]) <= 12


@given(st.lists(PICOS))
def test_the_sums_of_both_parts_are_the_sum_of_the_amounts(amounts: list[int]) -> None:
    parts = [money.split(amount) for amount in amounts]

    assert money.join(sum(micros for micros, _ in parts), sum(rest for _, rest in parts)) == sum(amounts)
    assert all(abs(rest) < money.PICOS_PER_MICRO for _, rest in parts)


@given(PICOS)
def test_an_amount_is_rounded_up_to_the_next_micro_dollar(picos: int) -> None:
    assert 0 <= money.picos(money.rounded_up(picos)) - picos < money.PICOS_PER_MICRO
