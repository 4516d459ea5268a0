"""The schemas of what the gateway answers, and examples that its own encoders have written."""

from typing import Any

from messages_api.backend.protocol import chunks, model_list, sse
from messages_api.backend.protocol.types import Event, JSONObject, Message

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
OBJECT: Schema = {"type": "object"}

ERROR_TYPES = [
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "conflict_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "overloaded_error",
    "timeout_error",
]
ERROR_TYPE: Schema = {"type": "string", "examples": ERROR_TYPES}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def always(value: object) -> Schema:
    return {"const": value}


def described(schema: Schema, description: str) -> Schema:
    return {"description": description, **schema}


def fields(required: dict[str, Schema], /, **optional: Schema) -> Schema:
    """An object that may have more fields than those listed."""
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def exactly(required: dict[str, Schema], /, **optional: Schema) -> Schema:
    """An object that has no other fields."""
    return {**fields(required, **optional), "additionalProperties": False}


def event(type: str, /, **required: Schema) -> Schema:
    return fields({"type": always(type), **required})


# ---- the envelope lane

TOOL_CALL = exactly(
    {
        "id": TEXT,
        "type": always("function"),
        "function": exactly({"name": TEXT, "arguments": described(TEXT, "A JSON object, as text.")}),
    }
)
FINISH_REASON: Schema = {"enum": ["stop", "length", "tool_calls", "content_filter"]}
COMPLETION_MESSAGE = exactly(
    {"role": always("assistant"), "content": described(TEXT_OR_NULL, "Null if the model only called tools.")},
    reasoning_content=described(TEXT, "What the model thought."),
    tool_calls=list_of(TOOL_CALL),
)
COMPLETION_USAGE = exactly(
    {
        "prompt_tokens": described(COUNT, "With those that were read from or written to a cache."),
        "completion_tokens": COUNT,
        "total_tokens": COUNT,
        "prompt_tokens_details": exactly({"cached_tokens": COUNT, "cache_write_tokens": COUNT}),
    },
    completion_tokens_details=exactly({"reasoning_tokens": COUNT}),
)
COMPLETION = exactly(
    {
        "id": TEXT,
        "object": always("chat.completion"),
        "created": described(COUNT, "Seconds since 1970-01-01, UTC."),
        "model": described(TEXT, "The name that the request had."),
        "choices": {
            **list_of(exactly({"index": always(0), "message": COMPLETION_MESSAGE, "finish_reason": FINISH_REASON})),
            "minItems": 1,
            "maxItems": 1,
        },
        "usage": ref("CompletionUsage"),
    }
)
DELTA = exactly(
    {},
    role=always("assistant"),
    content=TEXT,
    reasoning_content=TEXT,
    tool_calls=list_of(
        fields({"index": COUNT, "function": exactly({"arguments": TEXT}, name=TEXT)}, id=TEXT, type=always("function"))
    ),
)
CHUNK = described(
    exactly(
        {
            "id": TEXT,
            "object": always("chat.completion.chunk"),
            "created": COUNT,
            "model": TEXT,
            "choices": list_of(
                exactly(
                    {
                        "index": always(0),
                        "delta": DELTA,
                        "finish_reason": {"anyOf": [FINISH_REASON, {"type": "null"}]},
                    }
                )
            ),
        },
        usage=described(ref("CompletionUsage"), "In the last chunk, the one with a `finish_reason`."),
    ),
    "The data of one event of a stream on the envelope lane.",
)
STREAM_FAILURE = described(
    exactly({"error": exactly({"type": ERROR_TYPE, "message": TEXT, "param": {"type": "null"}, "code": TEXT})}),
    "The data of the event that ends a failed stream on the envelope lane. No `[DONE]` follows.",
)
ENVELOPE = exactly(
    {
        "success": always(True),
        "code": always("200"),
        "message": always("successful"),
        "data": ref("Completion"),
    }
)
ENVELOPE_FAILURE = exactly(
    {
        "success": always(False),
        "code": {"type": "string", "pattern": "^[45][0-9]{2}$", "description": "The HTTP status, as text."},
        "message": TEXT,
        "data": exactly(
            {
                "error": exactly(
                    {
                        "type": ERROR_TYPE,
                        "message": described(TEXT, "What to change, or when to try again."),
                        "param": described(TEXT_OR_NULL, "The path of the field that is to blame, if one is."),
                    }
                ),
                "request_id": TEXT,
            }
        ),
    }
)

