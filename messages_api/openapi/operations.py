"""The endpoints: what each takes, and every answer that it may give."""

from types import ModuleType
from typing import Any, NamedTuple

from messages_api.apis import anthropic, envelope
from messages_api.backend.protocol import model_list
from messages_api.openapi import bodies, responses, self_service
from messages_api.openapi.responses import TEXT, Schema, ref

REQUEST_ID = "req_0198f3c1a2b4c0ffee00c0ffee00c0ff"
JSON = "application/json"
EVENT_STREAM = "text/event-stream"

SECURITY_SCHEMES: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer <key>`"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "`x-api-key: <key>`"},
}
EITHER_KEY: list[dict[str, list[str]]] = [{name: []} for name in SECURITY_SCHEMES]

TAGS = [
    {"name": "Envelope lane", "description": "Four keys around an OpenAI-style completion, and streams of chunks."},
    {"name": "About a key", "description": "What whoever holds a key may know of it."},
    {
        "name": "Native lane",
        "description": "Anthropic's own Messages API. `https://<host>/api/anthropic` is the base URL of its clients.",
    },
]

# ---- headers

COUNT: Schema = {"type": "string", "pattern": "^[0-9]+$"}
RATE_LIMIT: list[tuple[str, str, Schema]] = [
    (
        "limit",
        "How many {} a minute this key or its team has, where that is limited.",
        COUNT,
    ),
    ("remaining", "How many of these {} are left right now.", COUNT),
    (
        "reset",
        "When all of these {} are there again. They come back one by one until then.",
        {"type": "string", "format": "date-time"},
    ),
]
HEADERS: dict[str, Schema] = {
    "request-id": {
        "description": "The gateway's name for this call, as it stands in the usage record and in the log.",
        "required": True,
        "schema": {"type": "string", "pattern": "^req_[0-9a-f]{32}$"},
    },
    "x-gateway-target": {
        "description": "What served the answer: the upstream, and the model's name there. "
        "Not on a stream that began with a ping, since that was not known then.",
        "schema": TEXT,
    },
    "x-gateway-dropped": {
        "description": "The fields that the dialect of the upstream cannot say, and that it was not told of.",
        "schema": TEXT,
    },
    **{
        f"anthropic-ratelimit-{kind}-{name}": {"description": text.format(kind), "schema": schema}
        for kind in ("requests", "tokens")
        for name, text, schema in RATE_LIMIT
    },
    "retry-after": {"description": "How long to wait, in seconds, if that is known.", "schema": TEXT},
    "x-should-retry": {"description": "`false` if no further attempt can succeed.", "schema": TEXT},
    "WWW-Authenticate": {"description": "`Bearer`", "schema": TEXT},
    "Allow": {"description": "The methods that there are.", "required": True, "schema": TEXT},
}


LIMITS = tuple(name for name in HEADERS if name.startswith("anthropic-ratelimit-"))


def headers(*names: str) -> dict[str, Schema]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("request-id", *names)}


# ---- errors


class Error(NamedTuple):
    """One status that a call may fail with."""

    type: str
    advice: str
    example: str
    param: str | None = None
    headers: tuple[str, ...] = ()


WAIT = ("retry-after", "x-should-retry")

