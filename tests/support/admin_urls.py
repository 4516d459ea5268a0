"""All URLs of the admin, from the resolver, and the rows that they show."""

import functools
from collections.abc import Iterator
from typing import Any

from django.contrib import admin as django_admin
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.urls import URLPattern, URLResolver, get_resolver, reverse


def patterns(resolver: Any, route: str = "") -> Iterator[tuple[str, str | None]]:
    """Yield the route and the name of every URL pattern."""
    for entry in resolver.url_patterns:
        deeper = route + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from patterns(entry, deeper)
        elif isinstance(entry, URLPattern):
            yield deeper, entry.name


@functools.cache
def admin_patterns() -> list[tuple[str, str | None]]:
    [site] = [entry for entry in get_resolver().url_patterns if str(entry.pattern) == "admin/"]
    return list(patterns(site))


def row_of(name: str, objects: dict[str, Any]) -> Any:
    """Return the row that a page of a table shows."""
    for model in django_admin.site._registry:
        if name.startswith(f"{model._meta.app_label}_{model._meta.model_name}_"):
            return objects[model._meta.concrete_model._meta.label_lower]  # type: ignore[union-attr]
    return None


def address_of(name: str, objects: dict[str, Any]) -> str:
    if name == "view_on_site":
        row = objects["auth.user"]
        return reverse("admin:view_on_site", args=[ContentType.objects.get_for_model(User).pk, row.pk])
    takes_row = any(
        (name == found and "object_id>" in route) or (name == found and "<id>" in route)
        for route, found in admin_patterns()
    )
    row = row_of(name, objects)
    if name == "keys_apikey_temporary_increase":
        return reverse(f"admin:{name}", args=[row.pk, row.budgets.get().pk])
    return reverse(f"admin:{name}", args=[row.pk] if takes_row else [])
