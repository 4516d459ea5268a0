"""The envelope lane: four keys around an OpenAI-style completion, and chunk streams that end with `[DONE]`."""

import time
from typing import Any

from messages_api.apis.streaming import Answer, Batch
from messages_api.apis.success_envelope import success_envelope
from messages_api.backend.protocol import chunks, sse, wire

NAME = "envelope"
IS_STRICT = True
"""A field that this API does not document is refused: a typo must not vanish silently."""


def success(answer: Answer) -> bytes:
    """The JSON of a whole answer: the envelope of its completion."""
    completion = chunks.completion_from_message(answer.message, created=int(time.time()))
    return wire.encode(success_envelope(completion))


def failure(*, status: int, type: str, message: str, param: str | None, request_id: str) -> dict[str, Any]:
    """The envelope of an error before the first byte. `code` is the HTTP status as text."""
    error = {"type": type, "message": message, "param": param}
    return {
        "success": False,
        "code": str(status),
        "message": message,
        "data": {"error": error, "request_id": request_id},
    }


class Encoder:
    """Events → `data:` lines with chunks; after an error no `[DONE]`."""

    def __init__(self) -> None:
        self._chunks = chunks.ChunkEncoder(created=int(time.time()))

    def feed(self, batch: Batch) -> bytes:
        return b"".join(frame for event in batch.events for frame in self._chunks.feed(event))

    def ping(self) -> bytes:
        return sse.comment("ping")
