"""Addresses and networks that callers may come from: pure, without Django."""

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(text: str) -> Network:
    """An address or a network as `192.0.2.0/24`, a mapped IPv4 one as IPv4. Raise ValueError for anything else."""
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


def is_within(address: str | None, networks: Iterable[Network]) -> bool:
    """Whether an address in its canonical spelling lies in one of the networks. Nowhere lies in none."""
    if address is None:
        return False
    parsed = ipaddress.ip_address(address)
    return any(parsed in each for each in networks)
