"""URL patterns of the admin's own pages, which are no list or form of a model."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern

from keys.pages.urls import report_urls
from messages_api.pages import upstream_health


def page_urls(admin_view: Callable[[Any], Any]) -> list[URLPattern]:
    """Return the URL patterns, each view wrapped in the admin site's `admin_view`."""
    return [*report_urls(admin_view), *upstream_health.urls(admin_view)]