ERRORS = {
    400: Error("invalid_request_error", "Change the field that is named.", "max_tokens: required.", "max_tokens"),
    401: Error(
        "authentication_error", "Send a usable key.", "The API key is not valid.", headers=("WWW-Authenticate",)
    ),
    402: Error(
        "billing_error",
        "Wait until the budget resets, or ask for a higher one.",
        "Budget exceeded: $0.01 remaining of the monthly budget of $25.00 for this API key; this request may cost up "
        "to $0.05. Resets at 2026-12-01T00:00:00+00:00.",
        headers=("x-should-retry",),
    ),
    403: Error(
        "permission_error", "Ask for a key that may use this model.", "This key may not use this model.", "model"
    ),
    404: Error(
        "not_found_error", "Use one of the models that the message names.", "The requested model is not known here."
    ),
    405: Error(
        "invalid_request_error", "Use the method that is named.", "This address takes POST only.", None, ("Allow",)
    ),
    409: Error("conflict_error", "The upstream found a conflict.", "the container is in use"),
    411: Error(
        "invalid_request_error", "Send a Content-Length.", "Content-Length is required: a chunked body is not read."
    ),
    413: Error("request_too_large", "Send at most 32 MiB.", "The body is too large: at most 33554432 bytes."),
    429: Error(
        "rate_limit_error",
        "A limit of the key, of its team or of the upstream: wait as long as `retry-after` says.",
        "Rate limit exceeded: 60 requests per minute for this API key. Retry after 3 s.",
        headers=WAIT,
    ),
    500: Error(
        "api_error", "The gateway failed: its log has the details.", "The gateway failed. Its log has the details."
    ),
    502: Error(
        "api_error",
        "The upstream failed, or refused the gateway's account.",
        "The upstream returned no message.",
        headers=WAIT,
    ),
    503: Error("overloaded_error", "Try again shortly.", "The gateway is restarting; try again.", headers=WAIT),
    504: Error("timeout_error", "The upstream did not respond in time.", "The upstream did not respond in time."),
    529: Error("overloaded_error", "Try again shortly.", "the upstream is overloaded", headers=WAIT),
}
"""Every status of a failure. The shape of its body is that of the lane."""

ALL_ERRORS = tuple(ERRORS)
LIST_ERRORS = (400, 401, 429, 500, 503)


def failures(api_format: ModuleType, statuses: tuple[int, ...], *, limited: bool = False) -> dict[str, Any]:
    """The answers of a lane when a call fails, with an example that the lane itself has said.

    Where calls are `limited`, an answer may say how the limits stand.
    """
    schema = "EnvelopeFailure" if api_format is envelope else "AnthropicError"
    found = {}
    for status in statuses:
        error = ERRORS[status]
        example = api_format.failure(
            status=status, type=error.type, message=error.example, param=error.param, request_id=REQUEST_ID
        )
        found[str(status)] = {
            "description": f"`{error.type}`: {error.advice}",
            "headers": headers(*error.headers, *(LIMITS if limited else ())),
            "content": {JSON: {"schema": ref(schema), "example": example}},
        }
    return found


# ---- bodies and answers

CHUNK_STREAM = (
    'With `"stream": true`: one `data:` line a chunk (`Chunk`), without `event:` lines. The first has the role, the '
    "following ones pieces of text (`content`), of thought (`reasoning_content`) or of a tool's arguments "
    "(`tool_calls`); the last has `finish_reason` and `usage`. Then `data: [DONE]`. A line that begins with a colon is "
    "a comment that keeps a silent stream alive. A failure is one `data:` line with an `error` (`StreamFailure`), "
    "after which the stream ends without `[DONE]`."
)
NATIVE_STREAM = 'With `"stream": true`: one `event:` line and one `data:` line an event.\n\n' + "\n".join(
    f"- `{type}` (`{name}`): {meaning}" for type, (name, _, meaning) in responses.EVENTS.items()
)


def body(schema: str) -> Schema:
    return {"required": True, "content": {JSON: {"schema": ref(schema), "example": bodies.EXAMPLES}}}


def plain(schema: str, example: object, *, description: str = "The answer.") -> Schema:
    return {
        "description": description,
        "headers": headers(),
        "content": {JSON: {"schema": ref(schema), "example": example}},
    }


def whole_or_streamed(schema: str, example: object, *, stream: str, stream_example: str) -> Schema:
    """A call's answer. OpenAPI has no words for the events of a stream: it is text, with an example."""
    return {
        "description": f"The whole answer, or its stream.\n\n{stream}",
        "headers": headers("x-gateway-target", "x-gateway-dropped", *LIMITS),
        "content": {
            JSON: {"schema": ref(schema), "example": example},
            EVENT_STREAM: {"schema": {"type": "string", "description": stream}, "example": stream_example},
        },
    }


