"""
The edge of `/api/`: every call gets a request id and the address that it came from, and every answer is in the dialect
of its lane, never HTML.

What fails before or beside a view (an unknown path, a bad host, an exception in our own code) is said here.
"""

import os
import re
import time
from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponseBase

from lib.client_address import client_ip
from messages_api.error_responses import API_PREFIX, failure

HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")


def new_request_id() -> str:
    """`req_` and 32 hex digits: 6 bytes of milliseconds, so that ids sort by time, and 10 random bytes."""
    return f"req_{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


class ApiMiddleware:
    """The outermost middleware. Pages pass it untouched."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        if not http_request.path_info.startswith(API_PREFIX):
            return self.get_response(http_request)
        http_request.request_id = new_request_id()  # type: ignore[attr-defined]
        http_request.client_ip = client_ip(http_request)  # type: ignore[attr-defined]
        response = self._answer(http_request)
        response.headers["request-id"] = http_request.request_id  # type: ignore[attr-defined]
        return response

    def _answer(self, http_request: HttpRequest) -> HttpResponseBase:
        if not _host_is_good(http_request):
            return failure(http_request, 400, "invalid_request_error", "The Host header does not name this gateway.")
        return self.get_response(http_request)


def _host_is_good(http_request: HttpRequest) -> bool:
    """Whether there is a Host, it is well formed, and ALLOWED_HOSTS knows it. Nothing below asks for it again."""
    if not HOST.fullmatch(http_request.META.get("HTTP_HOST", "")):
        return False
    try:
        http_request.get_host()
    except DisallowedHost:
        return False
    return True
