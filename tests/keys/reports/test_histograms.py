"""Percentiles of histograms lie within the stated error of the exact ones, whatever is merged in whatever order."""

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from random import Random

import pytest

from keys.domain.latency_buckets import LARGEST, LAST_VALUES, MAX_ERROR, bounds_of, bucket_of, middle
from keys.reports.histograms import Histogram

PERCENTS = (1, 5, 25, 50, 75, 90, 95, 99, 100)
ERROR = Fraction(str(MAX_ERROR))


def histogram(values: list[int]) -> Histogram:
    return Histogram(Counter(map(bucket_of, values)).items())


def exact(values: list[int], percent: int) -> int:
    return sorted(values)[max(1, -(-len(values) * percent // 100)) - 1]


DISTRIBUTIONS: dict[str, Callable[[Random], int]] = {
    "uniform": lambda random: random.randint(0, 100_000),
    "milliseconds": lambda random: random.randint(0, 30),
    "lognormal": lambda random: int(random.lognormvariate(7, 1.5)),
    "two modes": lambda random: random.randint(180, 220) if random.random() < 0.9 else random.randint(50_000, 60_000),
    "constant": lambda random: 777,
    "any number": lambda random: min(LARGEST, 2 ** random.randint(0, 31)),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_percentiles_are_within_five_percent(name: str) -> None:
    random = Random(name)
    for size in (1, 2, 3, 99, 100, 101, 5_000):
        values = [DISTRIBUTIONS[name](random) for _ in range(size)]
        for percent in PERCENTS:
            estimate, expected = histogram(values).percentile(percent), exact(values, percent)
            assert estimate is not None
            assert abs(Fraction(estimate) - expected) <= ERROR * expected + Fraction(1, 10**6), (size, percent)


def test_parts_that_are_merged_in_any_order_give_the_whole() -> None:
    random = Random(3)
    values = [int(random.lognormvariate(6, 2)) for _ in range(3_000)]
    parts = [histogram(values[begin : begin + 100]) for begin in range(0, 3_000, 100)]
    random.shuffle(parts)

    assert sum(parts, start=Histogram()) == histogram(values)
    assert sum(parts, start=Histogram()).requests == 3_000


def test_no_requests_have_no_percentile() -> None:
    assert Histogram().percentile(50) is None


def test_every_value_has_one_bucket_whose_middle_is_near() -> None:
    assert [bounds_of(bucket)[1] + 1 for bucket in range(len(LAST_VALUES) - 1)] == [
        bounds_of(bucket)[0] for bucket in range(1, len(LAST_VALUES))
    ]
    for bucket in range(len(LAST_VALUES)):
        first, last = bounds_of(bucket)
        assert bucket_of(first) == bucket_of(last) == bucket
        for value in (first, last):
            assert abs(Fraction(middle(bucket)) - value) <= ERROR * value + Fraction(1, 10**6)
    assert [bounds_of(bucket) for bucket in (0, 1, 9)] == [(0, 0), (1, 1), (9, 9)]
    assert LAST_VALUES[-1] >= LARGEST and len(LAST_VALUES) < 220
    assert bucket_of(10**15) == len(LAST_VALUES) - 1
