"""Examples of responses, produced by the encoders of the gateway."""

from messages_api.backend.protocol import chunks, model_list, sse
from messages_api.backend.protocol.types import Event, JSONObject, Message

CREATED = 1732233600
MESSAGE_EXAMPLE: Message = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": "claude-3-opus-20240229",
    "content": [{"type": "text", "text": "Hello!"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 12},
}
EVENTS_EXAMPLE: list[Event] = [
    {
        "type": "message_start",
        "message": {
            **MESSAGE_EXAMPLE,
            "content": [],
            "stop_reason": None,
            "usage": {"input_tokens": 9, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "!"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 12},
    },
    {"type": "message_stop"},
]
ENVELOPE_EXAMPLE: JSONObject = {
    "success": True,
    "code": "200",
    "message": "successful",
    "data": chunks.completion_from_message(MESSAGE_EXAMPLE, created=CREATED),
}
MODEL_PAGE_EXAMPLE = model_list.page([{"id": "claude-3-opus-20240229", "lifecycle": "active"}])


def event_stream_example() -> str:
    """Return a stream of the Anthropic API."""
    return b"".join(sse.frame(event, event["type"]) for event in EVENTS_EXAMPLE).decode()


def chunk_stream_example() -> str:
    """Return the same response as a stream of the envelope API."""
    encoder = chunks.ChunkEncoder(created=CREATED)
    return b"".join(frame for event in EVENTS_EXAMPLE for frame in encoder.feed(event)).decode()
