"""Exact factors on prices, as integers in ten-thousandths. Pure."""

from decimal import Decimal

ONE = 10_000
"""The factor 1."""
MAX_FACTOR = 1000
PLACES = 4
EXAMPLE = "Enter a factor greater than 0 with at most 4 decimals, such as 1.1."


def from_decimal(factor: Decimal | str) -> int:
    """Return a factor in ten-thousandths. Raise ValueError, with a message for users, if it is not a valid factor."""
    try:
        number = Decimal(factor)
    except ArithmeticError:
        raise ValueError(EXAMPLE) from None
    if not number.is_finite() or not 0 < number <= MAX_FACTOR or number.scaleb(PLACES) % 1:
        raise ValueError(EXAMPLE if number.is_nan() or number <= MAX_FACTOR else f"Enter at most {MAX_FACTOR}.")
    return int(number.scaleb(PLACES))


def to_decimal(factor: int) -> Decimal:
    """Reverse `from_decimal`: 1.1 for 11,000."""
    return Decimal(factor).scaleb(-PLACES)


def text(factor: int) -> str:
    """Format without trailing zeros: `1.1`, `2`, `0.5`."""
    whole, part = divmod(factor, ONE)
    return f"{whole}.{part:04}".rstrip("0").removesuffix(".")
