"""Middleware that accepts forwarded headers from trusted proxies only."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from lib.client_address import is_from_trusted_proxy


class TrustedProxies:
    """Drop `X-Forwarded-Proto` unless a trusted proxy sent it: otherwise any client could pretend to use HTTPS."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        if "HTTP_X_FORWARDED_PROTO" in http_request.META and not is_from_trusted_proxy(http_request):
            del http_request.META["HTTP_X_FORWARDED_PROTO"]
        return self.get_response(http_request)
