"""Rendering of pages inside the admin's frame."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

NO_STORE = {"Cache-Control": "no-store"}
"""For pages with secrets and a form. Without a referrer the CSRF check would reject what the form sends."""
NO_STORE_NO_REFERRER = {**NO_STORE, "Referrer-Policy": "no-referrer"}
"""For the one response that contains a raw key."""


def admin_page(
    request: HttpRequest,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Render a template that extends the admin's base template."""
    request.current_app = admin.site.name  # the admin's templates read it to reverse URLs
    response = render(request, template, {**admin.site.each_context(request), **context}, status=status)
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response
