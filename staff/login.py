"""Throttling of sign-ins: the attempts of a request, and the pages of a rejected one."""

import ipaddress
import math

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from lib.admin.render import admin_page
from lib.client_address import client_ip
from staff import login_attempts

IPV6_NETWORK = 64
"""Prefix length. A client usually owns a /64 of IPv6, so failures are counted by network."""
BUSY_RETRY_S = 5


def throttled_address(http_request: HttpRequest) -> str | None:
    """Return the IP address that login failures are counted by: the client's, or the /64 network of an IPv6 client."""
    found = client_ip(http_request)
    if found is None or ":" not in found:
        return found
    return str(ipaddress.ip_network(f"{found}/{IPV6_NETWORK}", strict=False).network_address)


def start_code(http_request: HttpRequest) -> bool:
    """Count the check of a two-factor code as a failed login, before the check. Return False during a lockout."""
    return login_attempts.count(http_request.user.get_username(), throttled_address(http_request))


def refund_code(http_request: HttpRequest) -> None:
    """Take back a counted code that was not checked."""
    login_attempts.refund(http_request.user.get_username(), throttled_address(http_request))


def is_locked_out(http_request: HttpRequest) -> bool:
    """Return whether the signed-in user is locked out at this IP address."""
    return login_attempts.is_locked_out(http_request.user.get_username(), throttled_address(http_request))


def succeeded(http_request: HttpRequest) -> None:
    """Clear the failures after the last step of the sign-in."""
    login_attempts.clear(http_request.user.get_username(), throttled_address(http_request))


def rejection(http_request: HttpRequest) -> HttpResponse | None:
    """Return the page for a login that was rejected without verification, or that led to a lockout; else None."""
    if getattr(http_request, "axes_locked_out", False):
        return locked_out(http_request)
    if getattr(http_request, "has_concurrent_logins", False):
        context = {"title": "Sign-in busy", "wait_s": BUSY_RETRY_S}
        headers = {"Retry-After": str(BUSY_RETRY_S)}
        return admin_page(http_request, "staff/busy.html", context, status=429, headers=headers)
    return None


def locked_out(http_request: HttpRequest) -> HttpResponse:
    """Return the lockout page: 429, with the seconds until the next attempt in Retry-After."""
    wait_s = _wait_s(http_request)
    context = {"title": "Sign-in blocked", "minutes": math.ceil(wait_s / 60)}
    return admin_page(http_request, "staff/locked_out.html", context, status=429, headers={"Retry-After": str(wait_s)})


def _wait_s(http_request: HttpRequest) -> int:
    credentials = getattr(http_request, "axes_credentials", None) or {}
    username = credentials.get("username") or http_request.user.get_username()
    end = login_attempts.locked_until(username, throttled_address(http_request))
    return max(1, math.ceil((end - timezone.now()).total_seconds()))
