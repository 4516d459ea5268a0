"""A key with allowed models reaches no other model, wherever a request names it; content may say anything."""

from typing import Any

import pytest

from tests.support.gateway import Gateway

ENVELOPE, ANTHROPIC = "/api/v1/messages", "/api/anthropic/v1/messages"
COUNT = f"{ANTHROPIC}/count_tokens"
BODY: dict[str, Any] = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}


def advisor(model: str) -> dict[str, Any]:
    return {"type": "advisor_20260301", "name": "advisor", "model": model}


def said(*blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, *blocks]}]}


NAMED = {
    "a fallback": lambda model: {"fallbacks": [{"model": "m"}, {"model": model}]},
    "an advisor": lambda model: {"tools": [advisor(model)]},
    "a tool that is added later": lambda model: said(
        {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": advisor(model)}}
    ),
}
UNDOCUMENTED: dict[str, Any] = {
    "the default fallbacks": {"fallbacks": "default"},
    "a field of the settings": {"output_config": {"model": "other"}},
    "a field of a tool": {"tools": [{"name": "t", "input_schema": {"type": "object"}, "agent": {"model": "other"}}]},
    "a field of a block": said({"type": "text", "text": "a", "model": "other"}),
}
CONTENT = {
    "tools": [
        {
            "name": "t",
            "input_schema": {"type": "object", "properties": {"model": {"const": "other"}}},
            "input_examples": [{"model": "other"}],
        }
    ],
    "output_config": {"format": {"type": "json_schema", "schema": {"properties": {"model": {"const": "other"}}}}},
    "messages": [
        {"role": "user", "content": "model: other"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t_1", "name": "t", "input": {"model": "other"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t_1", "content": '{"model": "other"}'}]},
    ],
}

both_apis = pytest.mark.parametrize("path", [ENVELOPE, ANTHROPIC])


@pytest.fixture
def limited_to_m(gateway: Gateway) -> Gateway:
    gateway.key.allowed_models = ["m"]
    gateway.key.save()
    gateway.configure_upstream("anthropic")
    return gateway


@both_apis
@pytest.mark.parametrize("place", NAMED)
def test_another_model_is_rejected_where_it_is_named(limited_to_m: Gateway, path: str, place: str) -> None:
    rejected = limited_to_m.post(path, BODY | NAMED[place]("other"))
    allowed = limited_to_m.post(path, BODY | NAMED[place]("m"))

    assert (rejected.status, allowed.status) == (403, 200), (rejected.body, allowed.body)
    assert b"not allowed to use the requested model" in rejected.body and b".model" in rejected.body
    assert len(limited_to_m.upstream.requests) == 1
    assert {record.status for record in limited_to_m.settled(2)} == {"rejected", "completed"}


@both_apis
@pytest.mark.parametrize("place", UNDOCUMENTED)
def test_a_field_that_may_choose_a_model_is_rejected(limited_to_m: Gateway, path: str, place: str) -> None:
    response = limited_to_m.post(path, BODY | UNDOCUMENTED[place])

    assert response.status == 403, response.body
    assert not limited_to_m.upstream.requests
    limited_to_m.settled(1)


@pytest.mark.parametrize("field", ["Model", "models", "mod\\u0065ls", "fallback_models", "fallbacks"])
def test_an_unknown_field_of_the_anthropic_api_chooses_no_model(limited_to_m: Gateway, field: str) -> None:
    raw = b'{"model":"m","max_tokens":10,"messages":[{"role":"user","content":"Hi"}],"%b":"other"}' % field.encode()

    assert limited_to_m.post(ANTHROPIC, raw).status == 403
    assert not limited_to_m.upstream.requests
    limited_to_m.settled(1)


@pytest.mark.parametrize("fields", [*(named("other") for named in NAMED.values()), *UNDOCUMENTED.values()])
def test_no_tokens_are_counted_for_another_model(limited_to_m: Gateway, fields: dict[str, Any]) -> None:
    assert limited_to_m.post(COUNT, BODY | fields).status == 403
    assert not limited_to_m.upstream.requests


@both_apis
def test_content_is_not_searched(limited_to_m: Gateway, path: str) -> None:
    assert limited_to_m.post(path, BODY | CONTENT).status == 200
    limited_to_m.settled(1)


@pytest.mark.parametrize("fields", [*(named("other") for named in NAMED.values()), *UNDOCUMENTED.values()])
def test_a_key_for_every_model_may_name_them(gateway: Gateway, fields: dict[str, Any]) -> None:
    gateway.configure_upstream("anthropic")

    assert gateway.post(ANTHROPIC, BODY | fields).status == 200
    gateway.settled(1)


def test_no_header_chooses_an_account_or_a_workspace(limited_to_m: Gateway) -> None:
    foreign = {
        "anthropic-workspace-id": "wrkspc_other",
        "anthropic-user-profile-id": "uprof_other",
        "anthropic-organization-id": "org_other",
        "anthropic-novel": "x" * 2_000,
        "x-claude-code-novel": "other",
    }
    forwarded = {"anthropic-version": "2023-06-01", "anthropic-beta": "a-1", "x-claude-code-session-id": "s"}

    responses = [
        limited_to_m.post(path, BODY, headers=limited_to_m.headers() | foreign | forwarded)
        for path in (ANTHROPIC, ENVELOPE)
    ]

    assert [response.status for response in responses] == [200, 200]
    for request in limited_to_m.upstream.requests:
        names = {name.lower() for name in request.headers}
        assert not names & {name.lower() for name in foreign}
    assert (
        forwarded.items()
        <= {name.lower(): value for name, value in limited_to_m.upstream.requests[0].headers.items()}.items()
    )
    limited_to_m.settled(2)
