"""What the mock upstream sends, prepared as bytes: responses and streams in both dialects."""

import json
from typing import Any

from bench.load.bodies import INPUT_TOKENS, OUTPUT_TOKENS, TEXT


def response(body: Any, status: str = "200 OK") -> bytes:
    raw = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


def http_chunk(raw: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(raw), raw)


def _event(event: dict[str, Any]) -> bytes:
    return http_chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())


OPENAI_USAGE = {
    "prompt_tokens": INPUT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
}
ANTHROPIC_USAGE = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}

OPENAI_RESPONSE = response(
    {
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "mock",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": OPENAI_USAGE,
    }
)
ANTHROPIC_RESPONSE = response(
    {
        "id": "msg_mock",
        "type": "message",
        "role": "assistant",
        "model": "mock",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": ANTHROPIC_USAGE,
    }
)

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_CHUNK = b'data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1700000000,"model":"mock","choices":'
OPENAI_FIRST = http_chunk(_CHUNK + b'[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n')
OPENAI_DELTA = _CHUNK + b'[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n'
OPENAI_LAST = (
    http_chunk(_CHUNK + b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
    + http_chunk(_CHUNK + b'[],"usage":' + json.dumps(OPENAI_USAGE).encode() + b"}\n\n")
    + http_chunk(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)
ANTHROPIC_FIRST = _event(
    {
        "type": "message_start",
        "message": {
            "id": "msg_mock",
            "type": "message",
            "role": "assistant",
            "model": "mock",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": ANTHROPIC_USAGE | {"output_tokens": 1},
        },
    }
) + _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
ANTHROPIC_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"%s"}}\n\n'
)
ANTHROPIC_LAST = (
    _event({"type": "content_block_stop", "index": 0})
    + _event(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": OUTPUT_TOKENS},
        }
    )
    + _event({"type": "message_stop"})
    + b"0\r\n\r\n"
)
