"""The schemas of requests, made from the structs that check them, so that the two cannot drift apart."""

from typing import Any

import msgspec

from messages_api.intake import cross_field_rules
from messages_api.intake.schema import CountRequest, NativeRequest, StrictRequest

Schema = dict[str, Any]

REF = "#/components/schemas/Input{name}"

REQUESTS = {
    "StrictRequest": (
        "EnvelopeRequest",
        "A request on the envelope lane. A field that is not listed here is refused, and no type is converted. The "
        "first turn is the user's; each `tool_result` answers a `tool_use` of the turn before.",
    ),
    "NativeRequest": (
        "NativeRequest",
        "A request of Anthropic's Messages API, also with fields that are newer than this gateway. The gateway checks "
        "those listed here. What the upstream's dialect cannot say is dropped, and named in `x-gateway-dropped`.",
    ),
    "CountRequest": (
        "CountRequest",
        "A request whose input tokens are to be counted. It may have every field of a call.",
    ),
}
"""Struct → the name of its schema, and what it says there. The schemas of its parts are called `Input…`."""

FIELDS = {
    "model": "The name of the model. The gateway's routes decide which upstream answers for it.",
    "max_tokens": "How many tokens the answer may have.",
    "messages": "The conversation so far. Messages of one role in a row are one turn.",
    "system": "Instructions that stand before the conversation.",
    "stop_sequences": "Texts at which the answer ends. None may be blank.",
    "stream": "Whether the answer comes as server-sent events.",
    "temperature": "How much chance there is in the answer.",
    "top_p": "Choose among the likeliest tokens that have this share together.",
    "top_k": "Choose among so many of the likeliest tokens.",
    "tools": "What the model may call. Names are unique; a client tool needs `name` and `input_schema`.",
    "tool_choice": "Whether the model may, must or must not call a tool. A `name` is that of one of `tools`.",
    "thinking": "Whether the model thinks before it responses. `budget_tokens` is less than `max_tokens`.",
    "output_config": "How much effort the answer is worth, and the JSON schema that it follows.",
    "output_format": "The JSON schema that the answer follows; `output_config.format` is its newer place.",
    "metadata": "Who the call is for, as an opaque id.",
    "service_tier": "Whether the upstream's priority capacity may be used.",
    "speed": "Whether to pay for a faster answer.",
    "inference_geo": "Where the model may run.",
    "cache_control": "Let the upstream cache the request up to its last block that can be cached.",
    "container": "The container of the code execution tool, by its id or with skills.",
    "diagnostics": "Ask why a cache was missed.",
    "context_management": "What the upstream may clear from a long conversation.",
    "mcp_servers": "MCP servers that the upstream connects to. The gateway itself opens none of these addresses.",
    "fallbacks": "Models that answer if this one refuses.",
    "fallback_credit_token": "The token of an answer that was refused.",
    "compaction": "How the upstream shortens a long conversation.",
    "thread": "The conversation that the upstream keeps.",
    "billing_policy": "How the upstream bills the call.",
}
"""What each field of a request is for. Its type and its limits come from the structs."""

EXAMPLES = {
    "model": "claude-3-opus-20240229",
    "max_tokens": 4096,
    "messages": [{"role": "user", "content": "Hello"}],
}
"""What the required fields may look like. Together they are a whole request, with room for the least of thinking:
whoever spoils one field of it sees that field refused."""

PATTERNS = {("Tool", "name"): cross_field_rules.TOOL_NAME, ("Tool", "type"): cross_field_rules.TOOL_TYPE}
"""Rules of single fields that the structs do not hold."""


def schemas() -> dict[str, Schema]:
    """The requests of all endpoints and their parts, by name."""
    _, found = msgspec.json.schema_components([StrictRequest, NativeRequest, CountRequest], ref_template=REF)
    parts = {name: _part(name, schema) for name, schema in found.items()}
    requests = {
        name: {"description": description, **_with_meanings(parts.pop(struct))}
        for struct, (name, description) in REQUESTS.items()
    }
    requests["EnvelopeRequest"]["additionalProperties"] = False
    return requests | {f"Input{name}": schema for name, schema in parts.items()}


def _part(struct: str, schema: Schema) -> Schema:
    """The schema of a struct without what its docstring says to readers of the code."""
    fields = {name: _without_stand_in(field) for name, field in schema["properties"].items()}
    for name, field in fields.items():
        if pattern := PATTERNS.get((struct, name)):
            field["pattern"] = f"^(?:{pattern.pattern})$"
    return {key: value for key, value in schema.items() if key not in ("title", "description")} | {"properties": fields}


def _with_meanings(request: Schema) -> Schema:
    fields = {name: {"description": FIELDS[name], **field} for name, field in request["properties"].items()}
    for name, example in EXAMPLES.items():
        if name in fields:
            fields[name]["examples"] = [example]
    return request | {"properties": fields}


def _without_stand_in(field: Schema) -> Schema:
    """Most defaults of the structs stand for "not given": nothing is added to a request."""
    is_true_default = isinstance(field.get("default"), bool) or "enum" in field
    return {key: value for key, value in field.items() if key != "default" or is_true_default}
