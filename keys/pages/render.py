"""Pages inside the admin."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

KEPT_BY_NOBODY = {"Cache-Control": "no-store"}
"""For a page whose form goes on. A browser that may send no referrer hides where the form is from: it is refused."""
NOT_STORED = {**KEPT_BY_NOBODY, "Referrer-Policy": "no-referrer"}
"""For the one answer that has a raw key in it."""


def page(
    request: HttpRequest,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """A page with the admin's frame around it."""
    request.current_app = admin.site.name
    response = render(request, template, {**admin.site.each_context(request), **context}, status=status)
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response
