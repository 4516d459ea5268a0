"""Which addresses an operator may give for an upstream. Nothing in a call ever chooses one."""

import ipaddress
import socket
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

METADATA = ipaddress.ip_network("169.254.0.0/16")


def check_base_url(url: str) -> None:
    """Raise ValidationError unless this is a plain http(s) base URL: no user, query, fragment, control character.

    Plain http is for this machine and private networks; link-local addresses, where clouds keep their metadata, are
    refused in every spelling.
    """
    if not url.isascii() or not url.isprintable() or any(character in url for character in " \\?#@"):
        raise ValidationError("Give an address without spaces, user, query or fragment, such as https://host/v1.")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValidationError("Give an address that begins with http:// or https://.")
    try:
        _ = parts.port
    except ValueError as error:
        raise ValidationError("The port is not a number.") from error
    address = _as_address(parts.hostname)
    if address is not None and address in METADATA:
        raise ValidationError("Link-local addresses are not allowed.")
    if parts.scheme == "http" and address is not None and not address.is_private:
        raise ValidationError("Use https:// for an address that is not on this machine or a private network.")


def _as_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is a spelling of (decimal, octal and mapped ones too), or None for a name."""
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return _as_legacy_ipv4(host)
    return (isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped) or parsed


def _as_legacy_ipv4(host: str) -> ipaddress.IPv4Address | None:
    """What inet_aton makes of it: 2852039166, 0xa9.254.43518 and the like."""
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
