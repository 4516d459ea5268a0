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
        "toolu_0_1",
        "toolu_0_2",
        "call_1",
        "toolu_0_3",
    ]


def test_a_new_id_is_not_a_used_one_either() -> None:
    ids = Ids("a", taken=["toolu_a_1"])

    assert ids.tool("") == "toolu_a_2"


def test_the_ids_of_a_response_share_its_random_part() -> None:
    ids = Ids("7f3a")

    assert (ids.message(), ids.tool("")) == ("msg_7f3a", "toolu_7f3a_1")


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
