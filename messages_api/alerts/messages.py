"""Messages about incidents, by the outbox: one when an incident opens, one when it ends, bounded per rule."""

import secrets
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from keys.models import Notification
from lib import admin_links, periods
from lib.printable import printable
from messages_api.alerts.quiet_hours import is_quiet
from messages_api.models import AlertRule, Incident
from messages_api.models.alerts import AlertKind

MAX_SINGLE = 5
"""Messages of one rule in one evaluation. More incidents are one message."""
MAX_PER_HOUR = 12
MAX_LISTED = 20
HOUR = timedelta(hours=1)


def queue(rule: AlertRule, *, now: datetime) -> None:
    """Queue the messages that are due: none in quiet hours, and one for all incidents where there are too many."""
    unsent = Incident.objects.filter(rule=rule).filter(
        Q(announced_at=None) | Q(end_announced_at=None, ended_at__isnull=False)
    )
    waiting = list(unsent.order_by("began_at", "pk"))
    for incident in filter(_is_told_at_once, waiting):
        _claim(incident, now)
    waiting = [each for each in waiting if not _is_told_at_once(each)]
    if not waiting or is_quiet(rule, now):
        return
    budget = MAX_PER_HOUR - _sent(rule, now - HOUR)
    if len(waiting) <= min(budget, MAX_SINGLE):
        for incident in waiting:
            _queue_one(rule, incident, now)
    elif budget > 0:
        _queue_summary(rule, waiting, now)


def queue_test(rule: AlertRule) -> bool:
    """Queue a test alert to those who receive the rule's alerts, in quiet hours too. Return whether there are any."""
    if not has_receivers(rule):
        return False
    _notify(
        rule,
        dedup_key=f"alert-test-{rule.pk}-{secrets.token_hex(6)}",
        kind="alert_test",
        subject=f"Test alert of rule {rule.name}",
        lines=["This is a test: nothing is wrong. Alerts of this rule arrive as this one did."],
        data={"rule": rule.name, "rule_kind": rule.kind},
    )
    return True


def _sent(rule: AlertRule, since: datetime) -> int:
    """Return the number of messages since then. Incidents of one summary have the same time."""
    incidents = Incident.objects.filter(rule=rule).order_by()
    begun = incidents.filter(announced_at__gt=since).values("announced_at")
    ended = incidents.filter(end_announced_at__gt=since).exclude(kind=AlertKind.NEW_NETWORK, occurrences=1)
    return begun.distinct().count() + ended.values("end_announced_at").distinct().count()


def _queue_one(rule: AlertRule, incident: Incident, now: datetime) -> None:
    with transaction.atomic():
        phase = _claim(incident, now)
        if phase is None:
            return
        subject = {"opened": "Alert", "ended": "Ended", "passed": "Alert, already over"}[phase]
        _notify(
            rule,
            dedup_key=f"incident-{incident.pk}-{phase}",
            kind=f"incident.{phase}",
            subject=f"{subject}: {incident.title}",
            lines=_lines(incident, rule),
            data=_data(incident, rule),
        )


def _is_told_at_once(incident: Incident) -> bool:
    """Return whether the first message has said all: an event without a duration that did not occur again."""
    was_told = incident.announced_at is not None and incident.kind == AlertKind.NEW_NETWORK
    return was_told and incident.occurrences == 1


def _claim(incident: Incident, now: datetime) -> str | None:
    """Note that the message of an incident is sent. Return which one, or None if another process sends it."""
    row = Incident.objects.filter(pk=incident.pk)
    if incident.announced_at is None:
        values = {"announced_at": now} | ({"end_announced_at": now} if incident.ended_at is not None else {})
        phase = "opened" if incident.ended_at is None else "passed"
        return phase if row.filter(announced_at=None).update(**values) else None
    return "ended" if row.filter(end_announced_at=None).update(end_announced_at=now) else None


