"""Translation of request fields to OpenAI. The conversation: test_turns."""

import hashlib
from typing import Any

import pytest

from messages_api.backend.protocol.openai_request import UnsupportedRequest, empty_response
from tests.messages_api.backend.protocol.streams import REQUEST, counting_ids
from tests.messages_api.backend.protocol.translated import error_of, to_body


@pytest.mark.parametrize(
    ("fields", "profile", "body"),
    [
        ({"max_tokens": 5}, {"max_tokens_field": "max_completion_tokens"}, {"max_completion_tokens": 5}),
        ({"max_tokens": 5}, {}, {"max_tokens": 5}),
        ({"model": "m2"}, {}, {"model": "m2"}),
        ({"stream": True}, {}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": True}, {"stream_options": False}, {"stream": True}),
        ({"stream": False}, {}, {}),
        ({"temperature": 0, "top_p": 0.5}, {}, {"temperature": 0, "top_p": 0.5}),
        ({"temperature": None}, {}, {}),
        ({"top_k": 5}, {"top_k": True, "sampling": False}, {"top_k": 5}),
        ({"stop_sequences": ["a", "b"]}, {"max_stop": 2}, {"stop": ["a", "b"]}),
        ({"stop_sequences": ["a"] * 9}, {}, {"stop": ["a"] * 9}),
        ({"stop_sequences": []}, {"max_stop": 0}, {}),
        ({"metadata": {"user_id": "é"}}, {"user_field": "user"}, {"user": hashlib.sha256("é".encode()).hexdigest()}),
        (
            {"metadata": {"user_id": "\ud83d"}},
            {"user_field": "user"},
            {"user": hashlib.sha256(b"\xed\xa0\xbd").hexdigest()},
        ),
        ({"metadata": None, "future": None, "tools": None, "container": None}, {}, {}),
        ({"service_tier": "flex"}, {"service_tiers": ["default", "flex"]}, {"service_tier": "flex"}),
        ({"service_tier": "standard_only"}, {"service_tiers": ["default", "flex"]}, {"service_tier": "default"}),
    ],
)
def test_a_field_is_translated(fields: Any, profile: Any, body: Any) -> None:
    assert to_body(profile=profile, **fields) == (body, set())


@pytest.mark.parametrize(
    ("fields", "profile", "dropped"),
    [
        ({"temperature": 1, "top_p": 1, "top_k": 1}, {"sampling": False}, {"temperature", "top_p", "top_k"}),
        ({"metadata": {"user_id": "u"}}, {}, {"metadata"}),
        ({"metadata": {}}, {"user_field": "user"}, {"metadata"}),
        ({"metadata": {"user_id": 7}}, {"user_field": "user"}, {"metadata"}),
        (
            {"service_tier": "auto", "inference_geo": "eu", "diagnostics": {}},
            {},
            {"service_tier", "inference_geo", "diagnostics"},
        ),
        ({"service_tier": "priority"}, {"service_tiers": ["flex"]}, {"service_tier"}),
        ({"service_tier": 7}, {"service_tiers": ["flex"]}, {"service_tier"}),
        ({"fallbacks": [], "mcp_servers": [], "future": 0}, {}, {"fallbacks", "mcp_servers", "future"}),
        ({"output_config": {"task_budget": 1, "format": None}}, {}, {"output_config.task_budget"}),
    ],
)
def test_a_hint_is_dropped_and_named(fields: Any, profile: Any, dropped: set[str]) -> None:
    assert to_body(profile=profile, **fields) == ({}, dropped)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"container": {"skills": []}}, "container"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"thinking": True}, "thinking"),
        ({"output_config": []}, "output_config"),
        ({"metadata": "u"}, "metadata"),
    ],
)
def test_a_field_that_changes_the_meaning_is_rejected(fields: Any, param: str) -> None:
    error = error_of(**fields)

    assert error.param == param
    assert error.message.startswith(f"{param}: ")


def test_a_field_of_a_wrong_type_is_rejected() -> None:
    assert error_of(tools=7).message == "tools: must be an array"
    assert error_of(metadata=7).message == "metadata: must be an object"


def test_too_many_stop_sequences_are_rejected() -> None:
    error = error_of(stop_sequences=["a", "b"], profile={"max_stop": 1})

    assert (error.message, error.param) == ("stop_sequences: this model takes at most 1", "stop_sequences")


def warm_up(**fields: object) -> Any:
    return empty_response({**REQUEST, "max_tokens": 0, **fields}, counting_ids())  # type: ignore[typeddict-item]


def test_a_request_for_tokens_needs_a_model() -> None:
    assert warm_up(max_tokens=1) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "disabled"}},
        {"tool_choice": {"type": "auto"}},
        {"output_config": {"effort": "low"}},
        {"stream": False},
    ],
)
def test_a_request_for_no_tokens_has_an_immediate_response(fields: Any) -> None:
    message = warm_up(**fields)

    assert (message["stop_reason"], message["content"]) == ("max_tokens", [])


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"output_config": {"format": {"type": "json_schema"}}},
        {"output_format": {"type": "json_schema"}},
        {"tool_choice": {"type": "any"}},
        {"tool_choice": {"type": "tool", "name": "a"}},
    ],
)
def test_fields_that_need_tokens_are_rejected_without_any(fields: Any) -> None:
    with pytest.raises(UnsupportedRequest, match="max_tokens: must be at least 1 together with ") as raised:
        warm_up(**fields)

    assert raised.value.param == "max_tokens"
