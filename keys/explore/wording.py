"""Values of measures in words, and their change."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from keys.explore.intervals import Interval, is_midnight, local
from keys.explore.measures import UsageMeasure
from lib import money
from lib.admin import cells


def value(measure: UsageMeasure, number: float | None) -> str:
    """Format a value of a measure; a dash where it has none, `unpriced` for a cost."""
    if number is None:
        return "unpriced" if measure.name == "cost" else cells.NONE
    if measure.unit == "usd":
        return money.short(round(number))
    if measure.unit == "share":
        return percent(number)
    if measure.unit == "ms":
        return cells.milliseconds(round(number))
    return f"{number:,.1f}" if measure.unit == "speed" else f"{number:,.0f}"


def exact(measure: UsageMeasure, number: float | None) -> str:
    """Return all digits of a value, where `value` rounds them."""
    return money.exact(round(number)) if measure.unit == "usd" and number is not None else ""


def percent(share: float) -> str:
    """Format a share. Only exact values become 0 % or 100 %."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %".replace(".0 %", " %")


def change(measure: UsageMeasure, now: float | None, before: float | None) -> str:
    """Format the change of a value: relative, or in percentage points for shares. A dash without both values."""
    if now is None or before is None:
        return cells.NONE
    if measure.unit == "share":
        return f"{100 * (now - before):+.1f} pp"
    if not before:
        return "new" if now else "±0 %"
    relative = 100 * (now - before) / abs(before)
    return "> +999 %" if relative > 999 else f"{relative:+.1f} %" if abs(relative) < 10 else f"{relative:+.0f} %"


def moment(when: datetime) -> str:
    """Format a moment in the reporting time zone, without the time at midnight."""
    shown = local(when)
    return f"{shown:%-d %b %Y}" if is_midnight(when) else f"{shown:%-d %b %Y %H:%M}"


def interval(shown: Interval) -> str:
    """Name an interval: whole days by the last one that is in it."""
    last = shown.end - timedelta(microseconds=1)
    if is_midnight(shown.begin) and is_midnight(shown.end):
        days = [f"{local(each):%-d %b %Y}" for each in (shown.begin, last)]
        return days[0] if days[0] == days[1] else f"{days[0]} to {days[1]}"
    return f"{moment(shown.begin)} to {moment(shown.end)}"


def bucket(begin: datetime, name: str) -> str:
    """Name a bucket of a chart."""
    formats = {"month": "%b %Y", "week": "%-d %b", "day": "%-d %b"}
    return f"{local(begin):{formats.get(name, '%-d %b %H:%M')}}"


def trend(values: Sequence[float | None], most: int = 40) -> list[int]:
    """Return at most some heights from 0 to 1000 for a small chart: of several buckets, the largest."""
    size = -(-len(values) // most)
    largest = [max(each or 0 for each in values[first : first + size]) for first in range(0, len(values), size)]
    top = max([*largest, 0])
    return [round(1000 * max(0, each) / top) if top > 0 else 0 for each in largest]
