"""One try at one target: what the adapters are given, and what they give back."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from messages_api.backend.endpoint import Target
from messages_api.backend.exchange import NEVER, Exchange
from messages_api.backend.protocol import wire
from messages_api.backend.protocol.error_mapping import MappedError
from messages_api.backend.protocol.ids import Ids, tool_ids
from messages_api.backend.protocol.types import Message, MessagesRequest
from messages_api.backend.reported_usage import ReportedUsage
from messages_api.backend.upstream_error import UpstreamError

RETRY_VALUE = re.compile(r"[A-Za-z0-9 ,:-]{1,40}")  # seconds, a date, or a truth value


class AttemptBody(Protocol):
    """A request as it came and as it reads."""

    @property
    def raw(self) -> bytes: ...

    @property
    def request(self) -> MessagesRequest: ...


@dataclass(kw_only=True)
class Attempt:
    """What goes to an upstream, and the exchange it goes through."""

    body: AttemptBody
    target: Target
    is_anthropic_api: bool
    """Whether the caller speaks Anthropic's dialect, so that an Anthropic upstream's bytes may go out as they are."""
    client_headers: dict[str, str]
    """The caller's `anthropic-*` headers. They matter on the native lane only."""
    is_beta: bool = False
    """Whether the caller asked with `?beta=true`: the one thing of a query string that is passed on."""
    input_estimate: int
    dropped: list[str] = field(default_factory=list)
    """What the upstream's dialect cannot say and the answer does not depend on; set by the adapter."""
    expires_at: float = NEVER
    """The monotonic moment at which the call's time is up."""
    exchange: Exchange = field(init=False)
    error: UpstreamError | None = None
    """Why it failed, once it has."""

    def __post_init__(self) -> None:
        self._started_at = time.monotonic()
        self.exchange = Exchange(self.target.endpoint, total_expires_at=self.expires_at)

    @property
    def request(self) -> MessagesRequest:
        return self.body.request

    @cached_property
    def ids(self) -> Ids:
        return Ids(_new_id, taken=tool_ids(self.request))

    def send(
        self, path: str, body: bytes, *, headers: dict[str, str], map_error: Callable[[int, object], MappedError]
    ) -> None:
        """Open the exchange. Raise UpstreamError for anything but a 200; `map_error` reads the dialect's errors."""
        self.exchange.open(path, body, {"Content-Type": "application/json", **headers})
        status = self.exchange.response_status
        if status == 200:
            return
        assert status is not None
        failure = map_error(status, _json_or_text(self.exchange.read_all()))
        raise UpstreamError.from_mapped(failure, endpoint=self.target.endpoint, headers=self._retry_headers())

    def answer(self) -> tuple[object, bytes]:
        """The JSON of the whole answer, and its bytes. Raise UpstreamError for what is none."""
        raw = self.exchange.read_all()
        try:
            return wire.decode(raw), raw
        except ValueError as error:
            raise UpstreamError("The upstream's answer is not JSON.") from error

    def _retry_headers(self) -> dict[str, str]:
        """What the upstream says of another attempt. Nothing else of its headers reaches the caller."""
        headers = {name: self.exchange.response_headers.get(name) for name in ("retry-after", "x-should-retry")}
        return {name: value for name, value in headers.items() if value is not None and RETRY_VALUE.fullmatch(value)}

    @property
    def upstream_request_id(self) -> str:
        """The upstream's own name for this exchange, for whoever asks its operator."""
        for name in ("request-id", "x-request-id"):
            if value := self.exchange.response_headers.get(name):
                return str(value)
        return ""

    def summary(self) -> dict[str, Any]:
        """What the usage record keeps of this attempt."""
        return {
            "upstream": self.target.endpoint.name,
            "model": self.target.model,
            "status": self.exchange.response_status,
            "ms": round((time.monotonic() - self._started_at) * 1000),
            "error": self.error.type if self.error is not None else "",
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamResponse:
    """A whole answer, and what the upstream said it used."""

    message: Message
    reported_usage: ReportedUsage
    raw: bytes | None = None
    """The bytes it came in, where a caller who speaks the upstream's dialect may have them as they are."""


def _json_or_text(raw: bytes) -> object:
    """The body of an error, as its upstream's dialect reads it: decoded, or its text where it is no JSON."""
    try:
        return wire.decode(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


def _new_id(kind: str) -> str:
    return f"{kind}_{os.urandom(12).hex()}"
