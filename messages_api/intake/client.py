"""Information about the client of a request: IP address, user agent, forwarded headers, socket."""

import socket
from dataclasses import dataclass

from django.http import HttpRequest

from messages_api.backend.protocol.headers import FORWARDED
from messages_api.errors import RequestError

MAX_FORWARDED_LENGTH = 1024
MAX_USER_AGENT_LENGTH = 200
MAX_REQUEST_ID_LENGTH = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientInfo:
    request_id: str
    """The gateway's own, `req_…`: in every response, and the ID of the usage record."""
    ip_address: str | None
    user_agent: str
    client_request_id: str
    """`X-Request-ID` of the client: recorded, never used as the gateway's own."""
    headers: dict[str, str]
    """The headers that the API forwards to an Anthropic upstream, in lower case."""
    is_beta: bool
    """Whether the query has `beta=true`, which the Anthropic API forwards to an Anthropic upstream."""
    socket: socket.socket | None
    """The connection, if the server exposes it (gunicorn does)."""

    @classmethod
    def of(cls, http_request: HttpRequest, *, forwards_headers: bool) -> "ClientInfo":
        """Read it from a request. Raise RequestError for a forwarded header that is too long or not printable ASCII."""
        return cls(
            request_id=http_request.request_id,  # type: ignore[attr-defined]  # set by the middleware
            ip_address=http_request.client_ip,  # type: ignore[attr-defined]  # set by the middleware
            user_agent=_printable(http_request.META.get("HTTP_USER_AGENT", ""))[:MAX_USER_AGENT_LENGTH],
            client_request_id=_printable(http_request.META.get("HTTP_X_REQUEST_ID", ""))[:MAX_REQUEST_ID_LENGTH],
            headers=_forwarded_headers(http_request) if forwards_headers else {},
            is_beta=http_request.GET.get("beta") == "true",
            socket=http_request.META.get("gunicorn.socket"),
        )


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())


def _forwarded_headers(http_request: HttpRequest) -> dict[str, str]:
    headers = {}
    for header in FORWARDED:
        value = http_request.META.get(f"HTTP_{header.replace('-', '_').upper()}")
        if value is None:
            continue
        if len(value) > MAX_FORWARDED_LENGTH or not (value.isascii() and value.isprintable()):
            raise RequestError(
                f"{header}: expected at most {MAX_FORWARDED_LENGTH} printable ASCII characters.", param=header
            )
        headers[header] = value
    return headers
