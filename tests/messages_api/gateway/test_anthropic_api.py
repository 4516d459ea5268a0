"""The Anthropic API: byte for byte from an Anthropic upstream, translated from an OpenAI one."""

import json
from typing import Any

import pytest

from keys.models import UsageRecord
from tests.support.gateway import Gateway, events
from tests.upstream import (
    anthropic_frame,
    anthropic_response,
    anthropic_stream,
    body_response,
    failure,
    frames_of,
    streamed,
)

PATH = "/api/anthropic/v1/messages"
HELLO: dict[str, Any] = {"model": "claude-3", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = HELLO | {"stream": True}

both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])


@both_dialects
def test_a_response_is_a_message(gateway: Gateway, dialect: str) -> None:
    gateway.configure_upstream(dialect)

    response = gateway.post(PATH, HELLO)

    message = response.json()
    assert (response.status, message["type"], message["role"], message["model"]) == (
        200,
        "message",
        "assistant",
        "claude-3",
    )
    assert message["content"] == [{"type": "text", "text": "Hello, world!"}]
    assert (message["stop_reason"], message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (
        "end_turn",
        9,
        12,
    )
    assert (gateway.record().api_format, gateway.record().usage_source) == ("anthropic", "reported")


@both_dialects
def test_a_stream_is_named_events(gateway: Gateway, dialect: str) -> None:
    gateway.configure_upstream(dialect)

    lines = gateway.post(PATH, STREAMED).lines()

    named = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    sent = list(events(lines))
    assert named == [event["type"] for event in sent]
    assert [kind for kind in named if kind != "ping"][:2] == ["message_start", "content_block_start"]
    assert named[-1] == "message_stop"
    assert (
        "".join(event["delta"].get("text", "") for event in sent if event["type"] == "content_block_delta")
        == "Hello, world!"
    )
    assert gateway.record().status == "completed"


def test_the_response_of_an_anthropic_upstream_is_sent_byte_for_byte(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")
    raw = json.dumps(anthropic_response(model="claude-3") | {"a_new_field": 1.50}, indent=3).encode()
    gateway.upstream.queue(body_response(raw))

    assert gateway.post(PATH, HELLO).body == raw


def test_the_stream_of_an_anthropic_upstream_is_sent_byte_for_byte(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")
    frames = anthropic_stream(model="claude-3")
    frames.insert(2, b": a comment\n\n")
    frames.insert(3, anthropic_frame({"type": "a_new_event", "value": 1.50}))
    gateway.upstream.queue(streamed([b"".join(frames)[i : i + 7] for i in range(0, len(b"".join(frames)), 7)]))

    response = gateway.post(PATH, STREAMED)

    assert response.body == b"".join(frames)
    assert gateway.record().status == "completed"


def test_body_version_and_betas_of_the_client_reach_an_anthropic_upstream(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")
    raw = json.dumps(HELLO | {"a_new_field": {"x": 1.50}}, indent=2).encode()
    headers = {
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a-1,b-2",
        "X-Claude-Code-Session-Id": "s",
        "Cookie": "c=1",
        "X-Forwarded-For": "1.2.3.4",
    }

    gateway.request("POST", PATH + "?beta=true&other=1", raw, headers=gateway.headers() | headers)

    (request,) = gateway.upstream.requests
    assert request.path == "/v1/messages?beta=true"
    assert request.body == json.loads(raw)
    assert request.headers["content-length"] == str(len(raw))
    assert (request.headers["anthropic-version"], request.headers["anthropic-beta"]) == ("2026-10-21", "a-1,b-2")
    assert request.headers["x-claude-code-session-id"] == "s"
    assert not {"cookie", "x-forwarded-for", "x-api-key"} & set(request.headers)
    assert request.headers["authorization"] == "Bearer the-upstream-credential"


def test_the_envelope_api_sets_the_version_and_forwards_no_header(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")

    gateway.request(
        "POST",
        "/api/v1/messages",
        json.dumps(HELLO).encode(),
        headers=gateway.headers() | {"anthropic-version": "2026-10-21", "anthropic-beta": "a"},
    )

    (request,) = gateway.upstream.requests
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in request.headers


def test_an_alias_changes_the_upstream_model_and_not_the_response(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")
    gateway.add_route("alias", gateway.upstream_row, model="real-name")

    plain = gateway.post(PATH, HELLO | {"model": "alias"})
    lines = gateway.post(PATH, STREAMED | {"model": "alias"}).lines()

    assert {request.model for request in gateway.upstream.requests} == {"real-name"}
    assert plain.json()["model"] == "alias"
    assert next(events(lines))["message"]["model"] == "alias"


def test_fields_without_an_openai_equivalent_are_dropped_and_named(gateway: Gateway) -> None:
    response = gateway.post(PATH, HELLO | {"top_k": 3, "speed": "fast", "a_new_field": 1, "ünïcödé\n": 1})

    assert response.status == 200
    assert set(response.headers["x-gateway-dropped"].split(", ")) == {"top_k", "speed", "a_new_field", "?"}


@both_dialects
@pytest.mark.parametrize("body", [HELLO, STREAMED], ids=["plain", "streamed"])
def test_a_failure_is_anthropics_error_object(gateway: Gateway, dialect: str, body: dict[str, Any]) -> None:
    gateway.configure_upstream(dialect)
    gateway.upstream.queue(failure(429, "slow down", headers=[("retry-after", "60"), ("set-cookie", "a=b")]))

    response = gateway.post(PATH, body)

    assert response.status == 429
    assert response.json() == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "slow down"},
        "request_id": response.headers["request-id"],
    }
    assert response.headers["retry-after"] == "60"
    assert "set-cookie" not in response.headers


@both_dialects
def test_a_stream_that_breaks_off_ends_with_an_error_event(gateway: Gateway, dialect: str) -> None:
    gateway.configure_upstream(dialect)
    gateway.upstream.queue(lambda request: streamed([b"".join(frames_of(request))[:-200]]))

    lines = gateway.post(PATH, STREAMED).lines()

    assert lines[-2] == "event: error"
    assert "event: message_stop" not in lines
    assert gateway.record().status == "failed"


def test_a_404_and_a_405_are_anthropics_error_objects_too(gateway: Gateway) -> None:
    for method, path, status, type in (
        ("POST", "/api/anthropic/v1/nothing", 404, "not_found_error"),
        ("GET", PATH, 405, "invalid_request_error"),
    ):
        response = gateway.request(method, path)
        assert (response.status, response.json()["type"], response.json()["error"]["type"]) == (status, "error", type)


def test_a_request_for_no_tokens_needs_no_upstream_without_a_cache(gateway: Gateway) -> None:
    response = gateway.post(PATH, HELLO | {"max_tokens": 0})

    assert response.json()["content"] == []
    assert response.json()["stop_reason"] == "max_tokens"
    assert gateway.upstream.requests == []
    assert gateway.post(PATH, STREAMED | {"max_tokens": 0}).status == 400


def test_tokens_are_counted_by_an_anthropic_upstream_and_estimated_for_another(gateway: Gateway) -> None:
    body = {"model": "claude-3", "messages": [{"role": "user", "content": "x" * 400}]}

    estimated = gateway.post(PATH + "/count_tokens", body)
    gateway.configure_upstream("anthropic")
    gateway.upstream.queue(body_response({"input_tokens": 77}))
    counted = gateway.post(PATH + "/count_tokens", body)

    assert estimated.json() == {"input_tokens": 104}
    assert counted.json() == {"input_tokens": 77}
    assert estimated.headers["x-gateway-estimated"] == "true"
    assert "x-gateway-estimated" not in counted.headers
    assert [request.path for request in gateway.upstream.requests] == ["/v1/messages/count_tokens"]
    assert not UsageRecord.objects.exists()


@pytest.mark.parametrize("status", [404, 405, 501])
def test_tokens_are_estimated_where_an_anthropic_upstream_does_not_count(gateway: Gateway, status: int) -> None:
    gateway.configure_upstream("anthropic")
    gateway.upstream.queue(failure(status), times=None)

    response = gateway.post(
        PATH + "/count_tokens", {"model": "m", "messages": [{"role": "user", "content": "x" * 400}]}
    )

    assert (response.status, response.json()) == (200, {"input_tokens": 104})
    assert response.headers["x-gateway-estimated"] == "true"
    assert len(gateway.upstream.requests) == 1


def test_the_list_of_models_has_those_that_the_key_may_use(gateway: Gateway) -> None:
    for name in ("claude-b", "claude-a", "gpt-x"):
        gateway.add_route(name, gateway.upstream_row)
    gateway.key.allowed_models = ["claude-*", "through-the-star"]
    gateway.key.save()

    page = gateway.request("GET", "/api/anthropic/v1/models?limit=2").json()
    rest = gateway.request("GET", "/api/anthropic/v1/models?limit=2&after_id=claude-b").json()

    assert [model["id"] for model in page["data"]] == ["claude-a", "claude-b"]
    assert (page["has_more"], page["first_id"], page["last_id"]) == (True, "claude-a", "claude-b")
    assert [model["id"] for model in rest["data"]] == ["through-the-star"]
    assert gateway.request("GET", "/api/anthropic/v1/models/claude-a").json()["type"] == "model"
    assert gateway.request("GET", "/api/anthropic/v1/models/gpt-x").status == 404
    gateway.add_route("claude-3-*", gateway.upstream_row)
    assert gateway.request("GET", "/api/anthropic/v1/models/claude-3-opus").json()["id"] == "claude-3-opus"
    assert gateway.request("GET", "/api/anthropic/v1/models?limit=x").status == 400
    assert gateway.request("GET", "/api/anthropic/v1/models", headers={}).status == 401
    assert gateway.upstream.requests == []


def test_hello_responds(gateway: Gateway) -> None:
    for path in ("/api/hello", "/api/anthropic/api/hello"):
        assert gateway.request("HEAD", path, headers={}).status == 200


@pytest.mark.parametrize("value", ["é", "x" * 1025])
def test_a_header_that_cannot_be_forwarded_is_rejected(gateway: Gateway, value: str) -> None:
    headers = gateway.headers() | {"anthropic-beta": value.encode("latin-1").decode("latin-1")}

    assert gateway.request("POST", PATH, json.dumps(HELLO).encode(), headers=headers).status == 400


def test_a_frame_that_never_ends_is_an_error(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")

    response = gateway.post(PATH, STREAMED | {"model": "scripted-long-line-m20"})

    assert "event: error" in response.lines() or response.status == 502
    assert gateway.record().error_type == "api_error"


def test_a_stream_that_breaks_off_inside_a_line_end_is_complete(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")

    lines = gateway.post(PATH, STREAMED | {"model": "scripted-sse-crlf-cut"}).lines()

    named = [line.strip().removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert named.count("message_start") == named.count("message_stop") == 1


def test_invalid_utf8_is_sent_as_valid_text(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")

    response = gateway.post(PATH, STREAMED | {"model": "scripted-invalid-utf8"})

    assert "\N{REPLACEMENT CHARACTER}" in response.body.decode()
