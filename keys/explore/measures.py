"""Measures of questions: figures of a set of requests, and which records each of them counts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from keys.explore.figures import SAVINGS_PARTS, Figures
from keys.models import HourlyLatency, UsageRecord
from keys.reports.totals import COST_PARTS

Status = UsageRecord.Status
ADMITTED = tuple(str(status) for status in Status.values if status != Status.REJECTED)
ERRORS = (str(Status.FAILED), str(Status.INTERRUPTED))
_INPUT = ("input_tokens", "cache_read_tokens", "cache_write_tokens")
_ERRORS = ("client_errors", "upstream_errors")
_FINISHED = ("completed", "client_disconnected", *_ERRORS)
DURATION, TTFT = (str(each) for each in HourlyLatency.Measure.values)


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageMeasure:
    """A figure that a question asks for."""

    name: str
    """As in URLs."""
    label: str
    unit: str
    """`count`, `usd` (pico-dollars), `share`, `ms` or `speed` (tokens per second)."""
    value: Callable[[Figures], float | None]
    """None where it has no meaning, for example a rate of no requests."""
    columns: tuple[str, ...] = ()
    """The columns of figures that it is computed from."""
    latency: str = ""
    """The histogram that it is computed from."""
    is_sum: bool = True
    """Whether the values of parts add up to that of the whole."""
    outcomes: tuple[str, ...] = ()
    """The outcomes of the records that it counts. Empty: all, of which those without the figure add nothing."""


def _rate(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _cost(figures: Figures) -> float | None:
    return None if figures.totals.is_unpriced else figures.totals.cost_picos


def _percentile(latency: str, percent: int, figures: Figures) -> float | None:
    return (figures.duration if latency == DURATION else figures.ttft).percentile(percent)


def _total(name: str, label: str, columns: tuple[str, ...], outcomes: tuple[str, ...] = ()) -> UsageMeasure:
    """Return a measure that is a figure of the totals."""

    def value(figures: Figures) -> int:
        found: int = getattr(figures.totals, name)
        return found

    return UsageMeasure(name=name, label=label, unit="count", value=value, columns=columns, outcomes=outcomes)


def _latency(name: str, label: str, latency: str, percent: int) -> UsageMeasure:
    return UsageMeasure(
        name=f"{name}_p{percent}",
        label=f"{label} p{percent}",
        unit="ms",
        value=partial(_percentile, latency, percent),
        latency=latency,
        is_sum=False,
    )


MEASURES: dict[str, UsageMeasure] = {
    measure.name: measure
    for measure in (
        _total("requests", "Requests", (*_FINISHED, "in_flight"), ADMITTED),
        UsageMeasure(name="cost", label="Cost", unit="usd", value=_cost, columns=(*COST_PARTS, "unpriced", *_FINISHED)),
        _total("tokens", "Tokens", (*_INPUT, "output_tokens")),
        _total("all_input_tokens", "Input tokens", _INPUT),
        _total("input_tokens", "Uncached input tokens", ("input_tokens",)),
        _total("cache_read_tokens", "Cache read tokens", ("cache_read_tokens",)),
        _total("cache_write_tokens", "Cache write tokens", ("cache_write_tokens",)),
        _total("output_tokens", "Output tokens", ("output_tokens",)),
        _total("errors", "Errors", _ERRORS, ERRORS),
        UsageMeasure(
            name="error_rate",
            label="Error rate",
            unit="share",
            value=lambda figures: _rate(figures.totals.errors, figures.totals.finished),
            columns=_FINISHED,
            is_sum=False,
            outcomes=ERRORS,
        ),
        _total("rejected", "Rejected", ("rejected",), (str(Status.REJECTED),)),
        *(_latency("latency", "Latency", DURATION, percent) for percent in (50, 95, 99)),
        *(_latency("ttft", "Time to first token", TTFT, percent) for percent in (50, 95, 99)),
        UsageMeasure(
            name="output_speed",
            label="Output tokens per second",
            unit="speed",
            value=lambda figures: _rate(1000 * figures.totals.output_tokens, figures.duration_ms),
            columns=("output_tokens", "duration_ms"),
            is_sum=False,
        ),
        UsageMeasure(
            name="cache_hit_rate",
            label="Cache hit rate",
            unit="share",
            value=lambda figures: _rate(figures.totals.cache_read_tokens, figures.totals.all_input_tokens),
            columns=_INPUT,
            is_sum=False,
        ),
        UsageMeasure(
            name="cache_savings",
            label="Saved by the cache",
            unit="usd",
            value=lambda figures: figures.cache_savings_picos,
            columns=SAVINGS_PARTS,
        ),
    )
}
DEFAULT = "cost"
