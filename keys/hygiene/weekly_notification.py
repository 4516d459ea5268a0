"""Weekly notification about hygiene findings, by e-mail and webhook."""

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from keys.hygiene import findings, report
from keys.hygiene.findings import Hygiene
from keys.models import Notification
from lib import admin_links

KIND = "key_hygiene"
FOOTER = "The admin shows all findings under Key hygiene (%s), the shell with manage.py key_hygiene."


def queue() -> None:
    """Queue the notification of this week, if there are findings that need attention and recipients.

    Its deduplication key is the week in the reporting time zone, so the first process to write it is the only one.
    """
    dedup_key = f"hygiene-{_week()}"
    if not (settings.ALERT_EMAILS or settings.ALERT_WEBHOOK_URL):
        return
    if Notification.objects.filter(dedup_key=dedup_key).exists():
        return
    hygiene = findings.examine()
    url = admin_links.to("hygiene") or reverse("admin:hygiene")
    if not hygiene.needs_attention:
        return
    Notification.objects.get_or_create(
        dedup_key=dedup_key,
        defaults={
            "kind": KIND,
            "subject": _subject(hygiene),
            "text": f"{report.as_text(hygiene)}\n\n{FOOTER % url}\n",
            "recipients": list(dict.fromkeys(settings.ALERT_EMAILS)),
            "data": {"kind": KIND, "week": _week(), **report.as_dict(hygiene)},
            "next_attempt_at": timezone.now(),
        },
    )


def _week() -> str:
    """Return the ISO 8601 week, which begins on Monday, such as 2026-W48."""
    year, week, _ = timezone.localtime(timezone.now(), timezone.get_default_timezone()).isocalendar()
    return f"{year}-W{week:02}"


def _subject(hygiene: Hygiene) -> str:
    count = sum(finding.needs_attention for finding in hygiene.findings) + bool(hygiene.unpriced)
    return f"API keys: {'1 finding needs' if count == 1 else f'{count} findings need'} attention"
