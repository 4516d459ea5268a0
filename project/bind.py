"""Parsing of `BIND`, where the gateway listens: host:port, [IPv6]:port, :port or unix:path."""

import ipaddress

MAX_PORT = 65_535


def split(bind: str) -> tuple[str, int]:
    """Return host and port; an empty host means all interfaces. Raise ValueError for a socket, or without a port."""
    host, colon, port = bind.rpartition(":")
    if not colon or bind.startswith(("unix:", "fd:")):
        raise ValueError("not a host and a port")
    number = int(port)
    if not 0 <= number <= MAX_PORT:
        raise ValueError("not a port")
    return host.removeprefix("[").removesuffix("]"), number


def join(host: str, port: int) -> str:
    """Return host and port as in `BIND` and URLs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(bind: str) -> bool:
    """Return whether only clients on this machine can connect."""
    if bind.startswith(("unix:", "fd:")):
        return True
    host = split(bind)[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
