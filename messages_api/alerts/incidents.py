"""Incidents of a rule: opened by conditions, continued where a condition returns soon, ended by their absence."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models.functions import Coalesce

from messages_api.alerts.condition import AlertCondition
from messages_api.models import AlertRule, Incident

MAX_TITLE = 300
MAX_DETAIL = 2_000
MAX_SUBJECT = 400


def follow(rule: AlertRule, conditions: Iterable[AlertCondition], *, now: datetime) -> None:
    """Open, continue and end the incidents of a rule. `conditions` are all that hold now."""
    incidents = {each.subject: each for each in Incident.objects.filter(rule=rule, ended_at=None)}
    present = set()
    for condition in conditions:
        subject = condition.subject[:MAX_SUBJECT]
        incident = incidents.get(subject)
        if incident is None:
            incidents[subject] = _open(rule, condition, now)
        else:
            _continue(incident, condition)
        if condition.ended_at is None:
            present.add(subject)
    for subject, incident in incidents.items():
        if subject not in present:
            _clear(incident, rule, now)


def end_without_rule(now: datetime) -> None:
    """End the incidents of rules that were deleted or disabled, without a message."""
    found = Incident.objects.filter(ended_at=None).exclude(rule__enabled=True)
    found.update(ended_at=now, announced_at=Coalesce("announced_at", now), end_announced_at=now)


def _open(rule: AlertRule, condition: AlertCondition, now: datetime) -> Incident:
    """Open an incident, or return the one that another process has just opened."""
    try:
        with transaction.atomic():
            return Incident.objects.create(
                rule=rule,
                rule_name=rule.name,
                kind=rule.kind,
                subject=condition.subject[:MAX_SUBJECT],
                title=condition.title[:MAX_TITLE],
                detail=condition.detail[:MAX_DETAIL],
                path=condition.path[:600],
                unit=rule.unit,
                peak=condition.value,
                began_at=condition.began_at or now,
                cleared_at=condition.ended_at,
            )
    except IntegrityError:
        return Incident.objects.get(rule=rule, subject=condition.subject[:MAX_SUBJECT], ended_at=None)


def _continue(incident: Incident, condition: AlertCondition) -> None:
    """Note a condition of an open incident: that it has returned, and its highest value."""
    before = (incident.cleared_at, incident.peak, incident.occurrences)
    if condition.ended_at is None:
        incident.occurrences += incident.cleared_at is not None
        incident.cleared_at = None
    elif incident.cleared_at is None or incident.cleared_at < condition.ended_at:
        incident.occurrences += 1
        incident.cleared_at = condition.ended_at
        incident.detail = f"{condition.title}. {condition.detail}\n{incident.detail}"[:MAX_DETAIL]
    if condition.value is not None and condition.value > (incident.peak or 0.0):
        incident.peak, incident.detail = condition.value, condition.detail[:MAX_DETAIL]
    if before != (incident.cleared_at, incident.peak, incident.occurrences):
        incident.save(update_fields=["cleared_at", "peak", "occurrences", "detail"])


def _clear(incident: Incident, rule: AlertRule, now: datetime) -> None:
    """Note that the condition is absent, and end the incident once it was absent for long enough."""
    is_new = incident.cleared_at is None
    incident.cleared_at = incident.cleared_at or now
    if now - incident.cleared_at >= timedelta(minutes=rule.ends_after_minutes):
        incident.ended_at = max(incident.cleared_at, incident.began_at)
    elif not is_new:
        return
    incident.save(update_fields=["cleared_at", "ended_at"])
