"""Numbers as people read them."""

from django import template

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
