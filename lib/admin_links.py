"""Addresses of the admin for those who read of it elsewhere, in a mail or a webhook."""

from django.conf import settings
from django.urls import reverse


def to(view: str, *arguments: object, **filters: str) -> str | None:
    """The full address of a page of the admin, or None where PUBLIC_URL does not say where the gateway is reached."""
    if not settings.PUBLIC_URL:
        return None
    return settings.PUBLIC_URL + reverse(f"admin:{view}", args=arguments, query=filters or None)