# ---- the native lane

BLOCK = described(
    fields({"type": {"type": "string", "examples": ["text", "thinking", "tool_use"]}}),
    "One element of an answer's content. Its other fields depend on `type`; the list of types is open.",
)
MESSAGE_USAGE = fields(
    {"input_tokens": COUNT, "output_tokens": COUNT},
    cache_creation_input_tokens={"type": ["integer", "null"]},
    cache_read_input_tokens={"type": ["integer", "null"]},
)
MESSAGE = fields(
    {
        "id": TEXT,
        "type": always("message"),
        "role": always("assistant"),
        "model": described(TEXT, "The name that the request had."),
        "content": list_of(ref("Block")),
        "stop_reason": described(TEXT_OR_NULL, "Such as `end_turn`, `max_tokens`, `stop_sequence` or `tool_use`."),
        "stop_sequence": TEXT_OR_NULL,
        "usage": ref("MessageUsage"),
    }
)
ERROR_OBJECT = fields({"type": ERROR_TYPE, "message": described(TEXT, "What to change, or when to try again.")})
ANTHROPIC_ERROR = exactly({"type": always("error"), "error": ERROR_OBJECT, "request_id": TEXT})

EVENTS: dict[str, tuple[str, Schema, str]] = {
    "message_start": (
        "MessageStartEvent",
        event("message_start", message=ref("Message")),
        "The first event: a Message without content. Its usage is not final.",
    ),
    "content_block_start": (
        "ContentBlockStartEvent",
        event("content_block_start", index=COUNT, content_block=ref("Block")),
        "A block begins.",
    ),
    "content_block_delta": (
        "ContentBlockDeltaEvent",
        event("content_block_delta", index=COUNT, delta=fields({"type": TEXT})),
        "A piece of the block: `text_delta`, `thinking_delta`, `signature_delta` or `input_json_delta`.",
    ),
    "content_block_stop": (
        "ContentBlockStopEvent",
        event("content_block_stop", index=COUNT),
        "The block is complete.",
    ),
    "message_delta": (
        "MessageDeltaEvent",
        event("message_delta", delta=fields({"stop_reason": TEXT_OR_NULL}), usage=OBJECT),
        "Why the answer ends, and the final usage.",
    ),
    "message_stop": ("MessageStopEvent", event("message_stop"), "The last event. Without it the answer is cut off."),
    "ping": ("PingEvent", event("ping"), "Nothing has happened for a while. It may come at any time."),
    "error": (
        "ErrorEvent",
        event("error", error=ERROR_OBJECT),
        "The answer failed after it had begun. No event follows.",
    ),
}
"""The events of the native lane: the name of the schema of their data, that schema, and what they mean."""

MODEL = fields({"type": always("model"), "id": TEXT, "display_name": TEXT, "created_at": TEXT})
MODEL_PAGE = exactly(
    {
        "data": list_of(ref("Model")),
        "has_more": {"type": "boolean"},
        "first_id": TEXT_OR_NULL,
        "last_id": TEXT_OR_NULL,
    }
)

SCHEMAS: dict[str, Schema] = {
    "Envelope": ENVELOPE,
    "EnvelopeFailure": ENVELOPE_FAILURE,
    "Completion": COMPLETION,
    "CompletionUsage": COMPLETION_USAGE,
    "Chunk": CHUNK,
    "StreamFailure": STREAM_FAILURE,
    "Message": MESSAGE,
    "MessageUsage": MESSAGE_USAGE,
    "Block": BLOCK,
    "AnthropicError": ANTHROPIC_ERROR,
    "TokenCount": exactly({"input_tokens": COUNT}),
    "Model": MODEL,
    "ModelPage": MODEL_PAGE,
} | {name: described(schema, meaning) for name, schema, meaning in EVENTS.values()}

# ---- examples, in the words of the encoders

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
MODEL_PAGE_EXAMPLE = model_list.page([{"id": "claude-3-opus-20240229"}])


def event_stream_example() -> str:
    """A whole stream on the native lane."""
    return b"".join(sse.frame(event, event["type"]) for event in EVENTS_EXAMPLE).decode()


def chunk_stream_example() -> str:
    """The same answer on the envelope lane."""
    encoder = chunks.ChunkEncoder(created=CREATED)
    return b"".join(frame for event in EVENTS_EXAMPLE for frame in encoder.feed(event)).decode()
