"""IDs of messages and tool calls."""

from typing import Any

from messages_api.backend.protocol.ids import Ids, tool_ids
from tests.messages_api.backend.protocol.streams import counting_ids


def test_an_upstream_id_is_kept_as_it_is() -> None:
    assert counting_ids().tool("functions.Bash:0") == "functions.Bash:0"


def test_an_empty_or_used_id_is_replaced() -> None:
    ids = counting_ids()
    ids.avoid(["call_0"])

    assert [ids.tool(upstream_id) for upstream_id in ("", "call_0", "call_1", "call_1")] == [
        "toolu_0",
        "toolu_1",
        "call_1",
        "toolu_2",
    ]


def test_a_new_id_is_not_a_used_one_either() -> None:
    numbers = iter(["a", "a", "b"])
    ids = Ids(lambda kind: f"{kind}_{next(numbers)}", taken=["toolu_a"])

    assert ids.tool("") == "toolu_b"


def test_message_ids_are_new() -> None:
    ids = counting_ids()

    assert [ids.message(), ids.message()] == ["msg_0", "msg_1"]


def test_the_ids_of_a_history_are_those_of_its_tool_calls() -> None:
    blocks = [
        {"type": "tool_use", "id": "t1", "name": "a", "input": {}},
        {"type": "tool_use", "id": 7},
        {"type": "tool_result", "tool_use_id": "t2"},
        {"type": "server_tool_use", "id": "s1"},
        7,
    ]
    request: Any = {"messages": [{"role": "user", "content": "t3"}, {"role": "assistant", "content": blocks}]}

    assert tool_ids(request) == {"t1"}
