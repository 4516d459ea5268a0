"""Schemas of request bodies, generated from the structs that validate them."""

import msgspec

from messages_api.intake import cross_field_rules
from messages_api.intake.schema import AnthropicRequest, CountTokensRequest, EnvelopeRequest
from messages_api.openapi.json_schema import Schema

REF = "#/components/schemas/Input{name}"

REQUESTS = {
    "EnvelopeRequest": (
        "EnvelopeRequest",
        "Request body of the envelope API. Unknown fields are rejected, and no type is converted. The first message is "
        "the user's; each `tool_result` refers to a `tool_use` of the message before.",
    ),
    "AnthropicRequest": (
        "AnthropicRequest",
        "Request body of Anthropic's Messages API, including fields that are newer than this gateway. The gateway "
        "checks the fields listed here. Fields that the upstream does not support are dropped and listed in "
        "`x-gateway-dropped`.",
    ),
    "CountTokensRequest": (
        "CountTokensRequest",
        "Request body whose input tokens are counted. It may have every field of a message request.",
    ),
}
"""Struct → the name of its schema and its description. The schemas of its parts are called `Input…`."""

FIELDS = {
    "model": "Model name. The routes of the gateway map it to upstreams.",
    "max_tokens": "Maximum number of tokens to generate.",
    "messages": "Messages of the conversation. Consecutive messages of one role are one turn.",
    "system": "System prompt.",
    "stop_sequences": "Sequences that stop generation. They must not be blank.",
    "stream": "Whether to stream the response as server-sent events.",
    "temperature": "Sampling temperature.",
    "top_p": "Nucleus sampling: cumulative probability cutoff.",
    "top_k": "Sample only from the most likely tokens, this many of them.",
    "tools": "Tools that the model may use. Names are unique; client tools need `name` and `input_schema`.",
    "tool_choice": "Whether the model may, must or must not use a tool. `name` is the name of one of `tools`.",
    "thinking": "Extended thinking. `budget_tokens` is less than `max_tokens`.",
    "output_config": "Effort and JSON schema of the response.",
    "output_format": "JSON schema of the response. Superseded by `output_config.format`.",
    "metadata": "Opaque ID of the end user.",
    "service_tier": "Service tier of the upstream: `auto` or `standard_only`, and for OpenAI also its own.",
    "speed": "Whether to pay for a faster response.",
    "inference_geo": "Region in which the model may run.",
    "cache_control": "Cache the prompt up to its last cacheable block.",
    "container": "Container of the code execution tool, by ID or with skills.",
    "diagnostics": "Request diagnostics of cache misses.",
    "context_management": "What the upstream may clear from a long conversation.",
    "mcp_servers": "MCP servers that the upstream connects to. The gateway does not connect to them.",
    "fallbacks": "Fallback models, tried in order.",
    "fallback_credit_token": "Token of the response that caused the fallback.",
    "compaction": "How the upstream compacts a long conversation.",
    "thread": "Conversation stored by the upstream.",
    "billing_policy": "How the upstream bills the request.",
}
"""Descriptions of request fields. Their types and ranges come from the structs."""

EXAMPLES = {
    "model": "claude-3-opus-20240229",
    "max_tokens": 4096,
    "messages": [{"role": "user", "content": "Hello"}],
}
"""Examples of the required fields. Together they are a valid request, with enough tokens for the minimum of thinking:
if a generator makes one field of it invalid, that field is the one that is rejected."""

PATTERNS = {("Tool", "name"): cross_field_rules.TOOL_NAME, ("Tool", "type"): cross_field_rules.TOOL_TYPE}
"""Rules of single fields that the structs do not express."""


def schemas() -> dict[str, Schema]:
    """Return the schemas of all request bodies and their parts, by name."""
    _, found = msgspec.json.schema_components([EnvelopeRequest, AnthropicRequest, CountTokensRequest], ref_template=REF)
    parts = {name: _part(name, schema) for name, schema in found.items()}
    requests = {
        name: {"description": description, **_with_descriptions(parts.pop(struct))}
        for struct, (name, description) in REQUESTS.items()
    }
    requests["EnvelopeRequest"]["additionalProperties"] = False
    return requests | {f"Input{name}": schema for name, schema in parts.items()}


def _part(struct: str, schema: Schema) -> Schema:
    """Return the schema of a struct without its docstring, which is for readers of the code."""
    fields = {name: _without_placeholder(field) for name, field in schema["properties"].items()}
    for name, field in fields.items():
        if pattern := PATTERNS.get((struct, name)):
            field["pattern"] = f"^(?:{pattern.pattern})$"
    return {key: value for key, value in schema.items() if key not in ("title", "description")} | {"properties": fields}


def _with_descriptions(request: Schema) -> Schema:
    fields = {name: {"description": FIELDS[name], **field} for name, field in request["properties"].items()}
    for name, example in EXAMPLES.items():
        if name in fields:
            fields[name]["examples"] = [example]
    return request | {"properties": fields}


def _without_placeholder(field: Schema) -> Schema:
    """Remove a default that means "not given": the gateway adds nothing to a request."""
    is_real_default = isinstance(field.get("default"), bool) or "enum" in field
    return {key: value for key, value in field.items() if key != "default" or is_real_default}
