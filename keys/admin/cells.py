"""HTML of key conditions and budget statuses in lists and on pages."""

from collections.abc import Iterable

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from keys.budgets.status import BudgetStatus
from keys.domain.amounts import PERIOD_ADJECTIVES, format_exact
from keys.hygiene.conditions import Condition
from lib import money
from lib.admin.cells import badge, bar


def condition_badges(conditions: Iterable[Condition]) -> SafeString:
    """Return a badge for each condition."""
    badges = ((badge(each.badge, kind=each.kind),) for each in conditions)
    return format_html('<span class="chips">{}</span>', format_html_join(" ", "{}", badges))


def budget_bar(status: BudgetStatus, *, with_scope: bool = True) -> SafeString:
    """Return the usage bar of a budget with its description. `with_scope` marks a team's budget as such."""
    kind = "bad" if status.remaining == 0 else "warn" if status.is_above_alert_threshold else "good"
    whose = "the team's " if status.scope == "team" and with_scope else ""
    budget = status.budget
    used = format_exact(status.used, budget.unit)
    title = f"{used} used or reserved of {whose or 'the '}{PERIOD_ADJECTIVES[budget.period]} budget"
    limit = money.short(status.limit) if budget.unit == "usd" else format_exact(status.limit, budget.unit)
    text = f"{status.percent} % of {whose}{limit} {budget.get_period_display()}"
    svg = bar(status.percent, kind=kind)
    return format_html('<span class="budget" title="{}">{} <span>{}</span></span>', title, svg, text)
