"""Numbers, amounts and moments as people read them."""

from datetime import datetime

from django import template
from django.utils.safestring import SafeString

from keys.domain.amounts import format_amount
from keys.reports.totals import Totals
from lib import money as amounts
from lib.admin import cells

register = template.Library()
register.filter("milliseconds", cells.milliseconds)


@register.filter
def moment(value: datetime | None, none: str = cells.NONE) -> SafeString | str:
    """How long ago or ahead, with the exact moment as its title."""
    return cells.moment(value, none=none)


@register.filter
def exact(value: datetime | None, none: str = cells.NONE) -> SafeString | str:
    return cells.exact(value, none=none)


@register.filter
def amount(value: int, unit: str) -> str:
    """Micro-dollars or tokens, with their unit."""
    return format_amount(value, unit)


@register.filter
def about(value: int, unit: str) -> str:
    """The same, of a value that nobody knows exactly: dollars to the cent, as long as there are cents."""
    return format_amount(value // 10_000 * 10_000 if unit == "usd" and value >= 10_000 else value, unit)


@register.filter
def cost_of(micros: int | None, unpriced: int = 0) -> str:
    """What calls cost: a dash where none has a price, and a plus where some have none."""
    if micros is None or (unpriced and not micros):
        return "unpriced"
    return format_amount(micros, "usd") + (" +" if unpriced else "")


@register.filter
def count(value: int | None) -> str:
    """1234567 → 1,234,567; a dash for a number that nobody said."""
    return cells.count(value)


@register.filter
def share(part: int, whole: int) -> str:
    """A part as a percentage; never 0 % or 100 % for what is not quite that."""
    if not whole:
        return "\N{EN DASH}"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %".replace(".0 %", " %")


@register.filter
def money(micros: int) -> str:
    """Micro-dollars to look at, never rounded to nothing."""
    return amounts.short(micros)


@register.filter
def exact_money(micros: int) -> str:
    """Micro-dollars with all their digits."""
    return amounts.dollars(micros)


@register.filter
def unrounded_money(millionths: int) -> str:
    """Millionths of a micro-dollar with all their digits."""
    return amounts.unrounded(millionths)


@register.filter
def cost(totals: Totals) -> str:
    """What calls cost, as far as their models have a price; in words where none has."""
    return "unpriced" if totals.is_unpriced else amounts.short(totals.cost_micros)


@register.filter
def error_rate(totals: Totals) -> str:
    """Return the share of errors among finished requests."""
    return share(totals.errors, totals.finished)
