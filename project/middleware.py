"""Middleware of pages, which API requests skip, and of all requests: forwarded headers, capacity, direct endpoints."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.security import SecurityMiddleware
from django.urls import resolve
from django_otp.middleware import OTPMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware

from audit import log
from lib import response_headers
from lib.client_address import client_ip, is_from_trusted_proxy
from messages_api.error_responses import API_PREFIX, failure
from messages_api.views import ApiFormatView

OVER_CAPACITY = "The gateway is at capacity. Retry shortly."


class SkipForApi:
    """Mixin for a middleware class: pass requests below `/api/` on unchanged."""

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        if http_request.path_info.startswith(API_PREFIX):
            return self.get_response(http_request)  # type: ignore[attr-defined]
        return super().__call__(http_request)  # type: ignore[misc]


class Sessions(SkipForApi, SessionMiddleware):
    pass


class Common(SkipForApi, CommonMiddleware):
    pass


class Authentication(SkipForApi, AuthenticationMiddleware):
    pass


class Messages(SkipForApi, MessageMiddleware):
    pass


class StaticFiles(SkipForApi, WhiteNoiseMiddleware):
    pass


class TwoFactor(SkipForApi, OTPMiddleware):
    pass


class AuditActorMiddleware:
    """Attribute changes in the audit log to the signed-in user and the client IP."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        with log.attributed_to(http_request, client_ip=client_ip(http_request)):
            return self.get_response(http_request)


class Audit(SkipForApi, AuditActorMiddleware):
    pass


class Capacity:
    """Reject a request with 503 if `project.server.connections` found no capacity for it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        if not getattr(http_request.META.get("gunicorn.socket"), "is_over_capacity", False):
            return self.get_response(http_request)
        headers = {"Retry-After": "1"}
        if http_request.path_info.startswith(API_PREFIX):
            return failure(http_request, 503, "overloaded_error", OVER_CAPACITY, headers=headers)
        response = HttpResponse(OVER_CAPACITY, status=503, content_type="text/plain", headers=headers)
        response._has_been_logged = True  # type: ignore[attr-defined]  # the worker logs how many were rejected
        return response


class PageHeaders:
    """Security headers of every page, including error pages.

    They forbid resources from other hosts, and inline scripts and styles.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(http_request)
        if not http_request.path_info.startswith(API_PREFIX):
            for name, value in settings.PAGE_HEADERS.items():
                response.headers.setdefault(name, value)
        return response


class TrustedProxies:
    """Drop `X-Forwarded-Proto` unless a trusted proxy sent it: otherwise any client could pretend to use HTTPS."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        if "HTTP_X_FORWARDED_PROTO" in http_request.META and not is_from_trusted_proxy(http_request):
            del http_request.META["HTTP_X_FORWARDED_PROTO"]
        return self.get_response(http_request)


class Endpoints:
    """Passes requests for endpoints directly to their view, past the middleware of pages.

    Responses get the headers that Django's middleware adds to each response. Other paths below `/api/`, such as the
    documentation and those that do not exist, pass through all middleware.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self._views: dict[str, Callable[[HttpRequest], HttpResponseBase]] = {}
        """The views of the paths that were requested. The endpoints without arguments have two paths each."""
        self._headers = {is_secure: security_headers(is_secure=is_secure) for is_secure in (False, True)}

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        view = self._views.get(http_request.path_info) or self._find(http_request.path_info)
        if view is None:
            return self.get_response(http_request)
        response = view(http_request)
        response_headers.set_defaults(response, self._headers[http_request.is_secure()])
        return response

    def _find(self, path: str) -> Callable[[HttpRequest], HttpResponseBase] | None:
        """Return the view of an endpoint without arguments, or None."""
        if not path.startswith(API_PREFIX):
            return None
        try:
            match = resolve(path)
        except Http404:
            return None
        if match.args or match.kwargs or not issubclass(getattr(match.func, "view_class", object), ApiFormatView):
            return None
        self._views[path] = match.func
        return match.func


def security_headers(*, is_secure: bool) -> dict[str, tuple[str, str]]:
    """Return the headers that Django's middleware adds to each response, by name in lower case."""

    def respond(http_request: HttpRequest) -> HttpResponse:
        response = HttpResponse()
        del response.headers["Content-Type"]
        return response

    http_request: Any = HttpRequest()
    http_request.path = API_PREFIX  # is never redirected
    http_request._get_scheme = lambda: "https" if is_secure else "http"
    response: Any = SecurityMiddleware(XFrameOptionsMiddleware(respond))(http_request)
    return {name.lower(): (name, value) for name, value in response.headers.items()}
