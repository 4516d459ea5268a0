"""Numbers as people read them."""

from django import template

from keys import money as amounts
from keys.sums import Sums

register = template.Library()


@register.filter
def count(value: int) -> str:
    """1234567 → 1,234,567."""
    return f"{value:,}"


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
def cost(sums: Sums) -> str:
    """What calls cost, as far as their models have a price; in words where none has."""
    if sums.unpriced and sums.unpriced == sums.ended:
        return "unpriced"
    return amounts.short(sums.cost)
