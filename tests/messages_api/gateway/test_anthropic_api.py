"""The native lane: Anthropic's own shapes, byte for byte from an Anthropic upstream, translated from an OpenAI one."""

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
def test_a_plain_answer_is_a_message(gateway: Gateway, dialect: str) -> None:
    gateway.speak(dialect)

    answer = gateway.post(PATH, HELLO)

    message = answer.json()
    assert (answer.status, message["type"], message["role"], message["model"]) == (
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
    gateway.speak(dialect)

    lines = gateway.post(PATH, STREAMED).lines()

    named = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    told = list(events(lines))
    assert named == [event["type"] for event in told]
    assert [kind for kind in named if kind != "ping"][:2] == ["message_start", "content_block_start"]
    assert named[-1] == "message_stop"
    assert (
        "".join(event["delta"].get("text", "") for event in told if event["type"] == "content_block_delta")
        == "Hello, world!"
    )
    assert gateway.record().status == "completed"


def test_an_anthropic_upstreams_answer_goes_out_byte_for_byte(gateway: Gateway) -> None:
    gateway.speak("anthropic")
    raw = json.dumps(anthropic_response(model="claude-3") | {"a_new_field": 1.50}, indent=3).encode()
    gateway.upstream.queue(body_response(raw))

    assert gateway.post(PATH, HELLO).body == raw


def test_an_anthropic_upstreams_stream_goes_out_byte_for_byte(gateway: Gateway) -> None:
    gateway.speak("anthropic")
    frames = anthropic_stream(model="claude-3")
    frames.insert(2, b": a comment\n\n")
    frames.insert(3, anthropic_frame({"type": "a_new_event", "value": 1.50}))
    gateway.upstream.queue(streamed([b"".join(frames)[i : i + 7] for i in range(0, len(b"".join(frames)), 7)]))

    answer = gateway.post(PATH, STREAMED)

    assert answer.body == b"".join(frames)
    assert gateway.record().status == "completed"


def test_the_callers_bytes_version_and_betas_reach_an_anthropic_upstream(gateway: Gateway) -> None:
    gateway.speak("anthropic")
    raw = json.dumps(HELLO | {"a_new_field": {"x": 1.50}}, indent=2).encode()
    headers = {
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a-1,b-2",
        "X-Claude-Code-Session-Id": "s",
        "Cookie": "c=1",
        "X-Forwarded-For": "1.2.3.4",
    }

    gateway.request("POST", PATH + "?beta=true&other=1", raw, headers=gateway.headers() | headers)

    (call,) = gateway.upstream.requests
    assert call.path == "/v1/messages?beta=true"
    assert call.body == json.loads(raw)
    assert call.headers["content-length"] == str(len(raw))
    assert (call.headers["anthropic-version"], call.headers["anthropic-beta"]) == ("2026-10-21", "a-1,b-2")
    assert call.headers["x-claude-code-session-id"] == "s"
    assert not {"cookie", "x-forwarded-for", "x-api-key"} & set(call.headers)
    assert call.headers["authorization"] == "Bearer the-upstream-credential"


def test_the_envelope_lane_pins_the_version_and_forwards_nothing(gateway: Gateway) -> None:
    gateway.speak("anthropic")

    gateway.request(
        "POST",
        "/api/v1/messages",
        json.dumps(HELLO).encode(),
        headers=gateway.headers() | {"anthropic-version": "2026-10-21", "anthropic-beta": "a"},
    )

    (call,) = gateway.upstream.requests
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in call.headers


def test_a_routed_alias_changes_the_model_there_and_not_in_the_answer(gateway: Gateway) -> None:
    gateway.speak("anthropic")
    gateway.add_route("alias", gateway.upstream_row, model="real-name")

    plain = gateway.post(PATH, HELLO | {"model": "alias"})
    lines = gateway.post(PATH, STREAMED | {"model": "alias"}).lines()

    assert {call.model for call in gateway.upstream.requests} == {"real-name"}
    assert plain.json()["model"] == "alias"
    assert next(events(lines))["message"]["model"] == "alias"


def test_what_an_openai_upstream_cannot_be_told_is_dropped_and_named(gateway: Gateway) -> None:
    answer = gateway.post(PATH, HELLO | {"top_k": 3, "speed": "fast", "a_new_field": 1, "ünïcödé\n": 1})

    assert answer.status == 200
    assert set(answer.headers["x-gateway-dropped"].split(", ")) == {"top_k", "speed", "a_new_field", "?"}


@both_dialects
@pytest.mark.parametrize("body", [HELLO, STREAMED], ids=["plain", "streamed"])
def test_a_failure_is_anthropics_error_object(gateway: Gateway, dialect: str, body: dict[str, Any]) -> None:
    gateway.speak(dialect)
    gateway.upstream.queue(failure(429, "slow down", headers=[("retry-after", "60"), ("set-cookie", "a=b")]))

    answer = gateway.post(PATH, body)

    assert answer.status == 429
    assert answer.json() == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "slow down"},
        "request_id": answer.headers["request-id"],
    }
    assert answer.headers["retry-after"] == "60"
    assert "set-cookie" not in answer.headers


