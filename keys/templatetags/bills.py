"""Template filters of bills: amounts in pico-dollars, and dates that a result keeps as text."""

from django import template

from lib import money
from lib.admin import cells

register = template.Library()


@register.filter
def picos(value: int | None) -> str:
    """Format pico-dollars with all digits; a dash for an amount that a bill does not have."""
    return cells.NONE if value is None else money.exact(value)


@register.filter
def signed_picos(value: int) -> str:
    """Format a difference in pico-dollars, with its sign."""
    return f"+{money.exact(value)}" if value > 0 else money.exact(value)
