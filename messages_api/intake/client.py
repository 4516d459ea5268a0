"""What is known of a caller besides its key: where from, with what, and the socket that tells when it leaves."""

import socket
from dataclasses import dataclass

from django.http import HttpRequest

from messages_api.errors import RequestError

FORWARDED_LENGTH = 1024
USER_AGENT_LENGTH = 200
REQUEST_ID_LENGTH = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientInfo:
    """Who waits for the answer."""

    request_id: str
    """Ours, `req_…`: on every answer and the id of the usage record."""
    address: str | None
    user_agent: str
    client_request_id: str
    """What the caller sent as `X-Request-ID`: kept beside ours, never trusted as ours."""
    headers: dict[str, str]
    """Its `anthropic-*` headers, lower case, where the lane forwards them to an Anthropic upstream."""
    is_beta: bool
    """Whether it asked with `?beta=true`, which an Anthropic upstream is told on the native lane."""
    socket: socket.socket | None
    """Its connection, where the server shows it (gunicorn does); None elsewhere."""

    @classmethod
    def of(cls, http_request: HttpRequest, *, forwards_headers: bool) -> "ClientInfo":
        """Raise RequestError for a header that would be forwarded and is not printable ASCII or too long."""
        return cls(
            request_id=http_request.request_id,  # type: ignore[attr-defined]  # set by the boundary
            address=http_request.client_ip,  # type: ignore[attr-defined]  # set by the boundary
            user_agent=_printable(http_request.META.get("HTTP_USER_AGENT", ""))[:USER_AGENT_LENGTH],
            client_request_id=_printable(http_request.META.get("HTTP_X_REQUEST_ID", ""))[:REQUEST_ID_LENGTH],
            headers=_anthropic_headers(http_request) if forwards_headers else {},
            is_beta=http_request.GET.get("beta") == "true",
            socket=http_request.META.get("gunicorn.socket"),
        )


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())


def _anthropic_headers(http_request: HttpRequest) -> dict[str, str]:
    headers = {}
    for name, value in http_request.META.items():
        if not name.startswith(("HTTP_ANTHROPIC_", "HTTP_X_CLAUDE_CODE_")):
            continue
        header = name[5:].replace("_", "-").lower()
        if len(value) > FORWARDED_LENGTH or not (value.isascii() and value.isprintable()):
            raise RequestError(
                f"{header}: expected at most {FORWARDED_LENGTH} printable ASCII characters.", param=header
            )
        headers[header] = value
    return headers
