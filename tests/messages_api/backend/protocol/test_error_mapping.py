"""Mapping of upstream errors: HTTP errors, errors inside a 200, and errors inside a stream."""

from typing import Any

import pytest

from messages_api.backend.protocol.error_mapping import (
    CREDENTIAL_REJECTED,
    CREDIT_EXHAUSTED,
    MappedError,
    map_anthropic_error,
    map_openai_error,
)


def error(message: object, **fields: object) -> Any:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("status", "mapped"),
    [
        (302, MappedError(502, "api_error", "m")),
        (400, MappedError(400, "invalid_request_error", "m")),
        (404, MappedError(404, "not_found_error", "m")),
        (405, MappedError(400, "invalid_request_error", "m")),
        (408, MappedError(504, "timeout_error", "m")),
        (409, MappedError(409, "conflict_error", "m")),
        (413, MappedError(413, "request_too_large", "m")),
        (422, MappedError(400, "invalid_request_error", "m")),
        (429, MappedError(429, "rate_limit_error", "m")),
        (499, MappedError(400, "invalid_request_error", "m")),
        (500, MappedError(500, "api_error", "m")),
        (502, MappedError(502, "api_error", "m")),
        (503, MappedError(529, "overloaded_error", "m")),
        (504, MappedError(504, "timeout_error", "m")),
        (520, MappedError(502, "api_error", "m")),
        (529, MappedError(529, "overloaded_error", "m")),
    ],
)
def test_each_status_has_its_own(status: int, mapped: MappedError) -> None:
    assert map_openai_error(status, error("m")) == mapped


@pytest.mark.parametrize(
    ("status", "body", "mapped"),
    [
        (
            401,
            error("bad key sk-1"),
            MappedError(502, "api_error", "The upstream rejected the gateway's credential.", False),
        ),
        (403, error("bad key sk-1"), CREDENTIAL_REJECTED),
        (402, error("pay"), MappedError(502, "api_error", "The upstream account has run out of credit.", False)),
        (429, error("pay", code="insufficient_quota"), CREDIT_EXHAUSTED),
        (429, error("pay", type="insufficient_quota"), CREDIT_EXHAUSTED),
        (200, error("pay", code="insufficient_quota"), CREDIT_EXHAUSTED),
        (200, error("bad key", code=401), CREDENTIAL_REJECTED),
        (200, error("pay", code="402"), CREDIT_EXHAUSTED),
    ],
)
def test_an_error_of_the_gateways_account_has_a_fixed_message(status: int, body: Any, mapped: MappedError) -> None:
    assert map_openai_error(status, body) == mapped


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(error("m"), "m", id="OpenAI"),
        pytest.param([error("m")], "m", id="Google"),
        pytest.param({"error": "m"}, "m", id="a text"),
        pytest.param({"object": "error", "message": "m"}, "m", id="vLLM"),
        pytest.param({"detail": "m"}, "m", id="FastAPI"),
        pytest.param({"detail": [{"loc": ["é"]}]}, '[{"loc":["é"]}]', id="FastAPI, validation"),
        pytest.param(error({"a": 1}), '{"a":1}', id="a message that is no text"),
        pytest.param(error("m" * 600), "m" * 600, id="a long message"),
        pytest.param(" " + "m" * 501, "m" * 500, id="a page"),
        pytest.param("", "The upstream returned an error.", id="an empty page"),
        pytest.param(" \n", "The upstream returned an error.", id="a blank page"),
        pytest.param({}, "The upstream returned an error.", id="an empty object"),
        pytest.param(error(""), "The upstream returned an error.", id="an empty message"),
        pytest.param({"error": {}, "message": "m"}, "The upstream returned an error.", id="an empty error"),
        pytest.param([], "The upstream returned an error.", id="an empty list"),
        pytest.param([7], "The upstream returned an error.", id="a list of something"),
        pytest.param(None, "The upstream returned an error.", id="nothing"),
    ],
)
def test_the_message_is_found_wherever_it_is(body: Any, message: str) -> None:
    assert map_openai_error(500, body) == MappedError(500, "api_error", message)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"code": 429}, 429),
        ({"code": "429"}, 429),
        ({"code": 400}, 400),
        ({"code": 599}, 502),
        ({"code": 600}, 500),
        ({"code": 399}, 500),
        ({"code": "600"}, 500),
        ({"code": "4290"}, 500),
        ({"code": True}, 500),
        ({"code": "rate_limit_exceeded"}, 429),
        ({"type": "rate_limit_error"}, 429),
        ({"code": "server_overloaded"}, 529),
        ({"type": "overloaded_error"}, 529),
        ({"code": "invalid_request_error"}, 400),
        ({"type": "BadRequestError"}, 400),
        ({"code": "context_length_exceeded"}, 400),
        ({"code": "unknown", "type": "overloaded_error"}, 529),
        ({"code": "rate_limit_exceeded", "type": "invalid_request_error"}, 429),
        ({"code": 404}, 404),
        ({"code": None, "type": ["x"]}, 500),
        ({}, 500),
    ],
)
def test_an_error_inside_a_200_is_read_by_its_code_and_then_its_type(fields: Any, status: int) -> None:
    assert map_openai_error(200, error("m", **fields)).status == status


