"""Information about the client of a request: IP address, user agent, attribution, forwarded headers, socket."""

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from messages_api.backend.protocol.headers import FORWARDED
from messages_api.errors import RequestError

MAX_FORWARDED_LENGTH = 1024
MAX_USER_AGENT_LENGTH = 200
MAX_REQUEST_ID_LENGTH = 128
MAX_ID_LENGTH = 64
MAX_USER_ID_LENGTH = 1024
MAX_TAGS = 5
TAG = re.compile(r"([A-Za-z][A-Za-z0-9_.-]{0,31})=([!-+\--~]{1,64})")
"""`name=value`. The value is printable ASCII without spaces and commas, which separate repeated headers."""
TAG_HEADER = "x-gateway-tag"
VARIABLES = {header: f"HTTP_{header.replace('-', '_').upper()}" for header in FORWARDED}
"""The WSGI variables of the headers that are forwarded."""
SESSION_IN_USER_ID = "_session_"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientInfo:
    request_id: str
    """The gateway's own, `req_…`: in every response, and the ID of the usage record."""
    ip_address: str | None
    user_agent: str
    client_request_id: str
    """`X-Request-ID` of the client: recorded, never used as the gateway's own."""
    session_id: str
    """The session, agent and kind of request that Claude Code names in its headers. Empty if there is none."""
    agent_id: str
    parent_agent_id: str
    request_class: str
    tags: dict[str, str]
    """The client's own `x-gateway-tag: name=value`, by name."""
    headers: dict[str, str]
    """The headers that the API forwards to an Anthropic upstream, in lower case."""
    is_beta: bool
    """Whether the query has `beta=true`, which the Anthropic API forwards to an Anthropic upstream."""
    arrived_at: float
    """When the head of the request had arrived, as a monotonic time."""
    socket: socket.socket | None
    """The connection, if the server exposes it (gunicorn does)."""

    @classmethod
    def of(cls, http_request: HttpRequest, *, forwards_headers: bool) -> "ClientInfo":
        """Read it from a request.

        Raise RequestError for an invalid tag, and for a forwarded header that is too long or not printable ASCII.
        """
        meta = http_request.META
        return cls(
            request_id=http_request.request_id,  # type: ignore[attr-defined]  # set by the middleware
            ip_address=http_request.client_ip,  # type: ignore[attr-defined]  # set by the middleware
            user_agent=_printable(meta.get("HTTP_USER_AGENT", ""))[:MAX_USER_AGENT_LENGTH],
            client_request_id=_printable(meta.get("HTTP_X_REQUEST_ID", ""))[:MAX_REQUEST_ID_LENGTH],
            session_id=_printable(meta.get("HTTP_X_CLAUDE_CODE_SESSION_ID", ""))[:MAX_ID_LENGTH],
            agent_id=_printable(meta.get("HTTP_X_CLAUDE_CODE_AGENT_ID", ""))[:MAX_ID_LENGTH],
            parent_agent_id=_printable(meta.get("HTTP_X_CLAUDE_CODE_PARENT_AGENT_ID", ""))[:MAX_ID_LENGTH],
            request_class=_printable(meta.get("HTTP_X_CLAUDE_CODE_REQUEST_CLASS", ""))[:MAX_ID_LENGTH],
            tags=_tags(meta.get("HTTP_X_GATEWAY_TAG", "")),
            headers=_forwarded_headers(http_request) if forwards_headers else {},
            is_beta=bool(meta.get("QUERY_STRING")) and http_request.GET.get("beta") == "true",
            arrived_at=http_request.arrived_at,  # type: ignore[attr-defined]  # set by the middleware
            socket=http_request.META.get("gunicorn.socket"),
        )


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character for character in text if character.isprintable())


def _tags(text: str) -> dict[str, str]:
    """Return the tags of a header, which may be repeated. Raise RequestError for an invalid one and for too many."""
    tags = {}
    for part in text.split(",") if text else ():
        match = TAG.fullmatch(part.strip())
        if match is None:
            raise RequestError(
                f"{TAG_HEADER}: expected name=value, with a name of at most 32 letters, digits, _ . and - that "
                "begins with a letter, and a value "
                "of at most 64 printable characters without spaces and commas.",
                param=TAG_HEADER,
            )
        tags[match[1]] = match[2]
    if len(tags) > MAX_TAGS:
        raise RequestError(f"{TAG_HEADER}: expected at most {MAX_TAGS} tags.", param=TAG_HEADER)
    return tags


def session_in(request: Mapping[str, Any]) -> str:
    """Return the session in `metadata.user_id`, where Claude Code states it too; empty if there is none.

    It is a JSON text with the device, the account and the session, or in old versions `user_…_account_…_session_…`.
    """
    metadata = request.get("metadata")
    user_id = metadata.get("user_id") if isinstance(metadata, Mapping) else None
    if not isinstance(user_id, str) or len(user_id) > MAX_USER_ID_LENGTH:
        return ""
    if not user_id.startswith("{"):
        return _printable(user_id.partition(SESSION_IN_USER_ID)[2])[:MAX_ID_LENGTH]
    try:
        session = json.loads(user_id).get("session_id")
    except (ValueError, RecursionError):
        return ""
    return _printable(session)[:MAX_ID_LENGTH] if isinstance(session, str) else ""


def _forwarded_headers(http_request: HttpRequest) -> dict[str, str]:
    headers = {}
    for header, variable in VARIABLES.items():
        value = http_request.META.get(variable)
        if value is None:
            continue
        if len(value) > MAX_FORWARDED_LENGTH or not (value.isascii() and value.isprintable()):
            raise RequestError(
                f"{header}: expected at most {MAX_FORWARDED_LENGTH} printable ASCII characters.", param=header
            )
        headers[header] = value
    return headers
