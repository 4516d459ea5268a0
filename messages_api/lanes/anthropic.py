"""The native lane: Anthropic's own Message, event stream and error object."""

from typing import Any

from messages_api.backend.protocol import sse
from messages_api.backend.protocol.types import Message
from messages_api.lanes.streaming import Batch

NAME = "anthropic"
IS_STRICT = False
"""The list of fields is open: clients send new ones with each release."""


def success(message: Message) -> dict[str, Any]:
    """A Message is what this lane's callers expect."""
    return dict(message)


def failure(*, status: int, type: str, message: str, param: str | None, request_id: str) -> dict[str, Any]:
    """Anthropic's error object. It has no field for `param`: the message names the field."""
    if param is not None and param not in message:
        message = f"{param}: {message}"
    return {"type": "error", "error": {"type": type, "message": message}, "request_id": request_id}


class Encoder:
    """Events as named server-sent events."""

    def feed(self, batch: Batch) -> bytes:
        return b"".join(sse.frame(event, event["type"]) for event in batch.events)

    def ping(self) -> bytes:
        return sse.frame({"type": "ping"}, "ping")
