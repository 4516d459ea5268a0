"""Measures of questions: figures of a set of requests, and which records each of them counts."""

from dataclasses import dataclass

from keys.models import UsageRecord

Status = UsageRecord.Status
ADMITTED = tuple(status for status in Status.values if status != Status.REJECTED)
ERRORS = (str(Status.FAILED), str(Status.INTERRUPTED))


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageMeasure:
    """A figure that a question asks for."""

    name: str
    """As in URLs."""
    label: str
    outcomes: tuple[str, ...] = ()
    """The outcomes of the records that it counts. Empty: all, of which those without the figure add nothing."""


MEASURES: dict[str, UsageMeasure] = {
    measure.name: measure
    for measure in (
        UsageMeasure(name="requests", label="Requests", outcomes=ADMITTED),
        UsageMeasure(name="cost", label="Cost"),
        UsageMeasure(name="tokens", label="Tokens"),
        UsageMeasure(name="input_tokens", label="Input tokens"),
        UsageMeasure(name="output_tokens", label="Output tokens"),
        UsageMeasure(name="cache_read_tokens", label="Cache read tokens"),
        UsageMeasure(name="cache_write_tokens", label="Cache write tokens"),
        UsageMeasure(name="errors", label="Errors", outcomes=ERRORS),
        UsageMeasure(name="error_rate", label="Error rate", outcomes=ERRORS),
        UsageMeasure(name="rejected", label="Rejected", outcomes=(str(Status.REJECTED),)),
        UsageMeasure(name="latency_p50", label="Latency p50"),
        UsageMeasure(name="latency_p95", label="Latency p95"),
        UsageMeasure(name="latency_p99", label="Latency p99"),
        UsageMeasure(name="ttft_p50", label="Time to first token p50"),
        UsageMeasure(name="ttft_p95", label="Time to first token p95"),
        UsageMeasure(name="ttft_p99", label="Time to first token p99"),
        UsageMeasure(name="output_speed", label="Output tokens per second"),
        UsageMeasure(name="cache_hit_rate", label="Cache hit rate"),
        UsageMeasure(name="cache_savings", label="Saved by the cache"),
    )
}
DEFAULT = "cost"
