"""Outermost middleware of the API: request IDs, client IP addresses and the check of the Host header."""

import os
import re
import time
from collections.abc import Callable
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponseBase

from lib.client_address import client_ip
from messages_api.error_responses import failure, is_api_path

HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")


def new_request_id() -> str:
    """Return `req_` and 32 hex digits: 6 bytes of milliseconds, so that IDs sort by time, and 10 random bytes."""
    return f"req_{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


class ApiMiddleware:
    """Prepares API requests. Pages of the admin are not affected."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        if not is_api_path(http_request.path_info):
            return self.get_response(http_request)
        http_request.arrived_at = time.monotonic()  # type: ignore[attr-defined]
        http_request.request_id = new_request_id()  # type: ignore[attr-defined]
        http_request.client_ip = client_ip(http_request)  # type: ignore[attr-defined]
        response = self._respond(http_request)
        response.headers["request-id"] = http_request.request_id  # type: ignore[attr-defined]
        return response

    def _respond(self, http_request: HttpRequest) -> HttpResponseBase:
        if not _is_valid_host(http_request):
            return failure(http_request, 400, "invalid_request_error", "The Host header does not name this gateway.")
        return self.get_response(http_request)


def _is_valid_host(http_request: HttpRequest) -> bool:
    """Return whether the Host header is well formed and in ALLOWED_HOSTS. It is not checked again."""
    return _is_allowed(http_request.META.get("HTTP_HOST", ""), tuple(settings.ALLOWED_HOSTS))


@lru_cache(maxsize=256)
def _is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    """Return whether a host is well formed and allowed; `allowed` tells apart what is remembered."""
    if not HOST.fullmatch(host):
        return False
    http_request = HttpRequest()
    http_request.META["HTTP_HOST"] = host
    try:
        http_request.get_host()
    except DisallowedHost:
        return False
    return True
