"""Operations: the parameters, request body and responses of each endpoint."""

from messages_api.apis import anthropic, envelope
from messages_api.backend.protocol import model_list
from messages_api.intake.client import MAX_TAGS, TAG, TAG_HEADER
from messages_api.openapi import bodies, examples, responses, self_service
from messages_api.openapi.errors import ALL_ERRORS, JSON, LIST_ERRORS, error_responses
from messages_api.openapi.headers import RATE_LIMIT_HEADERS, headers
from messages_api.openapi.json_schema import TEXT, Schema, ref

EVENT_STREAM = "text/event-stream"

SECURITY_SCHEMES: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer <key>`"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "`x-api-key: <key>`"},
}
EITHER_KEY: list[dict[str, list[str]]] = [{name: []} for name in SECURITY_SCHEMES]

TAGS = [
    {"name": "Envelope API", "description": "OpenAI-style completions in an envelope, and streams of chunks."},
    {"name": "API key", "description": "Information about the API key used in the request."},
    {
        "name": "Anthropic API",
        "description": "Anthropic's Messages API. The base URL for its clients is `https://<host>/api/anthropic`.",
    },
]

# ---- parts of operations

CHUNK_STREAM = (
    'With `"stream": true`: one `data:` line per chunk (`Chunk`), without `event:` lines. The first has the role, '
    "the following ones parts of the text (`content`), of the reasoning (`reasoning_content`) or of tool arguments "
    "(`tool_calls`), the last one `finish_reason` and `usage`. Then `data: [DONE]`. Lines that start with a colon are "
    "keep-alive comments. A failed stream ends with one `data:` line with an `error` (`StreamError`), without "
    "`[DONE]`."
)
MESSAGE_STREAM = 'With `"stream": true`: one `event:` line and one `data:` line per event.\n\n' + "\n".join(
    f"- `{type}` (`{name}`): {description}" for type, (name, _, description) in responses.EVENTS.items()
)


def body(schema: str) -> Schema:
    return {"required": True, "content": {JSON: {"schema": ref(schema), "example": bodies.EXAMPLES}}}


def json_response(schema: str, example: object) -> Schema:
    return {
        "description": "Successful response.",
        "headers": headers(),
        "content": {JSON: {"schema": ref(schema), "example": example}},
    }


def message_response(schema: str, example: object, *, stream: str, stream_example: str) -> Schema:
    """Return the response with a message. OpenAPI cannot describe stream events: the stream is text with an example."""
    return {
        "description": f"The complete response, or its stream.\n\n{stream}",
        "headers": headers(
            "x-gateway-target", "x-gateway-upstream-request-id", "x-gateway-dropped", *RATE_LIMIT_HEADERS
        ),
        "content": {
            JSON: {"schema": ref(schema), "example": example},
            EVENT_STREAM: {"schema": {"type": "string", "description": stream}, "example": stream_example},
        },
    }


