"""HTML of what a list or page of keys and teams shows of a key's conditions and of a budget."""

from collections.abc import Iterable

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from keys.budgets.status import BudgetStatus
from keys.domain.amounts import PERIOD_ADJECTIVES, format_amount
from keys.hygiene.conditions import Condition
from lib import money
from lib.admin.cells import badge, bar


def chips(conditions: Iterable[Condition]) -> SafeString:
    """What a key is, as badges."""
    badges = ((badge(each.badge, kind=each.kind),) for each in conditions)
    return format_html('<span class="chips">{}</span>', format_html_join(" ", "{}", badges))


def standing(budget: BudgetStatus, *, is_own: bool = False) -> SafeString:
    """How a budget stands: a bar, and beside it in words what it shows. `is_own`: whose it is need not be said."""
    kind = "bad" if budget.remaining == 0 else "warn" if budget.is_above_alert_threshold else "good"
    whose = "the team's " if budget.scope == "team" and not is_own else ""
    unit = budget.budget.unit
    used = format_amount(budget.spent + budget.reserved, unit)
    title = f"{used} spent or held of {whose or 'the '}{PERIOD_ADJECTIVES[budget.budget.period]} budget"
    limit = money.short(budget.limit) if unit == "usd" else format_amount(budget.limit, unit)
    words = f"{budget.percent} % of {whose}{limit} {budget.budget.get_period_display()}"
    svg = bar(budget.percent, kind=kind)
    return format_html('<span class="budget" title="{}">{} <span>{}</span></span>', title, svg, words)
