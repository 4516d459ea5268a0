"""Notifications about key requests: to administrators who can decide them, and to the user who asked."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils import timezone

from keys.access.team_scope import ALL_TEAMS
from keys.models import KeyRequest, Notification
from lib import admin_links
from lib.printable import printable

DECIDE = "keys.issue_apikey"
"""The permission to decide requests."""
MAX_RECIPIENTS = 50
_BACKEND = "django.contrib.auth.backends.ModelBackend"


def asked(key_request: KeyRequest) -> None:
    """Queue the notification of a new request, in its transaction."""
    who = key_request.requested_by
    lines = [f"{who} of the team {key_request.team} asks for: {key_request}.", f"Reason: {key_request.reason}"]
    _queue(key_request, "asked", subject=f"Key request of {who}", lines=lines, recipients=_administrators())


def decided(key_request: KeyRequest) -> None:
    """Queue the notification of a decision to the user who asked, in its transaction."""
    user: Any = key_request.requested_by
    lines = [f"{key_request} is {key_request.get_state_display().lower()}."]
    if key_request.note:
        lines.append(f"Note: {key_request.note}")
    if key_request.awaits_reveal and key_request.reveal_before:
        until = timezone.localtime(key_request.reveal_before)
        lines.append(f"Show the key before {until:%Y-%m-%d %H:%M %Z} on the page of the request. It is shown once.")
    recipients = [user.email] if user is not None and user.is_active and user.email else []
    subject = f"Key request {key_request.get_state_display().lower()}"
    _queue(key_request, "decided", subject=subject, lines=lines, recipients=recipients)


def _administrators() -> list[str]:
    """Return the email addresses of users who can decide, and of all alert recipients."""
    users = get_user_model().objects
    may_decide = users.with_perm(DECIDE, backend=_BACKEND).filter(is_staff=True).exclude(email="")
    of_all_teams = users.with_perm(ALL_TEAMS, backend=_BACKEND).values("pk")
    emails = may_decide.filter(pk__in=of_all_teams).order_by("pk").values_list("email", flat=True)
    return list(dict.fromkeys([*settings.ALERT_EMAILS, *emails[:MAX_RECIPIENTS]]))


def _queue(key_request: KeyRequest, event: str, *, subject: str, lines: list[str], recipients: list[str]) -> None:
    link = admin_links.to("keys_keyrequest_change", key_request.pk)
    texts = [printable(line) for line in lines] + ([link] if link else [])
    Notification.objects.create(
        dedup_key=f"key-request-{key_request.pk}-{event}",
        kind="key_request",
        subject=printable(subject)[:200],
        text="\n".join(texts) + "\n",
        recipients=recipients,
        data={
            "event": event,
            "request": key_request.pk,
            "kind": key_request.kind,
            "state": key_request.state,
            "team": key_request.team.name if key_request.team else None,
            "link": link,
        },
        next_attempt_at=timezone.now(),
    )
