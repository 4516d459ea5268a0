"""Anthropic API: message, event stream and error object as Anthropic's own API sends them."""

from typing import Any

from messages_api.apis.streaming import Batch, CompleteResponse
from messages_api.backend.protocol import sse, wire

NAME = "anthropic"
IS_STRICT = False
"""Unknown fields are accepted: clients send new ones with each release."""


def success(response: CompleteResponse) -> bytes:
    """Encode a message, or return the bytes of an Anthropic upstream unchanged."""
    return response.raw or wire.encode(response.message)


def failure(*, status: int, type: str, message: str, param: str | None, request_id: str) -> dict[str, Any]:
    """Return Anthropic's error object. It has no `param`, so the message names the field."""
    if param is not None and param not in message:
        message = f"{param}: {message}"
    return {"type": "error", "error": {"type": type, "message": message}, "request_id": request_id}


class Encoder:
    """Encode events as named server-sent events, or return the bytes of an Anthropic upstream unchanged."""

    def feed(self, batch: Batch) -> bytes:
        if batch.raw is not None:
            return batch.raw
        return b"".join(sse.frame(event, event["type"]) for event in batch.events)

    def ping(self) -> bytes:
        return sse.frame({"type": "ping"}, "ping")
