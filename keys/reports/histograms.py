"""Latency histograms: merged by addition, and read as percentiles within 5 % of the exact ones. Pure."""

from collections import Counter
from collections.abc import Iterable

from keys.domain import latency_buckets


class Histogram:
    """The number of requests in each bucket of `keys.domain.latency_buckets`."""

    def __init__(self, counts: Iterable[tuple[int, int]] = ()) -> None:
        """Create a histogram of pairs of a bucket and a number of requests. A bucket may occur more than once."""
        self._counts: Counter[int] = Counter()
        for bucket, requests in counts:
            self._counts[bucket] += requests

    def __add__(self, other: "Histogram") -> "Histogram":
        return Histogram([*self._counts.items(), *other._counts.items()])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self._counts == other._counts

    __hash__ = None  # type: ignore[assignment]

    @property
    def requests(self) -> int:
        return self._counts.total()

    def percentile(self, percent: int) -> float | None:
        """Return the value that `percent` of the requests do not exceed, in milliseconds; None without requests.

        It is the middle of the bucket that contains the exact percentile by nearest rank, so it differs from that by
        at most `latency_buckets.MAX_ERROR`.
        """
        rank = max(1, -(-self.requests * percent // 100))
        for bucket in sorted(self._counts):
            rank -= self._counts[bucket]
            if rank <= 0:
                return latency_buckets.middle(bucket)
        return None
