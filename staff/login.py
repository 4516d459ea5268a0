"""Throttling of failed sign-ins: counting, lockout and its page."""

import ipaddress
import math

from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_client_parameters
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from lib.admin.render import admin_page
from lib.client_address import client_ip

IPV6_NETWORK = 64
"""Prefix length. A client usually owns a /64 of IPv6, so failures are counted by network."""


def throttled_address(http_request: HttpRequest) -> str | None:
    """Return the IP address that login failures are counted by: the client's, or the /64 network of an IPv6 client."""
    found = client_ip(http_request)
    if found is None or ":" not in found:
        return found
    return str(ipaddress.ip_network(f"{found}/{IPV6_NETWORK}", strict=False).network_address)


def is_locked_out(http_request: HttpRequest, *, username: str | None = None) -> bool:
    """Return whether this request was locked out, or the next one with the user name would be."""
    if getattr(http_request, "axes_locked_out", False):
        return True
    return username is not None and not AxesProxyHandler.is_allowed(http_request, {"username": username})


def failed(http_request: HttpRequest, *, username: str) -> None:
    """Count an invalid two-factor code as a failed password."""
    user_login_failed.send(__name__, credentials={"username": username}, request=http_request)


def succeeded(http_request: HttpRequest, *, username: str) -> None:
    """Clear the failures after the last step of the sign-in."""
    AccessAttempt.objects.filter(username=username, ip_address=throttled_address(http_request)).delete()


def locked_out(http_request: HttpRequest) -> HttpResponse:
    """Return the lockout page: 429, with the seconds until the next attempt in Retry-After."""
    wait_s = _wait_s(http_request)
    context = {"title": "Sign-in blocked", "minutes": math.ceil(wait_s / 60)}
    return admin_page(http_request, "staff/locked_out.html", context, status=429, headers={"Retry-After": str(wait_s)})


def _wait_s(http_request: HttpRequest) -> int:
    credentials = getattr(http_request, "axes_credentials", None) or {}
    username = credentials.get("username") or http_request.user.get_username()
    [matching] = get_client_parameters(username, throttled_address(http_request), "", http_request)
    last = AccessAttempt.objects.filter(**matching).aggregate(last=Max("attempt_time"))["last"]
    end = (last or timezone.now()) + settings.AXES_COOLOFF_TIME
    return max(1, math.ceil((end - timezone.now()).total_seconds()))
