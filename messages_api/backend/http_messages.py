"""Requests and responses of `requests`, without what an exchange has no use for."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import cached_property
from http.client import responses as reason_phrases
from typing import Any

import requests
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict
from requests.utils import default_user_agent

from messages_api.backend.destination import Destination
from messages_api.backend.exchange_state import ExchangeState
from messages_api.backend.response_body import ResponseBody

JOINED_BYTES = 65_536
"""Bodies up to this size are sent with the head, in one system call and one packet. Larger ones are not copied."""
USER_AGENT = default_user_agent()


class Headers(CaseInsensitiveDict[str]):
    """Headers in order. Repeated ones become a list (RFC 9110, 5.3)."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        store: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._store = store
        for name, value in pairs:
            lowered = name.lower()
            if lowered in store:
                value = f"{store[lowered][1]}, {value}"
            store[lowered] = (name, value)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Iterate over names and values. `items` looks each name up again."""
        return iter(self._store.values())


class ExchangeRequest(requests.PreparedRequest):
    """A prepared request whose exchange other threads can abort while it is sent."""

    headers: Headers

    def __init__(
        self, state: ExchangeState, *, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> None:
        super().__init__()
        self.state = state
        self.method = method
        self.url = url
        self.headers = Headers(headers.items())
        self.body = body


class ExchangeResponse(requests.Response):
    """A response. Its cookie jar, which alone takes longer than the rest, is made when something asks for it."""

    raw: ResponseBody

    def __init__(self, *, status: int, headers: Headers, raw: ResponseBody, request: requests.PreparedRequest) -> None:
        self._content: Any = False
        self._content_consumed = False
        self._next = None
        self.status_code = status
        self.headers = headers
        self.raw = raw
        self.url = str(request.url)
        self.encoding = None
        self.history = []
        self.reason = reason_phrases.get(status, "")
        self.elapsed = timedelta(0)
        self.request = request

    @cached_property
    def cookies(self) -> RequestsCookieJar:  # type: ignore[override]
        return RequestsCookieJar()


def message_of(request: requests.PreparedRequest, destination: Destination) -> list[bytes]:
    """Return the bytes of a request. Raise ValueError for a header that would be two, or that cannot be encoded."""
    headers = request.headers
    lines = [f"{request.method} {destination.target} HTTP/1.1", f"Host: {destination.host_header}"]
    if "user-agent" not in headers:
        lines.append(f"User-Agent: {USER_AGENT}")
    pairs = headers.pairs() if isinstance(headers, Headers) else headers.items()
    lines += [f"{name}: {value}" for name, value in pairs]
    head = "\r\n".join(lines)
    if head.count("\r") != len(lines) - 1 or head.count("\n") != len(lines) - 1 or "\0" in head:
        raise ValueError("a header has a line end or a NUL")
    encoded = head.encode("latin-1") + b"\r\n\r\n"
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    return [encoded + body] if len(body) <= JOINED_BYTES else [encoded, body]
