"""URL patterns of the reports on API keys and usage, relative to the admin site."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path, reverse

from keys.pages.hygiene import key_hygiene
from keys.pages.price_update import price_update
from keys.pages.rerating import rerating
from keys.pages.usage_report import usage_report, usage_report_csv

NAVIGATION = [("usage", "Usage", "keys.view_usagerecord"), ("hygiene", "Key hygiene", "keys.view_apikey")]
"""URL name, label and permission of the reports in the navigation."""


def report_links(user: Any) -> list[tuple[str, str]]:
    """Return the URLs and labels of the reports that the user can view."""
    return [(reverse(f"admin:{name}"), label) for name, label, permission in NAVIGATION if user.has_perm(permission)]


def report_urls(admin_view: Callable[[Any], Any]) -> list[URLPattern]:
    """Return the URL patterns, each view wrapped in the admin site's `admin_view`."""
    return [
        path("usage/", admin_view(usage_report), name="usage"),
        path("usage.csv", admin_view(usage_report_csv), name="usage_csv"),
        path("hygiene/", admin_view(key_hygiene), name="hygiene"),
        path("prices/update/", admin_view(price_update), name="price_update"),
        path("prices/rerating/", admin_view(rerating), name="rerating"),
    ]
