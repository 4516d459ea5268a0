"""URL patterns of the reports on API keys and usage, relative to the admin site."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path, reverse

from keys.pages.hygiene import key_hygiene
from keys.pages.owner_usage import user_page
from keys.pages.price_update import price_update
from keys.pages.rerating import rerating
from keys.pages.saved_views import change_views
from keys.pages.usage import usage, usage_csv_export
from keys.pages.usage_export import usage_export

NAVIGATION = [
    ("usage", "Usage", "keys.view_usagerecord"),
    ("upstream_health", "Upstream health", "messages_api.view_upstream"),
    ("hygiene", "Key hygiene", "keys.view_apikey"),
]
"""URL name, label and permission of the reports in the navigation."""


def report_links(user: Any) -> list[tuple[str, str]]:
    """Return the URLs and labels of the reports that the user can view."""
    return [(reverse(f"admin:{name}"), label) for name, label, permission in NAVIGATION if user.has_perm(permission)]


def report_urls(admin_view: Callable[[Any], Any]) -> list[URLPattern]:
    """Return the URL patterns, each view wrapped in the admin site's `admin_view`."""
    return [
        path("usage/", admin_view(usage), name="usage"),
        path("usage.csv", admin_view(usage_csv_export), name="usage_csv"),
        path("usage/export/", admin_view(usage_export), name="usage_export"),
        path("usage/views/", admin_view(change_views), name="usage_views"),
        path("hygiene/", admin_view(key_hygiene), name="hygiene"),
        path("owners/<path:object_id>/", admin_view(user_page), name="auth_user_usage"),
        path("prices/update/", admin_view(price_update), name="price_update"),
        path("prices/rerating/", admin_view(rerating), name="rerating"),
    ]
