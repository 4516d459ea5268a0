"""
Buckets of latency histograms: logarithmic, with whole milliseconds as bounds. Pure.

The middle of a bucket differs from each of its values by at most 5 % of the value. Buckets up to 9 ms hold one value
each. A change of the bounds makes the stored histograms wrong until `rollup_usage --repair` has counted again.
"""

from bisect import bisect_left

MAX_ERROR = 0.05
"""The largest difference between a value and the middle of its bucket, relative to the value."""
_SPREAD = (21, 19)  # the last value of a bucket is at most (1 + MAX_ERROR) / (1 - MAX_ERROR) of the first
LARGEST = 2**31 - 1
"""The largest number of milliseconds that a usage record can have. Larger values are in the last bucket too."""


def _last_values() -> list[int]:
    found = [0]
    while found[-1] < LARGEST:
        first = found[-1] + 1
        found.append(first * _SPREAD[0] // _SPREAD[1])
    return found


LAST_VALUES = _last_values()
"""The last value of each bucket, by its number."""


def bucket_of(value: int) -> int:
    """Return the number of the bucket of a value, which is not negative."""
    return min(bisect_left(LAST_VALUES, value), len(LAST_VALUES) - 1)


def bounds_of(bucket: int) -> tuple[int, int]:
    """Return the first and the last value of a bucket."""
    return (LAST_VALUES[bucket - 1] + 1 if bucket else 0), LAST_VALUES[bucket]


def middle(bucket: int) -> float:
    """Return the value from which the first and the last value differ by the same part of themselves."""
    first, last = bounds_of(bucket)
    return 2 * first * last / (first + last) if bucket else 0.0
