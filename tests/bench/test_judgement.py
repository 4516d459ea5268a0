"""The judgement of the guard: an unchanged revision passes, one that is slower by 30 % does not."""

import random

import pytest

from bench.guard.judgement import TOLERANCE, Interval, Verdict, interval_of_median, judge, judge_finally

SLICE_NOISE, PROCESS_NOISE = 0.12, 0.08
"""Standard deviations that were measured on a busy machine: of a slice, and of a pair of processes."""


def slices(chance: random.Random, *, growth: float, starts: int) -> list[float]:
    """Return ratios as the guard measures them: four per start of the processes."""
    found = []
    for _ in range(starts):
        of_process = chance.gauss(1, PROCESS_NOISE)
        found += [growth * of_process * chance.gauss(1, SLICE_NOISE) for _ in range(4)]
    return found


def is_above(chance: random.Random, growth: float) -> bool:
    """Return whether the guard fails: above the limit in a measurement, and in its repetition."""
    for _ in range(2):
        starts = 3
        found = slices(chance, growth=growth, starts=starts)
        while judge(found) is Verdict.UNDECIDED and starts < 6:
            found += slices(chance, growth=growth, starts=1)
            starts += 1
        if judge_finally(found) is Verdict.WITHIN:
            return False
    return True


def test_an_unchanged_revision_passes_a_thousand_times() -> None:
    chance = random.Random(20261130)

    assert sum(is_above(chance, 1.0) for _ in range(1_000)) == 0


def test_a_request_that_is_slower_by_30_percent_is_caught() -> None:
    chance = random.Random(20261130)

    assert sum(is_above(chance, 1.3) for _ in range(1_000)) >= 980


def test_what_is_clear_is_decided_after_the_first_rounds() -> None:
    assert judge([1.0] * 12) is Verdict.WITHIN
    assert judge([1.3] * 12) is Verdict.ABOVE
    assert judge([1.0] * 6 + [1.3] * 6) is Verdict.UNDECIDED
    assert judge_finally([TOLERANCE + 0.01] * 7 + [1.0] * 5) is Verdict.ABOVE


@pytest.mark.parametrize(
    ("count", "low", "high"), [(1, 0, 0), (5, 0, 4), (8, 0, 7), (12, 2, 9), (20, 5, 14)], ids=lambda value: str(value)
)
def test_the_interval_encloses_the_median_with_95_percent(count: int, low: int, high: int) -> None:
    values = [float(number) for number in range(count)]

    assert interval_of_median(values) == Interval(low, (count - 1) / 2, high)
