"""Drawing of the explorer's histogram: a stacked bar for each bucket, which leads to its part of the range."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from keys.admin.usage_records.selection import Selection
from keys.explore.figures import Figures
from keys.explore.histogram import RequestHistogram
from keys.explore.intervals import Interval, local
from keys.reports.charts import OUTCOMES

HEIGHT = 100
STEP = 10
"""Units from one bar to the next."""
_FORMATS = {"minute": "%d %b %H:%M", "5minutes": "%d %b %H:%M", "hour": "%d %b %H:%M", "month": "%b %Y"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """The part of a bar for one outcome."""

    color: int
    y: float
    height: float


@dataclass(frozen=True, kw_only=True, slots=True)
class HistogramBar:
    """The requests of one bucket."""

    label: str
    url: str
    x: int
    requests: int
    counts: list[int]
    """By outcome."""
    segments: list[Segment]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The histogram as the page shows it."""

    histogram: RequestHistogram
    selection: Selection

    @property
    def totals(self) -> object:
        return self.histogram.total.totals

    @property
    def requests(self) -> int:
        return _count(self.histogram.total)

    @property
    def width(self) -> int:
        return STEP * len(self.histogram.intervals)

    @cached_property
    def legend(self) -> list[tuple[str, int]]:
        """Label and number of the color of each outcome that occurs."""
        totals = self.histogram.total.totals
        return [(label, color) for name, (label, color) in OUTCOMES.items() if getattr(totals, name)]

    @cached_property
    def bars(self) -> list[HistogramBar]:
        highest = max(1, *map(_count, self.histogram.series))
        pairs = zip(self.histogram.intervals, self.histogram.series, strict=True)
        return [
            HistogramBar(
                label=self._label(interval),
                url=self.selection.within(interval).url(),
                x=STEP * number,
                requests=_count(found),
                counts=[getattr(found.totals, name) for name in OUTCOMES if getattr(self.histogram.total.totals, name)],
                segments=list(_segments(found, highest)),
            )
            for number, (interval, found) in enumerate(pairs)
        ]

    def _label(self, interval: Interval) -> str:
        return f"{local(interval.begin):{_FORMATS.get(self.histogram.bucket, '%d %b')}}"


def _segments(found: Figures, highest: int) -> Iterator[Segment]:
    """Yield the parts of a bar, from its foot. Any is a unit high at least, so that a single error is visible."""
    y = float(HEIGHT)
    for name, (_, color) in OUTCOMES.items():
        if count := getattr(found.totals, name):
            height = max(1.0, round(HEIGHT * count / highest, 2))
            y -= height
            yield Segment(color=color, y=round(y, 2), height=height)


def _count(found: Figures) -> int:
    """Return the number of requests, with the rejected ones."""
    return found.totals.requests + found.totals.rejected
