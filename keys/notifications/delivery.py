"""
Delivery of pending notifications: by e-mail to their recipients, and to the webhook.

A process reserves a notification by moving its next attempt into the future, so that several processes share the work.
A failed notification is retried with growing pauses for about seventeen hours. If a process dies between sending and
recording, the notification is sent twice.
"""

import hashlib
import hmac
import json
import logging
import smtplib
from datetime import timedelta

import requests
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db.models import F
from django.utils import timezone

from keys.models import Notification

logger = logging.getLogger(__name__)

TIMEOUT_S = 10
RESERVED_FOR = timedelta(minutes=2)
FIRST_PAUSE = timedelta(seconds=15)
MAX_ATTEMPTS = 13
"""With twelve pauses between them: 15 s, 30 s, 1 min … 8.5 h, together 17 h."""
MAX_BATCH = 20


def send_pending() -> int:
    """Send what is due. Return the number of attempted notifications. Errors are stored and not raised."""
    attempted = 0
    due = Notification.objects.filter(done_at=None, next_attempt_at__lte=timezone.now()).order_by("created_at")
    for notification in due[:MAX_BATCH]:
        if _reserve(notification):
            attempted += 1
            _send(notification)
    return attempted


def _reserve(notification: Notification) -> bool:
    """Return whether this process may send the notification now."""
    unreserved = Notification.objects.filter(
        pk=notification.pk, done_at=None, next_attempt_at=notification.next_attempt_at
    )
    return bool(unreserved.update(next_attempt_at=timezone.now() + RESERVED_FOR, attempts=F("attempts") + 1))


def _send(notification: Notification) -> None:
    errors = []
    if notification.emailed_at is None and notification.recipients:
        errors += _email(notification)
    if notification.posted_at is None and settings.ALERT_WEBHOOK_URL:
        errors += _post(notification)
    now = timezone.now()
    attempts = notification.attempts + 1
    is_done = not errors or attempts >= MAX_ATTEMPTS
    if errors:
        logger.warning("Notification %s: attempt %d failed: %s", notification.dedup_key, attempts, "; ".join(errors))
    Notification.objects.filter(pk=notification.pk).update(
        emailed_at=notification.emailed_at,
        posted_at=notification.posted_at,
        last_error="; ".join(errors)[:200],
        next_attempt_at=now + FIRST_PAUSE * 2 ** (attempts - 1),
        done_at=now if is_done else None,
    )


def _email(notification: Notification) -> list[str]:
    message = EmailMessage(
        subject=f"[messages-gateway] {' '.join(notification.subject.split())}",
        body=notification.text,
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=notification.recipients,
        connection=get_connection(timeout=TIMEOUT_S),
    )
    try:
        message.send()
    except (smtplib.SMTPException, OSError, ValueError) as error:  # ValueError: text that no header can hold
        return [f"mail: {type(error).__name__}"]  # the error's text may hold the server's greeting, or our password
    notification.emailed_at = timezone.now()
    return []


def _post(notification: Notification) -> list[str]:
    envelope = {
        "id": notification.dedup_key,
        "subject": notification.subject,
        "created_at": notification.created_at.isoformat(),
    }
    body = json.dumps(envelope | notification.data)
    headers = {"Content-Type": "application/json", "User-Agent": "messages-gateway"}
    if settings.ALERT_WEBHOOK_SECRET:
        headers["x-gateway-signature"] = signature(body.encode(), secret=settings.ALERT_WEBHOOK_SECRET)
    try:
        with requests.Session() as session:
            session.trust_env = False
            response = session.post(
                settings.ALERT_WEBHOOK_URL, body, headers=headers, timeout=TIMEOUT_S, allow_redirects=False
            )
    except requests.RequestException as error:
        return [f"webhook: {type(error).__name__}"]
    if not response.ok:
        return [f"webhook: status {response.status_code}"]
    notification.posted_at = timezone.now()
    return []


def signature(body: bytes, *, secret: str) -> str:
    """Return the HMAC-SHA-256 of a webhook body in hexadecimal, by which the receiver authenticates it."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
