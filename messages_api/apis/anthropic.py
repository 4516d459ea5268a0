"""The native lane: Anthropic's own Message, event stream and error object."""

from typing import Any

from messages_api.apis.streaming import Answer, Batch
from messages_api.backend.protocol import sse, wire

NAME = "anthropic"
IS_STRICT = False
"""The list of fields is open: clients send new ones with each release."""


def success(answer: Answer) -> bytes:
    """The JSON of a whole answer: a Message, byte for byte as an Anthropic upstream sent it."""
    return answer.raw or wire.encode(answer.message)


def failure(*, status: int, type: str, message: str, param: str | None, request_id: str) -> dict[str, Any]:
    """Anthropic's error object. It has no field for `param`: the message names the field."""
    if param is not None and param not in message:
        message = f"{param}: {message}"
    return {"type": "error", "error": {"type": type, "message": message}, "request_id": request_id}


class Encoder:
    """Events as named server-sent events; the bytes of an Anthropic upstream as they came."""

    def feed(self, batch: Batch) -> bytes:
        if batch.raw is not None:
            return batch.raw
        return b"".join(sse.frame(event, event["type"]) for event in batch.events)

    def ping(self) -> bytes:
        return sse.frame({"type": "ping"}, "ping")