OVERFLOW = "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(error(OVERFLOW), "9000 tokens > 8192 maximum", id="in words"),
        pytest.param(error("m", code="context_length_exceeded"), "m", id="by code"),
        pytest.param(error("m", type="context_length_exceeded"), "m", id="by type"),
        pytest.param(
            error("Your input exceeds the CONTEXT WINDOW"), "Your input exceeds the CONTEXT WINDOW", id="no number"
        ),
        pytest.param(error("too many tokens: 5000"), "too many tokens: 5000", id="one number"),
        pytest.param(
            error("The input (200,500 tokens) is longer than the model's context length (128,000 tokens)."),
            "200500 tokens > 128000 maximum",
            id="with commas",
        ),
        pytest.param(
            error("gpt-4-0613 and v1.250: maximum context length 8192, got 12 images and 9000"),
            "gpt-4-0613 and v1.250: maximum context length 8192, got 12 images and 9000",
            id="other numbers",
        ),
        pytest.param(
            error("request (70 tokens) exceeds the available context size", n_prompt_tokens=70, n_ctx=64),
            "70 tokens > 64 maximum",
            id="llama.cpp",
        ),
        pytest.param(
            error("maximum context length 100, got 200", n_prompt_tokens="70", n_ctx=64),
            "maximum context length 100, got 200",
            id="fields of another kind",
        ),
        pytest.param(
            error("maximum context length 100, got 200", n_prompt_tokens=70),
            "maximum context length 100, got 200",
            id="one field",
        ),
        pytest.param(
            error("too many tokens: " + "9" * 5000),
            "too many tokens: " + "9" * 5000,
            id="a number without a meaning",
        ),
    ],
)
@pytest.mark.parametrize("status", [400, 413, 422, 418])
def test_a_prompt_that_is_too_long_has_the_message_that_clients_expect(status: int, body: Any, message: str) -> None:
    assert map_openai_error(status, body) == MappedError(400, "invalid_request_error", f"prompt is too long: {message}")


@pytest.mark.parametrize("status", [302, 404, 408, 409, 429, 500, 502, 503])
def test_other_errors_may_speak_of_the_context(status: int) -> None:
    assert map_openai_error(status, error(OVERFLOW)).message == OVERFLOW


def test_an_overflow_inside_a_stream_is_the_same() -> None:
    assert map_openai_error(200, error(OVERFLOW, code=400)).message == "prompt is too long: 9000 tokens > 8192 maximum"


def anthropic_error(error_type: object, message: str = "m") -> Any:
    return {"type": "error", "error": {"type": error_type, "message": message}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "body", "mapped"),
    [
        (400, anthropic_error("invalid_request_error"), MappedError(400, "invalid_request_error", "m")),
        (529, anthropic_error("overloaded_error"), MappedError(529, "overloaded_error", "m")),
        (504, anthropic_error("timeout_error"), MappedError(504, "timeout_error", "m")),
        (400, anthropic_error("rate_limit_error"), MappedError(400, "rate_limit_error", "m")),
        (401, anthropic_error("authentication_error", "key sk-1"), CREDENTIAL_REJECTED),
        (402, anthropic_error("billing_error"), CREDIT_EXHAUSTED),
        (403, anthropic_error("permission_error"), CREDENTIAL_REJECTED),
        (413, "<html>", MappedError(413, "request_too_large", "<html>")),
        (418, anthropic_error("teapot"), MappedError(418, "invalid_request_error", "m")),
        (503, None, MappedError(503, "overloaded_error", "The upstream returned an error.")),
        (520, None, MappedError(520, "api_error", "The upstream returned an error.")),
        (302, None, MappedError(502, "api_error", "The upstream returned an error.")),
    ],
)
def test_an_anthropic_error_is_kept_unless_it_is_about_the_gateways_account(
    status: int, body: Any, mapped: MappedError
) -> None:
    assert map_anthropic_error(status, body) == mapped


@pytest.mark.parametrize(
    ("error_type", "mapped"),
    [
        ("invalid_request_error", MappedError(400, "invalid_request_error", "m")),
        ("authentication_error", CREDENTIAL_REJECTED),
        ("billing_error", CREDIT_EXHAUSTED),
        ("permission_error", CREDENTIAL_REJECTED),
        ("not_found_error", MappedError(404, "not_found_error", "m")),
        ("conflict_error", MappedError(409, "conflict_error", "m")),
        ("request_too_large", MappedError(413, "request_too_large", "m")),
        ("rate_limit_error", MappedError(429, "rate_limit_error", "m")),
        ("api_error", MappedError(500, "api_error", "m")),
        ("timeout_error", MappedError(504, "timeout_error", "m")),
        ("overloaded_error", MappedError(529, "overloaded_error", "m")),
        ("never heard of", MappedError(500, "api_error", "m")),
        (["x"], MappedError(500, "api_error", "m")),
    ],
)
def test_an_error_event_has_the_status_of_its_type(error_type: object, mapped: MappedError) -> None:
    assert map_anthropic_error(200, anthropic_error(error_type)) == mapped
