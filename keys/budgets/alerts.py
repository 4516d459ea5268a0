"""Budget alerts: notifications that a budget has reached its alert threshold."""

from django.conf import settings
from django.utils import timezone

from keys.budgets.period_rows import LockedPeriod
from keys.domain import amounts
from keys.domain.amounts import PERIOD_ADJECTIVES
from keys.models import Budget, BudgetPeriod, Notification
from lib import admin_links


def queue_if_due(row: BudgetPeriod | LockedPeriod) -> None:
    """Queue the alert of a period that has reached its threshold, once, in the transaction that spends the amount.

    Set its time, which the transaction writes with the period.
    """
    percent = row.budget.alert_threshold_percent
    if percent is None or row.alerted_at is not None:
        return
    now = timezone.now()
    limit = row.budget.limit_at(now)
    if row.spent_exactly * 100 < amounts.exact(limit, row.budget.unit) * percent:
        return
    if row.ends_at <= now:
        return  # the request started in a period that is over by now
    row.alerted_at = now
    _queue(row, limit=limit)


def _queue(row: BudgetPeriod | LockedPeriod, *, limit: int) -> None:
    budget = Budget.objects.select_related("api_key__owner", "api_key__team", "team").get(pk=row.budget_id)
    key, team = budget.api_key, budget.team
    owner = f"key {key.name} ({key.public_id})" if key else f"team {team}"
    which = f"{PERIOD_ADJECTIVES[budget.period]} budget"
    spent, whole = row.spent_exactly, amounts.exact(limit, budget.unit)
    spent_text, whole_text = (amounts.format_exact(amount, budget.unit) for amount in (spent, whole))
    ends_at = row.resets_at
    resets = f"Resets at {timezone.localtime(ends_at):%Y-%m-%d %H:%M %Z}." if ends_at else "It does not reset."
    link = admin_links.to("keys_apikey_change", key.pk) if key else admin_links.to("keys_team_change", budget.team_id)
    share = 100 * spent // whole if whole else 100
    Notification.objects.get_or_create(
        dedup_key=f"budget-{budget.pk}-{row.starts_at:%Y%m%dT%H%M}",
        defaults={
            "kind": "budget_alert",
            "subject": f"Budget alert: {share} % of the {which} of {owner} used"[:200],
            "text": f"{spent_text} of the {which} of {whole_text} of {owner} are spent. {resets}\n"
            "Requests whose maximum cost exceeds the remaining budget are rejected with 402.\n"
            + (f"{link}\n" if link else ""),
            "recipients": _recipients(budget),
            "data": {
                "kind": "budget_alert",
                "scope": "key" if key else "team",
                "key": key.public_id if key else None,
                "team": team.name if team else None,
                "period": budget.period,
                "unit": budget.unit,
                "limit": amounts.to_decimal(whole, budget.unit),
                "spent": amounts.to_decimal(spent, budget.unit),
                "alert_threshold_percent": budget.alert_threshold_percent,
                "resets_at": ends_at.isoformat() if ends_at else None,
                "link": link,
            },
            "next_attempt_at": timezone.now(),
        },
    )


def _recipients(budget: Budget) -> list[str]:
    """Return the e-mail addresses of the team or the owner, and of all alert recipients."""
    key, team = budget.api_key, budget.team
    if key is not None:
        team = key.team
    owner = key.owner.email if key is not None and key.owner is not None else ""
    found = [team.email if team is not None else owner, *settings.ALERT_EMAILS]
    return list(dict.fromkeys(address for address in found if address))
