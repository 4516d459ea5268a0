"""A real call to an upstream, so that an operator sees whether address, credential and model are right."""

import time
from dataclasses import dataclass

from messages_api.backend import adapters
from messages_api.backend.attempt import Attempt
from messages_api.backend.endpoint import Target
from messages_api.backend.protocol import wire
from messages_api.backend.protocol.types import MessagesRequest
from messages_api.backend.upstream_error import UpstreamError
from messages_api.models import Upstream

MAX_TOKENS = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How the call ended."""

    ok: bool
    status: int | None
    """The upstream's HTTP status; None: it did not answer."""
    message: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class _Body:
    request: MessagesRequest

    @property
    def raw(self) -> bytes:
        return wire.encode(self.request)


def test_connection(upstream: Upstream, *, model: str) -> Result:
    """Ask `model` for one token, with the credential and the deadlines of the row. Leaves no usage record."""
    request: MessagesRequest = {
        "model": model,
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    attempt = Attempt(
        body=_Body(request),
        target=Target(endpoint=upstream.endpoint(), model=model),
        is_anthropic_api=False,
        client_headers={},
        input_estimate=1,
    )
    begun = time.monotonic()
    try:
        answer = adapters.message(attempt)
        ok, message = True, f"It answered as {answer.message['model']}."
    except UpstreamError as error:
        ok, message = False, error.message
    finally:
        attempt.exchange.close()
    duration_ms = round((time.monotonic() - begun) * 1000)
    return Result(ok=ok, status=attempt.exchange.response_status, message=message, duration_ms=duration_ms)
