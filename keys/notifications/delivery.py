"""
Sends the notices that wait: by mail to their recipients, and to the webhook.

A notice is claimed by moving its next attempt into the future, so several processes share the work. What could not be
sent is tried again, later each time, for about seventeen hours. Who dies between sending and noting it sends twice.
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

PATIENCE_S = 10
CLAIMED_FOR = timedelta(minutes=2)
FIRST_WAIT = timedelta(seconds=15)
MAX_ATTEMPTS = 13
"""With twelve pauses between them: 15 s, 30 s, 1 min … 8.5 h, together 17 h."""


def send_waiting() -> int:
    """Send what is due. Return how many notices were claimed. Errors stay with their notice; none is raised."""
    claimed = 0
    for notice in Notification.objects.filter(done_at=None, next_attempt_at__lte=timezone.now()).order_by("created_at")[
        :20
    ]:
        if _claim(notice):
            claimed += 1
            _send(notice)
    return claimed


def _claim(notice: Notification) -> bool:
    """Whether this process is the one that sends it now."""
    mine = Notification.objects.filter(pk=notice.pk, done_at=None, next_attempt_at=notice.next_attempt_at)
    return bool(mine.update(next_attempt_at=timezone.now() + CLAIMED_FOR, attempts=F("attempts") + 1))


def _send(notice: Notification) -> None:
    errors = []
    if notice.emailed_at is None and notice.recipients:
        errors += _mail(notice)
    if notice.posted_at is None and settings.ALERT_WEBHOOK_URL:
        errors += _post(notice)
    now = timezone.now()
    attempts = notice.attempts + 1
    is_over = not errors or attempts >= MAX_ATTEMPTS
    if errors:
        logger.warning("Notice %s: attempt %d failed: %s", notice.dedup_key, attempts, "; ".join(errors))
    Notification.objects.filter(pk=notice.pk).update(
        emailed_at=notice.emailed_at,
        posted_at=notice.posted_at,
        last_error="; ".join(errors)[:200],
        next_attempt_at=now + FIRST_WAIT * 2 ** (attempts - 1),
        done_at=now if is_over else None,
    )


def _mail(notice: Notification) -> list[str]:
    message = EmailMessage(
        subject=f"[messages-gateway] {' '.join(notice.subject.split())}",
        body=notice.text,
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=notice.recipients,
        connection=get_connection(timeout=PATIENCE_S),
    )
    try:
        message.send()
    except (smtplib.SMTPException, OSError, ValueError) as error:  # the last one: what no header can say
        return [f"mail: {type(error).__name__}"]  # its text may hold the server's greeting, or our password
    notice.emailed_at = timezone.now()
    return []


def _post(notice: Notification) -> list[str]:
    about = {"id": notice.dedup_key, "subject": notice.subject, "created_at": notice.created_at.isoformat()}
    body = json.dumps(about | notice.data)
    headers = {"Content-Type": "application/json", "User-Agent": "messages-gateway"}
    if settings.ALERT_WEBHOOK_SECRET:
        headers["x-gateway-signature"] = signature(body.encode(), secret=settings.ALERT_WEBHOOK_SECRET)
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(
                settings.ALERT_WEBHOOK_URL, body, headers=headers, timeout=PATIENCE_S, allow_redirects=False
            )
    except requests.RequestException as error:
        return [f"webhook: {type(error).__name__}"]
    if not answer.ok:
        return [f"webhook: status {answer.status_code}"]
    notice.posted_at = timezone.now()
    return []


def signature(body: bytes, *, secret: str) -> str:
    """What proves to the webhook that the body is ours: the HMAC-SHA-256 of it, in hexadecimal."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