def header_parameter(name: str, description: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": {**TEXT, "maxLength": 1024}}


ANTHROPIC_HEADERS = [
    header_parameter("anthropic-version", "Passed on to an Anthropic upstream."),
    header_parameter("anthropic-beta", "Passed on to an Anthropic upstream."),
]
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
        "description": "How many models a page has.",
        "schema": {
            "type": "integer",
            "minimum": 1,
            "maximum": model_list.MAX_LIMIT,
            "default": model_list.DEFAULT_LIMIT,
        },
    },
    {"name": "after_id", "in": "query", "description": "The page behind this model.", "schema": TEXT},
    {"name": "before_id", "in": "query", "description": "The page in front of this model.", "schema": TEXT},
]

# ---- the endpoints

OPERATIONS: dict[tuple[str, str], Schema] = {
    ("/api/v1/messages", "POST"): {
        "operationId": "create_message",
        "tags": ["Envelope lane"],
        "summary": "Ask a model",
        "description": "The body is that of Anthropic's Messages API, the answer an OpenAI-style completion in an "
        "envelope. The body is read as JSON whatever its Content-Type says.",
        "security": EITHER_KEY,
        "requestBody": body("EnvelopeRequest"),
        "responses": {
            "200": whole_or_streamed(
                "Envelope",
                responses.ENVELOPE_EXAMPLE,
                stream=CHUNK_STREAM,
                stream_example=responses.chunk_stream_example(),
            ),
            **failures(envelope, ALL_ERRORS, limited=True),
        },
    },
    ("/api/v1/key", "GET"): {
        "operationId": "get_key",
        "tags": ["About a key"],
        "summary": "The key that is shown",
        "description": "Its rules, what is left of its limits and budgets, and what it used.",
        "security": EITHER_KEY,
        "responses": {
            "200": plain("KeyEnvelope", self_service.KEY_EXAMPLE),
            **failures(envelope, LIST_ERRORS),
        },
    },
    ("/api/v1/usage", "GET"): {
        "operationId": "get_usage",
        "tags": ["About a key"],
        "summary": "What the key used",
        "description": "In buckets of minutes, hours or days; of this key alone.",
        "security": EITHER_KEY,
        "parameters": self_service.USAGE_PARAMETERS,
        "responses": {
            "200": plain("UsageEnvelope", self_service.USAGE_EXAMPLE),
            **failures(envelope, LIST_ERRORS),
        },
    },
    ("/api/anthropic/v1/messages", "POST"): {
        "operationId": "create_native_message",
        "tags": ["Native lane"],
        "summary": "Ask a model in Anthropic's own dialect",
        "description": "What an Anthropic upstream answers is passed on as it came.",
        "security": EITHER_KEY,
        "parameters": ANTHROPIC_HEADERS,
        "requestBody": body("NativeRequest"),
        "responses": {
            "200": whole_or_streamed(
                "Message",
                responses.MESSAGE_EXAMPLE,
                stream=NATIVE_STREAM,
                stream_example=responses.event_stream_example(),
            ),
            **failures(anthropic, ALL_ERRORS, limited=True),
        },
    },
    ("/api/anthropic/v1/messages/count_tokens", "POST"): {
        "operationId": "count_tokens",
        "tags": ["Native lane"],
        "summary": "Count the input tokens of a request",
        "description": "Calls no model and leaves no usage record.",
        "security": EITHER_KEY,
        "parameters": ANTHROPIC_HEADERS,
        "requestBody": body("CountRequest"),
        "responses": {"200": plain("TokenCount", {"input_tokens": 9}), **failures(anthropic, ALL_ERRORS)},
    },
    ("/api/anthropic/v1/models", "GET"): {
        "operationId": "list_models",
        "tags": ["Native lane"],
        "summary": "The models that this key may use",
        "security": EITHER_KEY,
        "parameters": PAGE_PARAMETERS,
        "responses": {
            "200": plain("ModelPage", responses.MODEL_PAGE_EXAMPLE),
            **failures(anthropic, LIST_ERRORS),
        },
    },
    ("/api/anthropic/v1/models/{model}", "GET"): {
        "operationId": "get_model",
        "tags": ["Native lane"],
        "summary": "One of them",
        "security": EITHER_KEY,
        "parameters": [MODEL_PARAMETER],
        "responses": {
            "200": plain("Model", responses.MODEL_PAGE_EXAMPLE["data"][0]),
            **failures(anthropic, (*LIST_ERRORS, 404)),
        },
    },
}