def header_parameter(name: str, description: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": {**TEXT, "maxLength": 1024}}


ANTHROPIC_HEADERS = [
    header_parameter("anthropic-version", "Forwarded to Anthropic upstreams."),
    header_parameter("anthropic-beta", "Forwarded to Anthropic upstreams."),
]
TAG_PARAMETER: Schema = {
    "name": TAG_HEADER,
    "in": "header",
    "description": f"`name=value` for the usage record. At most {MAX_TAGS}, repeated or separated by commas.",
    "schema": {"type": "string", "pattern": f"^({TAG.pattern})?$"},
    "example": "team=search",
}
MODEL_PARAMETER = {
    "name": "model",
    "in": "path",
    "required": True,
    "schema": {**TEXT, "minLength": 1},
    "example": "claude-3-opus-20240229",
}
PAGE_PARAMETERS = [
    {
        "name": "limit",
        "in": "query",
        "description": "Models per page.",
        "schema": {
            "type": "integer",
            "minimum": 1,
            "maximum": model_list.MAX_LIMIT,
            "default": model_list.DEFAULT_LIMIT,
        },
    },
    {
        "name": "lifecycle",
        "in": "query",
        "description": "Models in this stage. May be repeated. Default: active and deprecated.",
        "schema": {"enum": list(model_list.LIFECYCLES)},
    },
    {"name": "after_id", "in": "query", "description": "Return the page after this model.", "schema": TEXT},
    {"name": "before_id", "in": "query", "description": "Return the page before this model.", "schema": TEXT},
]

# ---- the endpoints

OPERATIONS: dict[tuple[str, str], Schema] = {
    ("/api/v1/messages", "POST"): {
        "operationId": "create_message",
        "tags": ["Envelope API"],
        "summary": "Create a message",
        "description": "The request body is that of Anthropic's Messages API, the response an OpenAI-style completion "
        "in an envelope. The request body is read as JSON regardless of its Content-Type.",
        "security": EITHER_KEY,
        "parameters": [TAG_PARAMETER],
        "requestBody": body("EnvelopeRequest"),
        "responses": {
            "200": message_response(
                "Envelope",
                examples.ENVELOPE_EXAMPLE,
                stream=CHUNK_STREAM,
                stream_example=examples.chunk_stream_example(),
            ),
            **error_responses(envelope, ALL_ERRORS, rate_limited=True),
        },
    },
    ("/api/v1/key", "GET"): {
        "operationId": "get_key",
        "tags": ["API key"],
        "summary": "Get API key info",
        "description": "Allowed models, remaining limits and budgets, and current usage of the API key of the request.",
        "security": EITHER_KEY,
        "responses": {
            "200": json_response("KeyEnvelope", self_service.KEY_EXAMPLE),
            **error_responses(envelope, LIST_ERRORS),
        },
    },
    ("/api/v1/usage", "GET"): {
        "operationId": "get_usage",
        "tags": ["API key"],
        "summary": "Get API key usage",
        "description": "Usage of the API key of the request, in buckets of minutes, hours or days.",
        "security": EITHER_KEY,
        "parameters": self_service.USAGE_PARAMETERS,
        "responses": {
            "200": json_response("UsageEnvelope", self_service.USAGE_EXAMPLE),
            **error_responses(envelope, LIST_ERRORS),
        },
    },
    ("/api/anthropic/v1/messages", "POST"): {
        "operationId": "create_anthropic_message",
        "tags": ["Anthropic API"],
        "summary": "Create a message with Anthropic's Messages API",
        "description": "Responses of Anthropic upstreams are forwarded unchanged.",
        "security": EITHER_KEY,
        "parameters": [*ANTHROPIC_HEADERS, TAG_PARAMETER],
        "requestBody": body("AnthropicRequest"),
        "responses": {
            "200": message_response(
                "Message",
                examples.MESSAGE_EXAMPLE,
                stream=MESSAGE_STREAM,
                stream_example=examples.event_stream_example(),
            ),
            **error_responses(anthropic, ALL_ERRORS, rate_limited=True),
        },
    },
    ("/api/anthropic/v1/messages/count_tokens", "POST"): {
        "operationId": "count_tokens",
        "tags": ["Anthropic API"],
        "summary": "Count the input tokens of a request",
        "description": "Runs no model and writes no usage record.",
        "security": EITHER_KEY,
        "parameters": ANTHROPIC_HEADERS,
        "requestBody": body("CountTokensRequest"),
        "responses": {
            "200": json_response("TokenCount", {"input_tokens": 9}),
            **error_responses(anthropic, ALL_ERRORS),
        },
    },
    ("/api/anthropic/v1/models", "GET"): {
        "operationId": "list_models",
        "tags": ["Anthropic API"],
        "summary": "List models",
        "description": "The models that the API key may use.",
        "security": EITHER_KEY,
        "parameters": PAGE_PARAMETERS,
        "responses": {
            "200": json_response("ModelPage", examples.MODEL_PAGE_EXAMPLE),
            **error_responses(anthropic, LIST_ERRORS),
        },
    },
    ("/api/anthropic/v1/models/{model}", "GET"): {
        "operationId": "get_model",
        "tags": ["Anthropic API"],
        "summary": "Get a model",
        "security": EITHER_KEY,
        "parameters": [MODEL_PARAMETER],
        "responses": {
            "200": json_response("Model", examples.MODEL_PAGE_EXAMPLE["data"][0]),
            **error_responses(anthropic, (*LIST_ERRORS, 404)),
        },
    },
}
