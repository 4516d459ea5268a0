"""Tells, once a week, what hygiene has found. A notice like any other: written here, sent by the messenger."""

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from keys.hygiene import findings, text
from keys.hygiene.findings import Hygiene
from keys.models import Notification
from lib import admin_links

KIND = "key_hygiene"
WHERE = "The admin has all of it under Key hygiene (%s), the shell by manage.py key_hygiene."


def note_week() -> None:
    """Write the notice of this week, if there is anything to say and anybody to tell.

    Its key is the week in the reporting time zone, so it is written once, by whichever process comes first.
    """
    key = f"hygiene-{_week()}"
    if not (settings.ALERT_EMAILS or settings.ALERT_WEBHOOK_URL) or Notification.objects.filter(dedup_key=key).exists():
        return
    found = findings.examine()
    where = admin_links.to("hygiene") or reverse("admin:hygiene")
    if not found.needs_attention:
        return
    Notification.objects.get_or_create(
        dedup_key=key,
        defaults={
            "kind": KIND,
            "subject": _subject(found),
            "text": f"{text.as_text(found)}\n\n{WHERE % where}\n",
            "recipients": list(dict.fromkeys(settings.ALERT_EMAILS)),
            "data": {"kind": KIND, "week": _week(), **text.as_dict(found)},
            "next_attempt_at": timezone.now(),
        },
    )


def _week() -> str:
    """As ISO 8601 writes it, such as 2026-W48: it begins on Monday."""
    year, week, _ = timezone.localtime(timezone.now(), timezone.get_default_timezone()).isocalendar()
    return f"{year}-W{week:02}"


def _subject(found: Hygiene) -> str:
    count = sum(finding.needs_attention for finding in found.findings) + bool(found.unpriced)
    return "1 thing about keys needs attention" if count == 1 else f"{count} things about keys need attention"
