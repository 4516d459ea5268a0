"""Schemas of the responses of both APIs."""

from messages_api.backend.protocol.model_list import LIFECYCLES
from messages_api.openapi.json_schema import (
    COUNT,
    OBJECT,
    TEXT,
    TEXT_OR_NULL,
    Schema,
    closed_object,
    constant,
    described,
    list_of,
    open_object,
    ref,
)

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


def event(type: str, /, **required: Schema) -> Schema:
    """Return the data of a server-sent event of the Anthropic API."""
    return open_object({"type": constant(type), **required})


# ---- the envelope API

TOOL_CALL = closed_object(
    {
        "id": TEXT,
        "type": constant("function"),
        "function": closed_object({"name": TEXT, "arguments": described(TEXT, "JSON object as a string.")}),
    }
)
FINISH_REASON: Schema = {"enum": ["stop", "length", "tool_calls", "content_filter"]}
THINKING_BLOCKS = described(
    list_of(
        open_object({"type": {"enum": ["thinking", "redacted_thinking"]}}, thinking=TEXT, signature=TEXT, data=TEXT)
    ),
    "Signed reasoning of an Anthropic model, to be returned as blocks of the assistant's message.",
)
COMPLETION_MESSAGE = closed_object(
    {"role": constant("assistant"), "content": described(TEXT_OR_NULL, "Null if the model only called tools.")},
    reasoning_content=described(TEXT, "Reasoning of the model."),
    thinking_blocks=THINKING_BLOCKS,
    tool_calls=list_of(TOOL_CALL),
)
COMPLETION_USAGE = closed_object(
    {
        "prompt_tokens": described(COUNT, "Includes tokens read from or written to a cache."),
        "completion_tokens": COUNT,
        "total_tokens": COUNT,
        "prompt_tokens_details": closed_object({"cached_tokens": COUNT, "cache_write_tokens": COUNT}),
    },
    completion_tokens_details=closed_object({"reasoning_tokens": COUNT}),
)
CHOICE = closed_object({"index": constant(0), "message": COMPLETION_MESSAGE, "finish_reason": FINISH_REASON})
COMPLETION = closed_object(
    {
        "id": TEXT,
        "object": constant("chat.completion"),
        "created": described(COUNT, "Unix time in seconds."),
        "model": described(TEXT, "Model name of the request."),
        "choices": {
            **list_of(
                closed_object({"index": constant(0), "message": COMPLETION_MESSAGE, "finish_reason": FINISH_REASON})
            ),
            "minItems": 1,
            "maxItems": 1,
        },
        "usage": ref("CompletionUsage"),
    }
)
DELTA = closed_object(
    {},
    role=constant("assistant"),
    content=TEXT,
    reasoning_content=TEXT,
    thinking_blocks=THINKING_BLOCKS,
    tool_calls=list_of(
        open_object(
            {"index": COUNT, "function": closed_object({"arguments": TEXT}, name=TEXT)},
            id=TEXT,
            type=constant("function"),
        )
    ),
)
CHUNK = described(
    closed_object(
        {
            "id": TEXT,
            "object": constant("chat.completion.chunk"),
            "created": COUNT,
            "model": TEXT,
            "choices": list_of(
                closed_object(
                    {
                        "index": constant(0),
                        "delta": DELTA,
                        "finish_reason": {"anyOf": [FINISH_REASON, {"type": "null"}]},
                    }
                )
            ),
        },
        usage=described(ref("CompletionUsage"), "Present in the last chunk, which has the `finish_reason`."),
    ),
    "Data of one event of an envelope API stream.",
)
STREAM_ERROR = described(
    closed_object(
        {"error": closed_object({"type": ERROR_TYPE, "message": TEXT, "param": {"type": "null"}, "code": TEXT})}
    ),
    "Data of the event that ends a failed envelope API stream. No `[DONE]` follows.",
)
ENVELOPE = closed_object(
    {
        "success": constant(True),
        "code": constant("200"),
        "message": constant("successful"),
        "data": ref("Completion"),
    }
)
ENVELOPE_ERROR = closed_object(
    {
        "success": constant(False),
        "code": {"type": "string", "pattern": "^[45][0-9]{2}$", "description": "HTTP status as a string."},
        "message": TEXT,
        "data": closed_object(
            {
                "error": closed_object(
                    {
                        "type": ERROR_TYPE,
                        "message": described(TEXT, "What to change, or when to retry."),
                        "param": described(TEXT_OR_NULL, "Path of the invalid field, if there is one."),
                    }
                ),
                "request_id": TEXT,
            }
        ),
    }
)

