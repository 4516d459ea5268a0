"""Removal of other upstreams' content from a history."""

import copy
from typing import Any

import pytest

from messages_api.backend.protocol.history_cleanup import clean_history

USER = {"role": "user", "content": "q"}


def body(*messages: Any) -> Any:
    return {"model": "m", "max_tokens": 1, "messages": list(messages)}


def assistant(*blocks: Any) -> Any:
    return {"role": "assistant", "content": list(blocks)}


SIGNED = {"type": "thinking", "thinking": "", "signature": "S"}
CALL = {"type": "tool_use", "id": "toolu_A-1", "name": "a", "input": {}}


@pytest.mark.parametrize(
    "untouched",
    [
        pytest.param(body(USER, assistant(SIGNED, {"type": "text", "text": "a"}, CALL)), id="signed thinking"),
        pytest.param(body({"role": "user", "content": [{"type": "text", "text": " "}]}), id="blank text of the user"),
        pytest.param(body({"role": "user", "content": " "}), id="a blank user"),
        pytest.param(body({"role": "user", "content": []}), id="no blocks"),
        pytest.param(body(USER, {"role": "assistant", "content": "a"}), id="text"),
        pytest.param(body(USER, assistant({"type": "server_tool_use", "id": "a.b"})), id="another id"),
        pytest.param(body(USER, assistant(7, {"type": "tool_use", "id": 7}, {"type": "text"})), id="wrong shapes"),
        pytest.param(body({"role": "user", "content": [{"type": "thinking"}]}), id="thinking of the user"),
    ],
)
def test_a_clean_history_is_the_same_object(untouched: Any) -> None:
    changed, repaired = clean_history(untouched)

    assert not changed
    assert repaired is untouched


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        pytest.param([{"type": "thinking", "thinking": "r"}, CALL], [CALL], id="without a signature"),
        pytest.param([{"type": "thinking", "thinking": "r", "signature": ""}, CALL], [CALL], id="an empty signature"),
        pytest.param([{"type": "text", "text": " \n"}, CALL], [CALL], id="blank text"),
        pytest.param([{"type": "text", "text": ""}, SIGNED], [SIGNED], id="empty text"),
    ],
)
def test_content_of_another_upstream_is_removed(content: Any, kept: Any) -> None:
    traced = body(USER, assistant(*content))
    before = copy.deepcopy(traced)

    assert clean_history(traced) == (True, body(USER, assistant(*kept)))
    assert traced == before


@pytest.mark.parametrize("content", [[{"type": "thinking", "thinking": "r", "signature": ""}], " "])
def test_an_assistant_message_that_becomes_empty_is_removed(content: Any) -> None:
    traced = body(USER, {"role": "assistant", "content": content}, USER)

    assert clean_history(traced) == (True, body(USER, USER))


@pytest.mark.parametrize(
    ("foreign", "repaired"),
    [
        pytest.param("call.é", "call___", id="each character"),
        pytest.param("", "_", id="empty"),
        pytest.param("\ud83d", "__", id="a lone surrogate"),
    ],
)
def test_a_foreign_tool_id_is_rewritten_the_same_on_both_sides(foreign: str, repaired: str) -> None:
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": foreign}]}

    _, fixed = clean_history(body(USER, assistant({**CALL, "id": foreign}), result))

    tool_id = fixed["messages"][1]["content"][0]["id"]
    assert tool_id == fixed["messages"][2]["content"][0]["tool_use_id"]
    assert tool_id[:-8] == repaired
    assert len(tool_id) == len(repaired) + 8


def test_fields_of_another_provider_are_removed_from_an_id() -> None:
    tool_id = "c1__thought__c2ln"
    traced = body(USER, assistant({**CALL, "id": tool_id}), result(tool_id))

    assert clean_history(traced) == (True, body(USER, assistant({**CALL, "id": "c1"}), result("c1")))


def result(tool_id: str) -> Any:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": tool_id, "content": "ok"}]}
