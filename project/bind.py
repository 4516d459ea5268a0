"""The address that the gateway listens on, as `BIND` says it: host:port, [IPv6]:port, :port or unix:path."""

import ipaddress


def split(bind: str) -> tuple[str, int]:
    """Host and port; an empty host means every address. Raise ValueError for a Unix socket or a missing port."""
    host, colon, port = bind.rpartition(":")
    if not colon or bind.startswith(("unix:", "fd:")):
        raise ValueError("not a host and a port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def join(host: str, port: int) -> str:
    """The address of a host and a port, as `BIND` and URLs say it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(bind: str) -> bool:
    """Whether only this machine can reach the address."""
    if bind.startswith(("unix:", "fd:")):
        return True
    host = split(bind)[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
