"""Envelope API: an envelope with an OpenAI-style completion, and chunk streams that end with `[DONE]`."""

import time
from typing import Any

from messages_api.apis.streaming import Batch, CompleteResponse
from messages_api.apis.success_envelope import success_envelope
from messages_api.backend.protocol import chunks, sse, wire

NAME = "envelope"
IS_STRICT = True
"""Undocumented fields are rejected: a typo must not be ignored silently."""


def success(response: CompleteResponse) -> bytes:
    """Encode the envelope of a completion."""
    completion = chunks.completion_from_message(response.message, created=int(time.time()), with_signatures=True)
    return wire.encode(success_envelope(completion))


def failure(*, status: int, type: str, message: str, param: str | None, request_id: str) -> dict[str, Any]:
    """Return the envelope of an error before the first byte. `code` is the HTTP status as text."""
    error = {"type": type, "message": message, "param": param}
    return {
        "success": False,
        "code": str(status),
        "message": message,
        "data": {"error": error, "request_id": request_id},
    }


class Encoder:
    """Encode events as `data:` lines with chunks. After an error there is no `[DONE]`."""

    def __init__(self) -> None:
        self._chunks = chunks.ChunkEncoder(created=int(time.time()), with_signatures=True)

    def feed(self, batch: Batch) -> bytes:
        return b"".join(frame for event in batch.events for frame in self._chunks.feed(event))

    def ping(self) -> bytes:
        return sse.comment("ping")
