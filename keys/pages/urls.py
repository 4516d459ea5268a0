"""URL patterns of the reports on API keys and usage, relative to the admin site."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path

from keys.pages.hygiene import key_hygiene
from keys.pages.usage_report import usage_report, usage_report_csv


def report_urls(admin_view: Callable[[Any], Any]) -> list[URLPattern]:
    """Return the URL patterns, each view wrapped in the admin site's `admin_view`."""
    return [
        path("usage/", admin_view(usage_report), name="usage"),
        path("usage.csv", admin_view(usage_report_csv), name="usage_csv"),
        path("hygiene/", admin_view(key_hygiene), name="hygiene"),
    ]
