"""Template filters that format numbers, amounts, shares and times."""

from datetime import datetime

from django import template
from django.utils.safestring import SafeString

from keys.domain.amounts import format_amount, format_exact
from keys.reports.totals import Totals
from lib import money
from lib.admin import cells

register = template.Library()
register.filter("milliseconds", cells.milliseconds)


@register.filter
def moment(value: datetime | None, none: str = cells.NONE) -> SafeString | str:
    """Return a relative time, with the exact time as its title."""
    return cells.moment(value, none=none)


@register.filter
def exact(value: datetime | None, none: str = cells.NONE) -> SafeString | str:
    return cells.exact(value, none=none)


@register.filter
def amount(value: int, unit: str) -> str:
    """Format micro-dollars or tokens, with the unit."""
    return format_amount(value, unit)


@register.filter
def exact_amount(value: int, unit: str) -> str:
    """Format pico-dollars or tokens, with the unit."""
    return format_exact(value, unit)


@register.filter
def about(value: int, unit: str) -> str:
    """Format an estimated amount: pico-dollars are rounded to cents, or to two digits below one; tokens are exact."""
    return money.short(value) if unit == "usd" else format_exact(value, unit)


@register.filter
def cost_of(picos: int | None, unpriced: int = 0) -> str:
    """Format a cost with all digits: `unpriced` if no request has a price, a trailing plus if some have none."""
    if picos is None or (unpriced and not picos):
        return "unpriced"
    return money.exact(picos) + (" +" if unpriced else "")


@register.filter
def count(value: int | None) -> str:
    """Format 1234567 as 1,234,567, and a number that was not reported as a dash."""
    return cells.count(value)


@register.filter
def share(part: int, whole: int) -> str:
    """Format a share as a percentage. Only exact values become 0 % or 100 %."""
    if not whole:
        return cells.NONE
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %".replace(".0 %", " %")


@register.filter
def cost(totals: Totals) -> str:
    """Format the cost of the priced requests; `unpriced` if none has a price."""
    return "unpriced" if totals.is_unpriced else money.short(totals.cost_picos)


@register.filter
def error_rate(totals: Totals) -> str:
    """Format the share of errors among finished requests."""
    return share(totals.errors, totals.finished)
