"""IP addresses and networks of clients. Pure."""

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(text: str) -> Network:
    """Parse an IP address or a CIDR range; IPv4-mapped IPv6 becomes IPv4. Raise ValueError for anything else."""
    parsed = ipaddress.ip_network(text, strict=False)
    mapped = parsed.network_address.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Network) else None
    if mapped is not None and parsed.prefixlen >= 96:
        return ipaddress.IPv4Network((mapped, parsed.prefixlen - 96))
    return parsed


def is_network(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(network(text))
    except ValueError:
        return False


def is_within(client_ip: str | None, networks: Iterable[Network]) -> bool:
    """Return whether an IP address in canonical form is in one of the networks. An unknown one is in none."""
    if client_ip is None:
        return False
    parsed = ipaddress.ip_address(client_ip)
    return any(parsed in each for each in networks)
