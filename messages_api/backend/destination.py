"""The destination of a request: the server that its URL names, and what the request line says."""

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from requests.exceptions import InvalidURL

PORTS = {"http": 80, "https": 443}


class Destination(NamedTuple):
    scheme: str
    host: str
    """As it is looked up."""
    port: int
    host_header: str
    target: str
    """Path and query."""

    @property
    def server_name(self) -> str:
        """The name that a certificate must have."""
        return self.host.rstrip(".")


@lru_cache(maxsize=1024)
def destination_of(url: str) -> Destination:
    """Return the destination of a URL. Raise InvalidURL if it has none, or characters that end a request line."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidURL("the URL is invalid") from error
    host, target = parts.hostname, parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    if not host or parts.scheme not in PORTS or not (target.isascii() and target.isprintable()) or " " in target:
        raise InvalidURL("the URL is invalid")
    named = f"[{host}]" if ":" in host else host.rstrip(".")
    default = PORTS[parts.scheme]
    port = default if port is None else port
    return Destination(parts.scheme, host, port, named if port == default else f"{named}:{port}", target)
