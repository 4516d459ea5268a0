"""How a page of the admin is answered."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

NOT_STORED = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
"""Of an answer that holds raw keys."""


def page(
    request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200, headers: Any = None
) -> HttpResponse:
    """A page inside the admin."""
    request.current_app = admin.site.name
    response = render(request, template, {**admin.site.each_context(request), **context}, status=status)
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response