# ---- the Anthropic API

BLOCK = described(
    open_object({"type": {"type": "string", "examples": ["text", "thinking", "tool_use"]}}),
    "Content block of a message. Its other fields depend on `type`; more types may be added.",
)
MESSAGE_USAGE = open_object(
    {"input_tokens": COUNT, "output_tokens": COUNT},
    cache_creation_input_tokens={"type": ["integer", "null"]},
    cache_read_input_tokens={"type": ["integer", "null"]},
)
MESSAGE = open_object(
    {
        "id": TEXT,
        "type": constant("message"),
        "role": constant("assistant"),
        "model": described(TEXT, "Model name of the request."),
        "content": list_of(ref("Block")),
        "stop_reason": described(TEXT_OR_NULL, "For example `end_turn`, `max_tokens`, `stop_sequence` or `tool_use`."),
        "stop_sequence": TEXT_OR_NULL,
        "usage": ref("MessageUsage"),
    }
)
ERROR_OBJECT = open_object({"type": ERROR_TYPE, "message": described(TEXT, "What to change, or when to retry.")})
ANTHROPIC_ERROR = closed_object({"type": constant("error"), "error": ERROR_OBJECT, "request_id": TEXT})

EVENTS: dict[str, tuple[str, Schema, str]] = {
    "message_start": (
        "MessageStartEvent",
        event("message_start", message=ref("Message")),
        "First event: a message without content. Its usage is not final.",
    ),
    "content_block_start": (
        "ContentBlockStartEvent",
        event("content_block_start", index=COUNT, content_block=ref("Block")),
        "Start of a content block.",
    ),
    "content_block_delta": (
        "ContentBlockDeltaEvent",
        event("content_block_delta", index=COUNT, delta=open_object({"type": TEXT})),
        "Part of a content block: `text_delta`, `thinking_delta`, `signature_delta` or `input_json_delta`.",
    ),
    "content_block_stop": (
        "ContentBlockStopEvent",
        event("content_block_stop", index=COUNT),
        "End of a content block.",
    ),
    "message_delta": (
        "MessageDeltaEvent",
        event("message_delta", delta=open_object({"stop_reason": TEXT_OR_NULL}), usage=OBJECT),
        "Stop reason and final usage.",
    ),
    "message_stop": ("MessageStopEvent", event("message_stop"), "Last event. A stream without it is incomplete."),
    "ping": ("PingEvent", event("ping"), "Keep-alive. May occur at any time."),
    "error": (
        "ErrorEvent",
        event("error", error=ERROR_OBJECT),
        "The response failed after it had started. No event follows.",
    ),
}
"""The events of the Anthropic API: the name of the schema of their data, the schema and a description."""

MODEL = open_object(
    {
        "type": constant("model"),
        "id": TEXT,
        "display_name": TEXT,
        "created_at": described(TEXT, "Release date, or 1970-01-01T00:00:00Z where it is unknown."),
        "lifecycle": described({"enum": list(LIFECYCLES)}, "As the upstream says, else `active`."),
    },
    capabilities=described(OBJECT, "As the upstreams of the model say, where they say the same."),
)
MODEL_PAGE = closed_object(
    {
        "data": list_of(ref("Model")),
        "has_more": {"type": "boolean"},
        "first_id": TEXT_OR_NULL,
        "last_id": TEXT_OR_NULL,
    }
)

SCHEMAS: dict[str, Schema] = {
    "Envelope": ENVELOPE,
    "EnvelopeError": ENVELOPE_ERROR,
    "Completion": COMPLETION,
    "CompletionUsage": COMPLETION_USAGE,
    "Chunk": CHUNK,
    "StreamError": STREAM_ERROR,
    "Message": MESSAGE,
    "MessageUsage": MESSAGE_USAGE,
    "Block": BLOCK,
    "AnthropicError": ANTHROPIC_ERROR,
    "TokenCount": closed_object({"input_tokens": COUNT}),
    "Model": MODEL,
    "ModelPage": MODEL_PAGE,
} | {name: described(schema, description) for name, schema, description in EVENTS.values()}
