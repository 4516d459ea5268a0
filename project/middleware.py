"""What pages need and calls do not: Django's own middleware, stepped over below `/api/`.

A call would pay for sessions and messages without using them; pages keep the whole stack.
"""

from collections.abc import Callable

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.middleware.common import CommonMiddleware
from django_otp.middleware import OTPMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware

from audit import log
from lib.client_address import client_ip

API_PREFIX = "/api/"


class SkipForApi:
    """Put before a middleware class, it lets calls below `/api/` pass untouched."""

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
    """Whatever changes during a request, changes on behalf of whoever is signed in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        with log.attributed_to(http_request, client_ip=client_ip(http_request)):
            return self.get_response(http_request)


class Audit(SkipForApi, AuditActorMiddleware):
    pass


class PageHeaders:
    """
    What every page tells the browser, error pages too: load nothing that does not come from the gateway itself, run no
    script and apply no style that stands in the page.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(http_request)
        if not http_request.path_info.startswith(API_PREFIX):
            for name, value in settings.PAGE_HEADERS.items():
                response.headers.setdefault(name, value)
        return response
