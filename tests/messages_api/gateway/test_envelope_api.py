"""The envelope API over real HTTP, in front of both dialects of upstream."""

import re
from typing import Any

import pytest

from keys.models import UsageRecord
from tests.support.gateway import Gateway, events
from tests.upstream import Reply, replied

PATH = "/api/v1/messages"
HELLO = {"model": "claude-3", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = HELLO | {"stream": True}

both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])


@both_dialects
def test_a_response_is_an_envelope_around_a_completion(gateway: Gateway, dialect: str) -> None:
    gateway.configure_upstream(dialect)

    response = gateway.post(PATH, HELLO)

    assert response.status == 200
    envelope = response.json()
    assert list(envelope) == ["success", "code", "message", "data"]
    assert (envelope["success"], envelope["code"], envelope["message"]) == (True, "200", "successful")
    data = envelope["data"]
    assert re.fullmatch("msg_.+", data["id"])
    assert (data["object"], data["model"]) == ("chat.completion", "claude-3")
    assert data["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hello, world!"}, "finish_reason": "stop"}
    ]
    assert {name: data["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")} == {
        "prompt_tokens": 9,
        "completion_tokens": 12,
        "total_tokens": 21,
    }
    assert re.fullmatch("req_[0-9a-f]{32}", response.headers["request-id"])


@both_dialects
def test_a_stream_is_chunks_and_done(gateway: Gateway, dialect: str) -> None:
    gateway.configure_upstream(dialect)

    response = gateway.post(PATH, STREAMED)

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    lines = response.lines()
    assert lines[-1] == "data: [DONE]"
    assert not [line for line in lines if line.startswith("event:")]
    chunks = list(events(lines))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {"claude-3"}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "Hello, world!"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-2:] == [None, "stop"]
    assert chunks[-1]["usage"]["total_tokens"] == 21


@both_dialects
@pytest.mark.parametrize("body", [HELLO, STREAMED], ids=["plain", "streamed"])
def test_every_request_has_a_settled_record_with_the_usage_of_the_upstream(
    gateway: Gateway, dialect: str, body: dict[str, Any]
) -> None:
    gateway.configure_upstream(dialect)

    response = gateway.post(PATH, body)

    row = gateway.record()
    assert row.id == response.headers["request-id"]
    assert (row.status, row.http_status, row.api_format, row.streamed) == (
        "completed",
        200,
        "envelope",
        body is STREAMED,
    )
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (9, 12, "reported")
    assert (row.api_key_id, row.model, row.upstream, row.stop_reason) == (
        gateway.key.pk,
        "claude-3",
        "scripted",
        "end_turn",
    )


@both_dialects
@pytest.mark.parametrize("body", [HELLO, STREAMED], ids=["plain", "streamed"])
def test_without_reported_usage_client_and_record_have_the_same_estimate(
    gateway: Gateway, dialect: str, body: dict[str, Any]
) -> None:
    gateway.configure_upstream(dialect)
    gateway.upstream.queue(replied(Reply(usage=None)))

    response = gateway.post(PATH, body)

    usage = (response.json()["data"] if body is HELLO else list(events(response.lines()))[-1])["usage"]
    record = gateway.record()
    assert (record.usage_source, record.input_tokens, record.output_tokens) == ("estimated", 5, 4)
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (5, 4, 9)


@both_dialects
def test_a_reported_count_is_not_estimated_again(gateway: Gateway, dialect: str) -> None:
    gateway.configure_upstream(dialect)
    gateway.upstream.queue(replied(Reply(("x" * 400,), usage=("many", 10))))

    usage = gateway.post(PATH, HELLO).json()["data"]["usage"]

    record = gateway.record()
    assert (record.usage_source, record.input_tokens, record.output_tokens) == ("partial", 5, 10)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (5, 10)


def test_the_upstream_gets_its_credential_and_never_the_clients_key(gateway: Gateway) -> None:
    gateway.post(PATH, HELLO)

    (request,) = gateway.upstream.requests
    assert request.headers["authorization"] == "Bearer the-upstream-credential"
    assert gateway.raw_key not in str(request.headers)
    assert request.headers["accept-encoding"] == "identity"


def test_a_model_without_a_route_is_a_404_that_names_the_models_of_this_key(gateway: Gateway) -> None:
    gateway.upstream_row.targets.all().delete()
    gateway.add_route("claude-a", gateway.upstream_row)
    gateway.add_route("secret-b", gateway.upstream_row)
    gateway.key.allowed_models = ["claude-*"]
    gateway.key.save()

    response = gateway.post(PATH, HELLO)

    assert response.status == 404
    assert response.json()["data"]["error"] == {
        "type": "not_found_error",
        "message": "Model not found. Models for this key: claude-a.",
        "param": "model",
    }
    assert gateway.record().status == "rejected"
    assert gateway.upstream.requests == []


def test_a_model_that_the_key_may_not_use_is_a_403_whether_it_exists_or_not(gateway: Gateway) -> None:
    gateway.key.allowed_models = ["other"]
    gateway.key.save()

    response = gateway.post(PATH, HELLO)

    assert (response.status, response.json()["data"]["error"]["type"]) == (403, "permission_error")
    assert gateway.record().http_status == 403
    assert gateway.upstream.requests == []


@pytest.mark.parametrize(
    ("method", "path", "status", "type"),
    [
        ("POST", "/api/v1/nothing", 404, "not_found_error"),
        ("POST", "/api/", 404, "not_found_error"),
        ("GET", PATH, 405, "invalid_request_error"),
    ],
)
def test_every_error_below_api_is_an_error_envelope(
    gateway: Gateway, method: str, path: str, status: int, type: str
) -> None:
    response = gateway.request(method, path)

    assert response.status == status
    assert response.json() == {
        "success": False,
        "code": str(status),
        "message": response.json()["message"],
        "data": {
            "error": {"type": type, "message": response.json()["message"], "param": None},
            "request_id": response.headers["request-id"],
        },
    }


def test_a_trailing_slash_changes_nothing(gateway: Gateway) -> None:
    assert gateway.post(PATH + "/", HELLO).status == 200


def test_the_accept_header_changes_nothing(gateway: Gateway) -> None:
    for accept in ("text/event-stream", "text/html", "image/png"):
        assert gateway.post(PATH, HELLO, headers={**gateway.headers(), "Accept": accept}).status == 200


def test_a_rejected_body_causes_no_upstream_request_and_no_record(gateway: Gateway) -> None:
    response = gateway.post(PATH, HELLO | {"max_tokens": 0})

    assert response.status == 400
    assert response.json()["data"]["error"]["param"] == "max_tokens"
    assert gateway.upstream.requests == []
    assert not UsageRecord.objects.exists()