def _queue_summary(rule: AlertRule, waiting: list[Incident], now: datetime) -> None:
    with transaction.atomic():
        claimed = [each for each in waiting if _claim(each, now) is not None]
        if not claimed:
            return
        lines = [f"- {each.title}, {_state(each)}" for each in claimed[:MAX_LISTED]]
        if len(claimed) > MAX_LISTED:
            lines.append(f"- and {len(claimed) - MAX_LISTED:,} more")
        _notify(
            rule,
            dedup_key=f"incidents-{rule.pk}-{claimed[0].pk}-{secrets.token_hex(6)}",
            kind="incident.summary",
            subject=f"{len(claimed):,} incidents of rule {rule.name}",
            lines=[*lines, *_link(reverse("admin:messages_api_incident_changelist"))],
            data={
                "rule": rule.name,
                "rule_kind": rule.kind,
                "count": len(claimed),
                "incidents": [_data(each, rule) for each in claimed[:MAX_LISTED]],
            },
        )


def _state(incident: Incident) -> str:
    since = f"since {_wall(incident.began_at)}"
    return since if incident.ended_at is None else f"{since} until {_wall(incident.ended_at)}"


def _lines(incident: Incident, rule: AlertRule) -> list[str]:
    lines = [f"{incident.title}.", *incident.detail.splitlines(), "", f"Began: {_wall(incident.began_at)}"]
    if incident.ended_at is not None:
        lines.append(f"Ended: {_wall(incident.ended_at)}, after {duration_text(incident.seconds or 0.0)}")
    elif incident.cleared_at is not None and incident.kind != AlertKind.NEW_NETWORK:
        lines.append(f"Absent since {_wall(incident.cleared_at)}")
    if incident.peak is not None:
        lines.append(f"Peak: {peak_text(incident)}")
    if incident.occurrences > 1:
        lines.append(f"Occurrences: {incident.occurrences:,}")
    return [*lines, f"Rule: {rule.name}", *_link(incident.path)]


def _data(incident: Incident, rule: AlertRule) -> dict[str, Any]:
    return {
        "incident": incident.pk,
        "state": "open" if incident.ended_at is None else "ended",
        "rule": rule.name,
        "rule_kind": incident.kind,
        "title": incident.title,
        "detail": incident.detail,
        "began_at": incident.began_at.isoformat(),
        "ended_at": incident.ended_at.isoformat() if incident.ended_at else None,
        "duration_s": incident.seconds,
        "peak": incident.peak,
        "unit": incident.unit,
        "threshold": str(rule.threshold) if rule.threshold is not None else None,
        "occurrences": incident.occurrences,
        "link": next(iter(_link(incident.path)), None),
    }


def peak_text(incident: Incident) -> str:
    """Return the peak with its unit; an empty text where there is none."""
    if incident.peak is None:
        return ""
    return f"{incident.peak:.1f} %" if incident.unit == "%" else f"{incident.peak:,.0f} {incident.unit}".strip()


def duration_text(seconds: float) -> str:
    """Return a duration in its two largest units."""
    whole = max(0, round(seconds))
    for size, name, smaller, smaller_name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{whole} s"


def _wall(moment: datetime) -> str:
    return f"{timezone.localtime(moment, periods.zone()):%Y-%m-%d %H:%M:%S %Z}"


def _link(path: str) -> list[str]:
    return [settings.PUBLIC_URL + path] if settings.PUBLIC_URL and path else []


def _recipients(rule: AlertRule) -> list[str]:
    return list(dict.fromkeys(rule.recipients or settings.ALERT_EMAILS))


def has_receivers(rule: AlertRule) -> bool:
    """Return whether anyone receives the alerts of a rule."""
    return bool(_recipients(rule) or (rule.is_for_webhook and settings.ALERT_WEBHOOK_URL))


def _notify(
    rule: AlertRule, *, dedup_key: str, kind: str, subject: str, lines: list[str], data: dict[str, Any]
) -> None:
    if not has_receivers(rule):
        return
    footer = admin_links.to("messages_api_alertrule_change", rule.pk)
    text = "\n".join(printable(line) for line in lines) + "\n" + (f"\n{footer}\n" if footer else "")
    Notification.objects.get_or_create(
        dedup_key=dedup_key,
        defaults={
            "kind": kind,
            "subject": printable(subject)[:200],
            "text": text,
            "recipients": _recipients(rule),
            "data": data,
            "is_for_webhook": rule.is_for_webhook,
            "next_attempt_at": timezone.now(),
        },
    )
