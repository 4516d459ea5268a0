"""One attempt at one target: the input of the adapters and their result."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from lib import failure_reasons as reasons
from lib.json_size import TooManyValues
from messages_api.backend.endpoint import Target
from messages_api.backend.exchange import NEVER, Exchange
from messages_api.backend.protocol import whole, wire
from messages_api.backend.protocol.error_mapping import FAILED_GENERATIONS, UNREADABLE, MappedError
from messages_api.backend.protocol.ids import Ids, tool_ids
from messages_api.backend.protocol.served import Served
from messages_api.backend.protocol.types import Message, MessagesRequest
from messages_api.backend.protocol.usage import ReportedUsage, Usage
from messages_api.backend.upstream_error import UpstreamError

MILLISECONDS = re.compile(r"[0-9]{1,9}")
IDENTIFIER = re.compile(r"[A-Za-z0-9_.:/+=@-]{1,128}")
RETRY_VALUE = re.compile(r"[A-Za-z0-9 ,:.-]{1,40}")  # seconds, a date or a truth value


class AttemptBody(Protocol):
    """A request body: the client's bytes and the parsed request."""

    @property
    def raw(self) -> bytes: ...

    @property
    def request(self) -> MessagesRequest: ...


@dataclass(kw_only=True)
class Attempt:
    """A request to one target, and the HTTP exchange that carries it."""

    body: AttemptBody
    target: Target
    is_anthropic_api: bool
    """Whether the client uses the Anthropic API, so that the bytes of an Anthropic upstream can be passed through."""
    client_headers: dict[str, str]
    """The client's headers that are forwarded. Used for the Anthropic API only."""
    is_beta: bool = False
    """Whether the client sent `?beta=true`, the only query parameter that is forwarded."""
    input_estimate: int
    """Estimated input tokens."""
    dropped: list[str] = field(default_factory=list)
    """Paths of optional fields that the upstream's dialect does not have. Set by the adapter."""
    expires_at: float = NEVER
    """The request timeout, as a monotonic time."""
    exchange: Exchange = field(init=False)
    error: UpstreamError | None = None
    """The error of a failed attempt."""
    reported_usage: Callable[[], Usage] = Usage
    """Returns the counts that the upstream has reported so far. Set by the adapter."""
    served: Served = field(default_factory=Served)
    """What was served, as the upstream states it. Filled or replaced by the adapter."""

    def __post_init__(self) -> None:
        self._started_at = time.monotonic()
        self.exchange = Exchange(self.target.endpoint, total_expires_at=self.expires_at)

    @property
    def request(self) -> MessagesRequest:
        return self.body.request

    @cached_property
    def ids(self) -> Ids:
        return Ids(os.urandom(12).hex(), taken=tool_ids(self.request))

    def send(
        self, path: str, body: bytes, *, headers: dict[str, str], map_error: Callable[[int, object], MappedError]
    ) -> None:
        """Open the exchange. Raise UpstreamError unless the status is 200; `map_error` reads the dialect's errors."""
        self.exchange.open(path, body, {"Content-Type": "application/json", **headers})
        status = self.exchange.response_status
        if status == 200:
            return
        assert status is not None
        mapped = map_error(status, _json_or_text(self.exchange.read_all()))
        raise UpstreamError.from_mapped(
            mapped, endpoint=self.target.endpoint, headers=self._retry_headers(), http_status=status
        )

    def read_body(self) -> bytes:
        """Read the complete response. Raise UpstreamError if it is incomplete."""
        try:
            return self.exchange.read_all()
        except UpstreamError as error:
            self.unreadable(error, self.exchange.incomplete_body)
            raise

    def decode(self, raw: bytes) -> object:
        """Return the JSON value of a response. Raise UpstreamError if it is not JSON."""
        try:
            return wire.decode(raw)
        except TooManyValues as error:
            too_large = UpstreamError(
                "The upstream's response holds too many values.", reason=reasons.RESPONSE_TOO_LARGE
            )
            raise self.unreadable(too_large, raw) from error
        except ValueError as error:
            not_json = UpstreamError("The upstream's response is not JSON.", reason=reasons.RESPONSE_NOT_JSON)
            raise self.unreadable(not_json, raw) from error

    def invalid(self, mapped: MappedError, raw: bytes) -> UpstreamError:
        """Return the error for a complete response that is an error itself, or that cannot be used."""
        error = UpstreamError.from_mapped(mapped, endpoint=self.target.endpoint)
        if mapped in FAILED_GENERATIONS and not whole.has_content(raw):
            return error
        return self.unreadable(error, raw) if mapped in UNREADABLE | FAILED_GENERATIONS else error

    def unreadable(self, error: UpstreamError, raw: bytes) -> UpstreamError:
        """Return the error of a response that cannot be used. One that was generated is not requested again."""
        is_billed = self.target.endpoint.profile.bills_unreadable and whole.is_generated(raw)
        return error.as_billed() if is_billed else error

    def _retry_headers(self) -> dict[str, str]:
        """Return the upstream's headers about retries. None of its other headers reaches the client."""
        received = self.exchange.response_headers
        headers = {name: received.get(name) for name in ("retry-after", "x-should-retry")}
        milliseconds = received.get("retry-after-ms", "")
        if headers["retry-after"] is None and MILLISECONDS.fullmatch(milliseconds):
            headers["retry-after"] = f"{int(milliseconds) / 1000:g}"
        return {name: value for name, value in headers.items() if value is not None and RETRY_VALUE.fullmatch(value)}

    @property
    def upstream_request_id(self) -> str:
        """The upstream's request ID, for inquiries to its operator. Empty if it sent none that looks like one."""
        for name in ("request-id", "x-request-id"):
            value = str(self.exchange.response_headers.get(name) or "").partition(",")[0]  # a proxy may add another
            if IDENTIFIER.fullmatch(value):
                return value
        return ""

    def summary(self, *, with_tokens: bool = False) -> dict[str, Any]:
        """Return the entry of this attempt in the usage record: `with_tokens`, if the upstream may have billed any."""
        tokens = self._billable_tokens() if with_tokens and self.exchange.may_be_billed else {}
        return {
            "upstream": self.target.endpoint.name,
            "model": self.target.model,
            "status": self.exchange.response_status,
            "ms": round((time.monotonic() - self._started_at) * 1000),
            **self._outcome(),
            **tokens,
        }

    def _outcome(self) -> dict[str, str]:
        """Return the error type, empty without an error; of a failed attempt also the reason and the request ID."""
        if self.error is None:
            return {"error": ""}
        failed = {"error": self.error.type, "reason": self.error.reason}
        return failed | ({"request_id": self.upstream_request_id} if self.upstream_request_id else {})

    def _billable_tokens(self) -> dict[str, Any]:
        """Return the counts that the upstream reported, or the estimate of the input: no output was received."""
        reported = self.reported_usage()
        if reported == Usage():
            return {"input_tokens": self.input_estimate, "output_tokens": 0, "usage_source": "estimated"}
        return {
            "input_tokens": self.input_estimate if reported.input is None else reported.input,
            "output_tokens": reported.output or 0,
            **({"cache_read_tokens": reported.cache_read} if reported.cache_read else {}),
            **({"cache_write_tokens": reported.cache_write} if reported.cache_write else {}),
            "usage_source": "partial" if reported.input is None or reported.output is None else "reported",
        }


class TokenCount(NamedTuple):
    """The input tokens of a request."""

    tokens: int
    is_estimated: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamResponse:
    """A complete response and the usage that the upstream reported."""

    message: Message
    reported_usage: ReportedUsage
    raw: bytes | None = None
    """The upstream's bytes, if they equal the message and can be passed through to a client of the Anthropic API."""


def _json_or_text(raw: bytes) -> object:
    """Decode the body of an error: its JSON value, or its text if it is not JSON. It may be an event of a stream."""
    if whole.is_stream(raw):
        raw = whole.first_data(raw)
    try:
        return wire.decode(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")
