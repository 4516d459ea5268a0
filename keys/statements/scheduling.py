"""Scheduled statements: one for each team and period, queued when the period has ended."""

from datetime import timedelta

from django.utils import timezone

from keys.models import Notification, Team
from keys.statements.statement import StatementPeriod, TeamStatement, statement

KIND = "team_statement"
SETTLE_TIME = timedelta(hours=6)
"""A statement is made this long after its period has ended: requests that are settled late are in it."""
LATEST = timedelta(days=5)
"""Not made later than this after its period: a team that asks for statements gets the next one."""


def queue_due() -> int:
    """Queue the statements that are due. Return their number. Every worker may run it at any time."""
    now = timezone.now()
    queued = 0
    for kind in Team.StatementFrequency.values:
        period = StatementPeriod.ended_before(kind, now)
        if SETTLE_TIME <= now - period.end <= LATEST:
            queued += sum(_queue_unless_queued(team, period) for team in _teams(kind))
    return queued


def queue(team: Team, period: StatementPeriod, *, dedup_key: str = "") -> TeamStatement:
    """Queue a statement for the team's e-mail address, once for each key. Return it."""
    found = statement(team, period)
    Notification.objects.get_or_create(
        dedup_key=dedup_key or _dedup_key(team, period),
        defaults={
            "kind": KIND,
            "subject": found.subject[:200],
            "text": found.text,
            "recipients": [team.email],
            "data": found.data,
            "is_for_webhook": False,
            "next_attempt_at": timezone.now(),
        },
    )
    return found


def _teams(kind: str) -> list[Team]:
    return list(Team.objects.filter(statement=kind).exclude(email=""))


def _queue_unless_queued(team: Team, period: StatementPeriod) -> bool:
    if Notification.objects.filter(dedup_key=_dedup_key(team, period)).exists():
        return False
    queue(team, period)
    return True


def _dedup_key(team: Team, period: StatementPeriod) -> str:
    return f"statement-{team.pk}-{period.id}"
