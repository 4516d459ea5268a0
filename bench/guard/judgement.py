"""Judgement: whether measured ratios are above the limit, with the uncertainty of their median."""

import math
import statistics
from dataclasses import dataclass
from enum import Enum

TOLERANCE = 1.15
CONFIDENCE = 0.95


class Verdict(Enum):
    WITHIN = "within the limit"
    ABOVE = "above the limit"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Interval:
    """The median of ratios and its confidence interval."""

    low: float
    median: float
    high: float


def interval_of_median(values: list[float]) -> Interval:
    """Return the interval between two order statistics, which assumes nothing about the distribution."""
    ordered, count = sorted(values), len(values)
    rank = _rank(count)
    return Interval(ordered[rank], statistics.median(ordered), ordered[count - 1 - rank])


def _rank(count: int) -> int:
    """Return how many values may be dropped from each end, so that the others still enclose the median."""
    outside, rank = 0.0, 0
    for k in range(count // 2):
        outside += math.comb(count, k) / 2**count
        if 2 * outside > 1 - CONFIDENCE:
            break
        rank = k
    return rank


def judge(changes: list[float]) -> Verdict:
    """Compare with the limit: decided if the whole interval is on one side of it."""
    interval = interval_of_median(changes)
    if interval.high <= TOLERANCE:
        return Verdict.WITHIN
    return Verdict.ABOVE if interval.low > TOLERANCE else Verdict.UNDECIDED


def judge_finally(changes: list[float]) -> Verdict:
    """Compare the median, after the last round."""
    return Verdict.ABOVE if statistics.median(changes) > TOLERANCE else Verdict.WITHIN
