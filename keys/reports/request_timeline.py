"""Timeline of one request: its admission, attempts, first and last byte and settlement, in milliseconds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keys.models import UsageRecord
from lib import failure_reasons

Status = UsageRecord.Status

ROW_PX = 36
MARK_PX = 20
"""Heights of the rows of the drawing. Its width is that of the page, so that positions are percentages."""
SHORTEST = 0.5
"""Percent: a bar of no duration is visible."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A bar of the timeline: the admission, or an attempt."""

    label: str
    note: str = ""
    kind: str = "quiet"
    """good, bad or quiet."""
    begin_ms: int
    end_ms: int

    @property
    def duration_ms(self) -> int:
        return self.end_ms - self.begin_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A moment of the timeline."""

    label: str
    at_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TimelineBar:
    """A span as it is drawn."""

    span: Span
    x: str
    width: str
    y: int

    @property
    def label_y(self) -> int:
        return self.y + 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A mark as it is drawn."""

    mark: Mark
    x: str
    is_late: bool
    """Whether its label ends at it, instead of beginning there."""
    y: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """The spans and marks of a request, in the order of time, from the moment at which its body was read."""

    spans: list[Span]
    marks: list[Mark]

    @property
    def end_ms(self) -> int:
        return max([1, *(span.end_ms for span in self.spans), *(mark.at_ms for mark in self.marks)])

    @property
    def bars(self) -> list[TimelineBar]:
        return [
            TimelineBar(
                span=span,
                x=f"{min(self._percent(span.begin_ms), 100 - SHORTEST):.2f}%",
                width=f"{max(SHORTEST, self._percent(span.end_ms) - self._percent(span.begin_ms)):.2f}%",
                y=row * ROW_PX,
            )
            for row, span in enumerate(self.spans)
        ]

    @property
    def ticks(self) -> list[Tick]:
        return [
            Tick(
                mark=mark,
                x=f"{self._percent(mark.at_ms):.2f}%",
                is_late=self._percent(mark.at_ms) > 50,
                y=len(self.spans) * ROW_PX + (row + 1) * MARK_PX - 4,
            )
            for row, mark in enumerate(self.marks)
        ]

    @property
    def height(self) -> int:
        return len(self.spans) * ROW_PX + len(self.marks) * MARK_PX

    def _percent(self, at_ms: int) -> float:
        return 100 * max(0, at_ms) / self.end_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptLine:
    """An attempt in words and figures. None where nothing was stored."""

    number: int
    upstream: str
    model: str
    http_status: int | None
    at_ms: int | None
    first_byte_ms: int | None
    """From the start of the attempt."""
    ms: int | None
    error: str
    reason: str
    upstream_request_id: str
    tokens: str

    @property
    def is_failed(self) -> bool:
        return bool(self.error)


def attempts(record: UsageRecord) -> list[AttemptLine]:
    """Return the attempts in the order in which the gateway made them."""
    return [_line(number, attempt) for number, attempt in enumerate(record.attempts, 1) if isinstance(attempt, Mapping)]


def timeline(record: UsageRecord) -> Timeline | None:
    """Return the timeline of a settled request; None if it reached no upstream, or its times are not stored."""
    lines = [line for line in attempts(record) if line.at_ms is not None and line.ms is not None]
    if not lines:
        return None
    spans = [Span(label="Admission", begin_ms=0, end_ms=lines[0].at_ms or 0)]
    spans += [
        Span(
            label=f"Attempt {line.number}: {line.upstream}",
            note=line.reason or line.error,
            kind="bad" if line.is_failed else "good",
            begin_ms=line.at_ms or 0,
            end_ms=(line.at_ms or 0) + (line.ms or 0),
        )
        for line in lines
    ]
    return Timeline(spans=spans, marks=list(_marks(record, lines[-1])))


def _marks(record: UsageRecord, last: AttemptLine) -> Iterator[Mark]:
    if last.at_ms is not None and last.first_byte_ms is not None:
        yield Mark(label="First byte", at_ms=last.at_ms + last.first_byte_ms)
    if record.ttft_ms is not None:
        yield Mark(label="First token", at_ms=record.ttft_ms)
    if record.duration_ms is not None:
        ended = {Status.COMPLETED: "Last byte", Status.CLIENT_CLOSED: "Client disconnected"}
        yield Mark(label=ended.get(Status(record.status), "End"), at_ms=record.duration_ms)


def _line(number: int, attempt: Mapping[str, Any]) -> AttemptLine:
    return AttemptLine(
        number=number,
        upstream=_text(attempt.get("upstream")),
        model=_text(attempt.get("model")),
        http_status=_number(attempt.get("status")),
        at_ms=_number(attempt.get("at_ms")),
        first_byte_ms=_number(attempt.get("first_byte_ms")),
        ms=_number(attempt.get("ms")),
        error=_text(attempt.get("error")),
        reason=failure_reasons.label(_text(attempt.get("reason"))),
        upstream_request_id=_text(attempt.get("request_id")),
        tokens=", ".join(_tokens(attempt)),
    )


def _tokens(attempt: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tokens that a failed attempt may have been billed for."""
    for kind in ("input", "output", "cache_read", "cache_write"):
        if (count := _number(attempt.get(f"{kind}_tokens"))) is not None:
            yield f"{count:,} {kind.replace('_', ' ')}"
    source = attempt.get("usage_source")
    if source in UsageRecord.UsageSource:
        yield str(UsageRecord.UsageSource(str(source)).label).lower()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
