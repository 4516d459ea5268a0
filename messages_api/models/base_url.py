"""Validation of an upstream's base URL. Only operators set it; a request never does."""

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

MAX_HOST_LENGTH = 253
LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
HOST_INVALID = "Enter a valid host name, or an IPv6 host in brackets."
METADATA = [
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",  # Amazon
        "fd20:ce::/32",  # Google
        "fd00:c1::/32",  # Oracle
        "192.0.0.192/32",  # Oracle
        "100.100.100.200/32",  # Alibaba
    )
]
"""Link-local networks, and the other IP addresses at which clouds serve metadata and credentials."""
EMBEDDED_IPV4 = [
    ipaddress.IPv6Network(network)
    for network in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
]
"""IPv6 networks whose last 32 bits are IPv4: compatible, mapped, translated, NAT64."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_base_url(url: str) -> None:
    """Raise ValidationError unless this is a plain http(s) URL without user, query, fragment and control characters.

    Plain http is allowed for this machine and private networks. Link-local networks and the other places where clouds
    serve their metadata are rejected in every spelling, also as IPv4 inside IPv6.
    """
    if not url.isascii() or not url.isprintable() or any(character in url for character in " \\?#@"):
        raise ValidationError("Enter a URL without spaces, user, query or fragment, such as https://host/v1.")
    try:
        parts = urlsplit(url)
    except ValueError as error:  # unbalanced brackets, or no IP address in them
        raise ValidationError(HOST_INVALID) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValidationError("Enter a URL that begins with http:// or https://.")
    try:
        _ = parts.port
    except ValueError as error:
        raise ValidationError("Enter a port from 0 to 65535.") from error
    if not _is_host(parts.netloc, parts.hostname):
        raise ValidationError(HOST_INVALID)
    address = _as_address(parts.hostname)
    if address is not None and any(each in network for each in _meanings(address) for network in METADATA):
        raise ValidationError("Link-local and metadata IP addresses are not allowed.")
    if parts.scheme == "http" and address is not None and not address.is_private:
        raise ValidationError("Use https:// for a public IP address.")


def _is_host(netloc: str, host: str) -> bool:
    """Return whether the host is an IP address in brackets, or a name that can be resolved (RFC 1035, 2.3.4)."""
    if netloc.startswith("["):
        return ":" in host and "%" not in host  # urlsplit has checked the rest
    return len(host) <= MAX_HOST_LENGTH and all(map(LABEL.fullmatch, host.removesuffix(".").split(".")))


def _as_address(host: str) -> Address | None:
    """Return the IP address that a host spells (also as a decimal, octal or mapped one), or None for a name."""
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return _as_legacy_ipv4(host)
    return (isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped) or parsed


def _meanings(address: Address) -> list[Address]:
    """Return an IP address, and those of IPv4 that it embeds for gateways to IPv4."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    embedded: list[Address | None] = [address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in EMBEDDED_IPV4):
        embedded.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [address, *(each for each in embedded if each is not None)]


def _as_legacy_ipv4(host: str) -> ipaddress.IPv4Address | None:
    """Parse a spelling that inet_aton accepts: 2852039166, 0xa9.254.43518 and the like."""
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
