"""Client IP of a request, behind trusted proxies or not."""

import ipaddress
import re
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest

MAX_REMEMBERED_LENGTH = 45  # of IPv6 that ends as IPv4
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([0-9A-Fa-f:.%]+)\](?::[0-9]{1,5})?")


def client_ip(http_request: HttpRequest) -> str | None:
    """Return the client's IP address in canonical form; None without one, as behind a Unix socket.

    If the peer is a trusted proxy, this is the rightmost IP address in `X-Forwarded-For` that is none; else the peer's.
    """
    peer = _canonical(http_request.META.get("REMOTE_ADDR", ""))
    if peer is None or not _is_trusted_proxy(peer):
        return peer
    for text in reversed(http_request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        forwarded = _canonical(_without_port(text.strip()))
        if forwarded is None:
            return peer  # the client may have written everything before the invalid text
        if not _is_trusted_proxy(forwarded):
            return forwarded
    return peer


def is_from_trusted_proxy(http_request: HttpRequest) -> bool:
    """Return whether the peer of a request is in `TRUSTED_PROXIES`."""
    peer = _canonical(http_request.META.get("REMOTE_ADDR", ""))
    return peer is not None and _is_trusted_proxy(peer)


def _without_port(text: str) -> str:
    """Return the IP address in `192.0.2.1:443`, `[2001:db8::1]:443` or `[2001:db8::1]`, as proxies write it."""
    found = _WITH_PORT.fullmatch(text)
    return found[1] or found[2] if found else text


def _canonical(text: str) -> str | None:
    """Return an IP address in canonical form, IPv4-mapped IPv6 as IPv4; None for anything else."""
    # One with a zone may be longer. Clients choose what is remembered, so it is bounded in number and in length.
    return _remembered(text) if len(text) <= MAX_REMEMBERED_LENGTH else _parsed(text)


def _parsed(text: str) -> str | None:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    # Without the zone, which can be any text and has a meaning on one machine only.
    return str(parsed).partition("%")[0]


_remembered = lru_cache(maxsize=4096)(_parsed)


def _is_trusted_proxy(ip: str) -> bool:
    if not settings.TRUSTED_PROXIES:
        return False
    parsed = ipaddress.ip_address(ip)
    return any(parsed in _network(proxy) for proxy in settings.TRUSTED_PROXIES)


@lru_cache(maxsize=64)
def _network(proxy: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(proxy, strict=False)
