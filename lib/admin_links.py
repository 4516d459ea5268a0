"""Absolute URLs of admin pages, for e-mails and webhooks."""

from django.conf import settings
from django.urls import reverse


def to(view: str, *arguments: object, **filters: str) -> str | None:
    """Return the absolute URL of an admin page, or None if PUBLIC_URL is not set."""
    if not settings.PUBLIC_URL:
        return None
    return settings.PUBLIC_URL + reverse(f"admin:{view}", args=arguments, query=filters or None)
