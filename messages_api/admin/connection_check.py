"""Connection check: a one-token request that shows whether URL, credential and model of an upstream are right."""

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
class ConnectionResult:
    """Outcome of a connection check."""

    ok: bool
    status: int | None
    """HTTP status of the upstream; None if it did not respond."""
    message: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class _Body:
    request: MessagesRequest

    @property
    def raw(self) -> bytes:
        return wire.encode(self.request)


def check_connection(upstream: Upstream, *, model: str) -> ConnectionResult:
    """Request one token from `model` with the stored credential and timeouts. Writes no usage record."""
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
    started = time.monotonic()
    try:
        response = adapters.message(attempt)
        ok, message = True, f"Model in the response: {response.message['model']}."
    except UpstreamError as error:
        ok, message = False, error.message
    finally:
        attempt.exchange.close()
    duration_ms = round((time.monotonic() - started) * 1000)
    return ConnectionResult(ok=ok, status=attempt.exchange.response_status, message=message, duration_ms=duration_ms)
