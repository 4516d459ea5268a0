"""Complete responses of an OpenAI upstream."""

from typing import Any

import pytest

from messages_api.backend.protocol.completion import message_from_openai
from messages_api.backend.protocol.error_mapping import MappedError, UpstreamResponseError
from tests.messages_api.backend.protocol.streams import REQUEST, counting_ids


def response(message: Any, *, finish: object = "stop", **fields: object) -> Any:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **fields}


def decode(message: Any, **options: Any) -> Any:
    return message_from_openai(response(message, **options), request=REQUEST, ids=counting_ids())


def tool(arguments: object, *, id: str = "c1", name: object = "a") -> Any:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_a_response_has_thinking_text_refusal_and_tool_calls_in_this_order() -> None:
    message = decode(
        {"refusal": "No.", "content": "Hi", "reasoning": "hm", "tool_calls": [tool("{}")]},
        finish="content_filter",
        usage={"prompt_tokens": 3, "completion_tokens": 4},
    )

    assert message == {
        "id": "msg_0",
        "type": "message",
        "role": "assistant",
        "model": "m1",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "Hi"},
            {"type": "text", "text": "No."},
            {"type": "tool_use", "id": "c1", "name": "a", "input": {}},
        ],
        "stop_reason": "refusal",
        "stop_sequence": None,
        "stop_details": {"type": "refusal", "category": None, "explanation": None},
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 4,
        },
    }


@pytest.mark.parametrize(
    ("message", "content"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"content": None, "tool_calls": None, "refusal": None}, [], id="null"),
        pytest.param({"content": " \n", "refusal": " "}, [], id="blank"),
        pytest.param({"content": 7, "refusal": 7, "reasoning": 7, "tool_calls": 7}, [], id="no texts"),
        pytest.param({"tool_calls": [7, {"function": 7}, tool("{}", name=7)]}, [], id="calls without a name"),
        pytest.param({"content": [{"type": "text", "text": "a"}, "b", 7, {"text": 7}]}, ["ab"], id="parts"),
        pytest.param({"reasoning_content": "", "reasoning": "b"}, [["b"]], id="the name that is not empty"),
        pytest.param({"reasoning_content": "a", "reasoning": "b"}, [["a"]], id="never both names"),
        pytest.param(
            {"content": [{"type": "thinking", "thinking": "a"}, {"type": "text", "text": "b"}]},
            [["a"], "b"],
            id="thinking as a part",
        ),
        pytest.param(
            {"content": [{"type": "thinking", "thinking": [{"text": "a"}, {"text": "b"}]}, {"type": "thinking"}]},
            [["ab"]],
            id="thinking as parts",
        ),
        pytest.param(
            {"reasoning": "a", "content": [{"type": "thinking", "thinking": "b"}]}, [["a"]], id="thinking once"
        ),
        pytest.param({"content": " a\n"}, [" a\n"], id="space around a text"),
    ],
)
def test_a_response_is_read_in_every_spelling(message: Any, content: Any) -> None:
    blocks = decode(message)["content"]

    assert [block["text"] if block["type"] == "text" else [block["thinking"]] for block in blocks] == content


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (None, {}),
        ("", {}),
        (" \n", {}),
        ({}, {}),
        ({"k": 1}, {"k": 1}),
        (' {"k": 1} ', {"k": 1}),
        ('{}{"k":2}', {"k": 2}),
        (' { } {"k":2}', {"k": 2}),
        ("{}{}", {}),
        ("[1]", {"_unparsed_arguments": "[1]"}),
        ([1], {"_unparsed_arguments": "[1]"}),
        ("7", {"_unparsed_arguments": "7"}),
        ('{"k":', {"_unparsed_arguments": '{"k":'}),
        ('{"k":NaN}', {"_unparsed_arguments": '{"k":NaN}'}),
        ('{"k":1}{"k":2}', {"_unparsed_arguments": '{"k":1}{"k":2}'}),
        ('{}{"k":', {"_unparsed_arguments": '{}{"k":'}),
        ('{"k":"\ud83d"}', {"k": "\ud83d"}),
    ],
)
def test_arguments_are_read_and_never_invented(arguments: object, read: Any) -> None:
    message = decode({"tool_calls": [tool(arguments)]})

    assert message["content"] == [{"type": "tool_use", "id": "c1", "name": "a", "input": read}]
    assert message["stop_reason"] == "tool_use"