@both_dialects
def test_a_stream_that_is_cut_ends_with_an_error_event(gateway: Gateway, dialect: str) -> None:
    gateway.speak(dialect)
    gateway.upstream.queue(lambda call: streamed([b"".join(frames_of(call))[:-200]]))

    lines = gateway.post(PATH, STREAMED).lines()

    assert lines[-2] == "event: error"
    assert "event: message_stop" not in lines
    assert gateway.record().status == "failed"


def test_a_404_and_a_405_are_anthropics_error_objects_too(gateway: Gateway) -> None:
    for method, path, status, type in (
        ("POST", "/api/anthropic/v1/nothing", 404, "not_found_error"),
        ("GET", PATH, 405, "invalid_request_error"),
    ):
        answer = gateway.request(method, path)
        assert (answer.status, answer.json()["type"], answer.json()["error"]["type"]) == (status, "error", type)


def test_no_tokens_warm_a_cache_and_need_no_upstream_that_has_none(gateway: Gateway) -> None:
    answer = gateway.post(PATH, HELLO | {"max_tokens": 0})

    assert answer.json()["content"] == []
    assert answer.json()["stop_reason"] == "max_tokens"
    assert gateway.upstream.requests == []
    assert gateway.post(PATH, STREAMED | {"max_tokens": 0}).status == 400


def test_tokens_are_counted_by_an_anthropic_upstream_and_estimated_for_another(gateway: Gateway) -> None:
    body = {"model": "claude-3", "messages": [{"role": "user", "content": "x" * 400}]}

    estimated = gateway.post(PATH + "/count_tokens", body)
    gateway.speak("anthropic")
    gateway.upstream.queue(body_response({"input_tokens": 77}))
    counted = gateway.post(PATH + "/count_tokens", body)

    assert estimated.json() == {"input_tokens": 104}
    assert counted.json() == {"input_tokens": 77}
    assert [call.path for call in gateway.upstream.requests] == ["/v1/messages/count_tokens"]
    assert not UsageRecord.objects.exists()


def test_the_list_of_models_holds_what_this_key_may_use(gateway: Gateway) -> None:
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


def test_somebody_is_there(gateway: Gateway) -> None:
    for path in ("/api/hello", "/api/anthropic/api/hello"):
        assert gateway.request("HEAD", path, headers={}).status == 200


@pytest.mark.parametrize("value", ["é", "x" * 1025])
def test_a_header_that_cannot_be_forwarded_is_refused(gateway: Gateway, value: str) -> None:
    headers = gateway.headers() | {"anthropic-beta": value.encode("latin-1").decode("latin-1")}

    assert gateway.request("POST", PATH, json.dumps(HELLO).encode(), headers=headers).status == 400


def test_a_frame_without_an_end_is_given_up_and_holds_up_nobody(gateway: Gateway) -> None:
    gateway.speak("anthropic")

    answer = gateway.post(PATH, STREAMED | {"model": "scripted-long-line-m20"})

    assert "event: error" in answer.lines() or answer.status == 502
    assert gateway.record().error_type == "api_error"


def test_a_stream_that_is_cut_inside_a_line_end_is_whole(gateway: Gateway) -> None:
    gateway.speak("anthropic")

    lines = gateway.post(PATH, STREAMED | {"model": "scripted-sse-crlf-cut"}).lines()

    named = [line.strip().removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert named.count("message_start") == named.count("message_stop") == 1


def test_bytes_that_are_no_text_go_out_as_text(gateway: Gateway) -> None:
    gateway.speak("anthropic")

    answer = gateway.post(PATH, STREAMED | {"model": "scripted-invalid-utf8"})

    assert "\N{REPLACEMENT CHARACTER}" in answer.body.decode()
