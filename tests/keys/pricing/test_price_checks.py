"""Whole rates: the check of a price agrees with all combinations of its modifiers."""

from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from keys.domain.price_checks import fractional_combination
from keys.domain.price_kinds import TOKEN_KINDS
from keys.domain.price_modifiers import Modifier
from keys.domain.prices import FractionalRate, Price, times
from tests.keys.pricing.books import price

factors = st.sampled_from([1, 5_000, 7_500, 9_300, 10_000, 11_000, 10_001, 15_000, 20_000, 33_333])
rates = st.sampled_from([1, 3, 16, 125, 10_000, 150_000, 2_000_000])
modifiers = st.lists(
    st.builds(
        Modifier.parsed,
        st.sampled_from(["speed", "service_tier", "region"]),
        st.sampled_from(["one", "two"]),
        input_factor=factors,
        output_factor=factors,
    ),
    max_size=4,
)


def is_whole(priced: Price, kind: str, combination: Any, price_factor: int) -> bool:
    applied = [modifier.factor(kind) for modifier in combination if modifier is not None]
    try:
        times(priced.rate(kind), [*applied, price_factor])
    except FractionalRate:
        return False
    return True


@given(rates, rates, st.none() | rates, modifiers, factors)
def test_a_fractional_combination_is_found_if_there_is_one(
    input: int, output: int, read: int | None, chosen: list[Modifier], price_factor: int
) -> None:
    priced = price(input=input, output=output, cache_read=read, modifiers=tuple(chosen))
    by_dimension: dict[str, list[Modifier | None]] = {}
    for modifier in chosen:
        by_dimension.setdefault(modifier.dimension, [None]).append(modifier)
    combinations = list(product(*by_dimension.values()))

    found = fractional_combination(priced, price_factor=price_factor)

    if found is None:
        assert all(is_whole(priced, kind, each, price_factor) for kind in TOKEN_KINDS for each in combinations)
    else:
        assert not is_whole(priced, found[0], found[1], price_factor)