def test_a_function_call_is_a_tool_call_unless_there_are_others() -> None:
    old = {"name": "old", "arguments": '{"a":1}'}

    alone = decode({"function_call": old}, finish="function_call")
    beside = decode({"function_call": old, "tool_calls": [tool("{}")]})

    assert alone["content"] == [{"type": "tool_use", "id": "toolu_0_1", "name": "old", "input": {"a": 1}}]
    assert [block["name"] for block in beside["content"]] == ["a"]


def test_a_stop_sequence_that_was_not_requested_is_not_reported() -> None:
    choice = {"message": {"content": "a"}, "finish_reason": "stop", "stop_reason": "END"}

    message = message_from_openai({"choices": [choice]}, request=REQUEST, ids=counting_ids())

    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)


def test_a_finish_reason_of_another_type_is_ignored() -> None:
    assert decode({"content": "a"}, finish=["error"])["stop_reason"] == "end_turn"


def test_a_blank_refusal_is_none() -> None:
    assert decode({"content": "a", "refusal": " "})["stop_reason"] == "end_turn"


def test_without_counts_there_is_a_usage_all_the_same() -> None:
    assert set(decode({"content": "a"})["usage"].values()) == {0}


NO_CHOICES = MappedError(502, "api_error", "The upstream returned no choices.")


@pytest.mark.parametrize(
    ("body", "mapped"),
    [
        pytest.param(7, NO_CHOICES, id="a number"),
        pytest.param([], NO_CHOICES, id="a list"),
        pytest.param({}, NO_CHOICES, id="an empty object"),
        pytest.param({"choices": None}, NO_CHOICES, id="null choices"),
        pytest.param({"choices": []}, NO_CHOICES, id="no choices"),
        pytest.param({"choices": {"0": {}}}, NO_CHOICES, id="choices that are no list"),
        pytest.param({"choices": [None]}, NO_CHOICES, id="a choice that is none"),
        pytest.param({"choices": [{}]}, NO_CHOICES, id="no message"),
        pytest.param(response(None), NO_CHOICES, id="a null message"),
        pytest.param(
            response({"content": "a"}, finish="error"),
            MappedError(500, "api_error", "The upstream ended with finish_reason 'error'."),
            id="error",
        ),
        pytest.param(
            response(None, finish="abort"),
            MappedError(500, "api_error", "The upstream ended with finish_reason 'abort'."),
            id="abort",
        ),
        pytest.param(
            response({}, finish="insufficient_system_resource"),
            MappedError(529, "overloaded_error", "The upstream ran out of capacity."),
            id="insufficient_system_resource",
        ),
        pytest.param({"error": "m"}, MappedError(500, "api_error", "m"), id="an error inside a 200"),
        pytest.param(
            {"object": "error", "message": "m", "code": 400},
            MappedError(400, "invalid_request_error", "m"),
            id="an error object inside a 200",
        ),
    ],
)
def test_an_invalid_response_is_an_error(body: Any, mapped: MappedError) -> None:
    with pytest.raises(UpstreamResponseError) as raised:
        message_from_openai(body, request=REQUEST, ids=counting_ids())

    assert raised.value.mapped == mapped
    assert str(raised.value) == mapped.message


@pytest.mark.parametrize("error", [None, "", False])
def test_an_empty_error_field_is_none(error: object) -> None:
    assert decode({"content": "a"}, error=error)["stop_reason"] == "end_turn"


def test_a_refusal_with_a_normal_finish_reason_is_a_refusal() -> None:
    message = decode({"content": None, "refusal": "No."})

    assert message["stop_reason"] == "refusal"
    assert message["stop_details"] == {"type": "refusal", "category": None, "explanation": None}
