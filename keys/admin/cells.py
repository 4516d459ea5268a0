"""How values look in lists and on pages: never by colour alone, and moments with their exact time."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil

from keys.budgets.status import BudgetStatus
from keys.domain.amounts import PERIOD_ADJECTIVES, format_amount
from keys.hygiene.conditions import Condition
from lib import money

NONE = "\N{EN DASH}"


def badge(word: str, *, kind: str) -> SafeString:
    """A word with a coloured mark. `kind` is good, warn, bad or quiet: the stylesheet gives it colour and shape."""
    return format_html('<span class="badge badge-{}">{}</span>', kind, word.replace("_", " ").capitalize())


def moment(value: datetime | None, *, none: str = NONE) -> SafeString | str:
    """How long ago or ahead, with the exact moment in the reporting time zone as its title."""
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
    """The exact moment in the reporting time zone."""
    if value is None:
        return none
    local = timezone.localtime(value)
    return format_html('<time datetime="{}">{}</time>', local.isoformat(), f"{local:%Y-%m-%d %H:%M:%S}")


def count(value: int | None) -> str:
    """A number with separators, or a dash for one that nobody said."""
    return NONE if value is None else f"{value:,}"


def milliseconds(value: int | None) -> str:
    if value is None:
        return NONE
    return f"{value:,} ms" if value < 10_000 else f"{value / 1000:,.1f} s"


def code(text: str) -> SafeString | str:
    return format_html("<code>{}</code>", text) if text else NONE


def bar(percent: int, *, kind: str = "good") -> SafeString:
    """How much of something is used, to be seen beside the words that say it."""
    return format_html(
        '<svg class="bar bar-{}" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<rect class="bar-all" width="100" height="6"/><rect class="bar-part" width="{}" height="6"/></svg>',
        kind,
        max(0, min(100, percent)),
    )


def sparkline(values: Sequence[int]) -> SafeString:
    """A bar for each value, to be seen beside their sum."""
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
    """A day with one call must not look like a day without."""
    return max(2, round(20 * value / highest)) if value else 1


def chips(conditions: Iterable[Condition]) -> SafeString:
    """What a key is, as badges."""
    badges = ((badge(each.badge, kind=each.kind),) for each in conditions)
    return format_html('<span class="chips">{}</span>', format_html_join(" ", "{}", badges))


def standing(budget: BudgetStatus, *, is_own: bool = False) -> SafeString:
    """How a budget stands: a bar, and beside it in words what it shows. `is_own`: whose it is need not be said."""
    kind = "bad" if budget.left == 0 else "warn" if budget.is_near else "good"
    whose = "the team's " if budget.scope == "team" and not is_own else ""
    unit = budget.budget.unit
    used = format_amount(budget.spent + budget.reserved, unit)
    title = f"{used} spent or held of {whose or 'the '}{PERIOD_ADJECTIVES[budget.budget.period]} budget"
    limit = money.short(budget.limit) if unit == "usd" else format_amount(budget.limit, unit)
    words = f"{budget.percent} % of {whose}{limit} {budget.budget.get_period_display()}"
    svg = bar(budget.percent, kind=kind)
    return format_html('<span class="budget" title="{}">{} <span>{}</span></span>', title, svg, words)
