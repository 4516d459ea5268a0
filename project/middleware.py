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

from audit import log as audit
from messages_api.intake import client as caller

API_PREFIX = "/api/"


class PagesOnly:
    """Put before a middleware class, it lets calls below `/api/` pass untouched."""

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        if http_request.path_info.startswith(API_PREFIX):
            return self.get_response(http_request)  # type: ignore[attr-defined]
        return super().__call__(http_request)  # type: ignore[misc]


class Sessions(PagesOnly, SessionMiddleware):
    pass


class Common(PagesOnly, CommonMiddleware):
    pass


class Authentication(PagesOnly, AuthenticationMiddleware):
    pass


class Messages(PagesOnly, MessageMiddleware):
    pass


class StaticFiles(PagesOnly, WhiteNoiseMiddleware):
    pass


class SecondFactor(PagesOnly, OTPMiddleware):
    pass


class OnBehalf:
    """Whatever changes during a request, changes on behalf of whoever is signed in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        with audit.on_behalf_of(http_request, address=caller.address(http_request)):
            return self.get_response(http_request)


class Audit(PagesOnly, OnBehalf):
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
