"""HTML of single values in lists and on pages. Color never carries a meaning alone."""

from collections.abc import Sequence
from datetime import datetime

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil

NONE = "\N{EN DASH}"


def badge(word: str, *, kind: str) -> SafeString:
    """Return a word with a colored mark. `kind` is good, warn, bad or quiet; style sheets give it color and shape."""
    return format_html('<span class="badge badge-{}">{}</span>', kind, word.replace("_", " ").capitalize())


def moment(value: datetime | None, *, none: str = NONE) -> SafeString | str:
    """Return the relative time, with the exact time in the reporting time zone as its title."""
    if value is None:
        return none
    local = timezone.localtime(value)
    now = timezone.now()
    # One unit is enough to read; the title has the rest.
    words = f"in {timeuntil(value, now, depth=1)}" if value > now else f"{timesince(value, now, depth=1)} ago"
    if abs(value - now).total_seconds() < 60:
        words = "now"
    title = f"{local:%Y-%m-%d %H:%M:%S %Z}"
    return format_html('<time datetime="{}" title="{}">{}</time>', local.isoformat(), title, words)


def exact(value: datetime | None, *, none: str = NONE) -> SafeString | str:
    """Return the exact time in the reporting time zone."""
    if value is None:
        return none
    local = timezone.localtime(value)
    return format_html('<time datetime="{}">{}</time>', local.isoformat(), f"{local:%Y-%m-%d %H:%M:%S}")


def count(value: int | None) -> str:
    """Return a number with separators; a dash for None, a number that was not reported."""
    return NONE if value is None else f"{value:,}"


def milliseconds(value: int | None) -> str:
    """Return a duration in ms below ten seconds, in s from there on."""
    if value is None:
        return NONE
    return f"{value:,} ms" if value < 10_000 else f"{value / 1000:,.1f} s"


def code(text: str) -> SafeString | str:
    """Return text in the code font; a dash for empty text."""
    return format_html("<code>{}</code>", text) if text else NONE


def bar(percent: int, *, kind: str = "good") -> SafeString:
    """Return a usage bar. The text beside it has to state the value: the bar is hidden from screen readers."""
    return format_html(
        '<svg class="bar bar-{}" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<rect class="bar-all" width="100" height="6"/><rect class="bar-part" width="{}" height="6"/></svg>',
        kind,
        max(0, min(100, percent)),
    )


def sparkline(values: Sequence[int]) -> SafeString:
    """Return one bar per value. The text beside it has to state their sum: the bars are hidden from screen readers."""
    highest = max([*values, 1])
    bars = format_html_join(
        "",
        '<rect x="{}" y="{}" width="7" height="{}"/>',
        ((i * 10, 22 - height, height) for i, height in enumerate(_height(value, highest) for value in values)),
    )
    return format_html(
        '<svg class="sparkline" viewBox="0 0 {} 22" fill="currentColor" aria-hidden="true" focusable="false">{}</svg>',
        len(values) * 10 - 3,
        bars,
    )


def _height(value: int, highest: int) -> int:
    """Return the height of a bar. A value of 1 is always higher than 0, whatever the highest is."""
    return max(2, round(20 * value / highest)) if value else 1
