"""Translation of tools and `tool_choice` to OpenAI."""

from typing import Any

import pytest

from tests.messages_api.backend.protocol.translated import error_of, to_body

ADD = {"name": "add", "input_schema": {"type": "object", "properties": {}}}
ADD_FUNCTION = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
SEARCH = {"type": "web_search_20260318", "name": "web_search"}


@pytest.mark.parametrize(
    ("tool", "profile", "function"),
    [
        pytest.param({"name": "a"}, {}, {"parameters": {"type": "object", "properties": {}}}, id="bare"),
        pytest.param(
            {"name": "a", "type": None, "input_schema": None, "description": ""},
            {},
            {"parameters": {"type": "object", "properties": {}}},
            id="null",
        ),
        pytest.param(
            {
                "name": "a",
                "type": "custom",
                "description": "d",
                "input_schema": {"required": ["x"]},
                "defer_loading": True,
            },
            {},
            {"description": "d", "parameters": {"type": "object", "properties": {}, "required": ["x"]}},
            id="custom",
        ),
        pytest.param(
            {"name": "a", "strict": False, "input_schema": {"type": "object", "properties": {"x": {}}}},
            {"strict": True},
            {"parameters": {"type": "object", "properties": {"x": {}}}, "strict": False},
            id="strict",
        ),
        pytest.param(
            {"name": "a"}, {"strict": True}, {"parameters": {"type": "object", "properties": {}}}, id="strict, unsaid"
        ),
    ],
)
def test_a_client_tool_is_a_function(tool: Any, profile: Any, function: Any) -> None:
    body, dropped = to_body(tools=[tool], profile=profile)

    assert body == {"tools": [{"type": "function", "function": {"name": "a", **function}}]}
    assert dropped == set()


@pytest.mark.parametrize(
    ("choice", "profile", "fields", "dropped"),
    [
        ({"type": "auto"}, {}, {"tool_choice": "auto"}, set()),
        ({"type": "any"}, {}, {"tool_choice": "required"}, set()),
        ({"type": "none"}, {}, {"tool_choice": "none"}, set()),
        ({"type": "none", "disable_parallel_tool_use": True}, {}, {"tool_choice": "none"}, set()),
        (
            {"type": "tool", "name": "add"},
            {},
            {"tool_choice": {"type": "function", "function": {"name": "add"}}},
            set(),
        ),
        (
            {"type": "any", "disable_parallel_tool_use": True},
            {},
            {"tool_choice": "required", "parallel_tool_calls": False},
            set(),
        ),
        ({"type": "auto", "disable_parallel_tool_use": False}, {}, {"tool_choice": "auto"}, set()),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"parallel_tool_calls": False},
            {"tool_choice": "auto"},
            {"tool_choice.disable_parallel_tool_use"},
        ),
    ],
)
def test_a_choice_is_translated(choice: Any, profile: Any, fields: Any, dropped: set[str]) -> None:
    assert to_body(tools=[ADD], tool_choice=choice, profile=profile) == ({"tools": [ADD_FUNCTION], **fields}, dropped)


@pytest.mark.parametrize(
    ("tools", "profile", "dropped"),
    [
        pytest.param([], {}, set(), id="no tools"),
        pytest.param(None, {}, set(), id="null"),
        pytest.param([SEARCH], {"server_tools": "drop"}, {"tools.0"}, id="nothing left"),
        pytest.param([{"type": "tool_search_tool_bm25_20251119"}], {}, {"tools.0"}, id="a search for tools"),
    ],
)
@pytest.mark.parametrize("choice", [{"type": "auto", "disable_parallel_tool_use": True}, {"type": "tool", "name": "x"}])
def test_without_tools_there_is_nothing_to_choose(tools: Any, profile: Any, dropped: set[str], choice: Any) -> None:
    assert to_body(tools=tools, profile=profile) == ({}, dropped)
    assert to_body(tools=tools, tool_choice=choice, profile=profile) == ({}, {*dropped, "tool_choice"})


def test_what_is_dropped_is_named_by_its_position() -> None:
    tools = [{"type": "tool_search_tool_regex_20251119"}, ADD, SEARCH, {"type": "mcp_toolset"}]

    body, dropped = to_body(tools=tools, profile={"server_tools": "drop"})

    assert body == {"tools": [ADD_FUNCTION]}
    assert dropped == {"tools.0", "tools.2", "tools.3"}


@pytest.mark.parametrize(
    ("kind", "is_server_tool"),
    [
        ("web_search_20250305", True),
        ("web_fetch_20260318", True),
        ("code_execution_20260521", True),
        ("mcp_toolset", True),
        ("bash_20250124", False),
        ("text_editor_20250728", False),
        ("memory_20250818", False),
        ("computer_toolset_20260801", False),
        ("browser_toolset_20260801", False),
        ("future_20300101", False),
    ],
)
def test_a_typed_tool_is_rejected_by_its_type(kind: str, is_server_tool: bool) -> None:
    tools = [ADD, {"type": kind, "name": "x"}]

    error = error_of(tools=tools)

    assert error.message == f"tools[1]: tool type '{kind}' is not supported by this model"
    assert error.param == "tools[1].type"
    if is_server_tool:
        assert to_body(tools=tools, profile={"server_tools": "drop"})[1] == {"tools.1"}
    else:
        assert error_of(tools=tools, profile={"server_tools": "drop"}).param == "tools[1].type"


@pytest.mark.parametrize(
    ("choice", "message", "param"),
    [
        ({"type": "tool", "name": "web_search"}, "unknown tool 'web_search'", "tool_choice.name"),
        ({"type": "tool"}, "unknown tool 'None'", "tool_choice.name"),
        ({"type": "tool", "name": ["add"]}, "unknown tool", "tool_choice.name"),
        ({"type": "required"}, "'required' is not supported", "tool_choice.type"),
        ({"name": "add"}, "'None' is not supported", "tool_choice.type"),
        ({"type": ["auto"]}, "is not supported", "tool_choice.type"),
    ],
)
def test_an_unsupported_tool_choice_is_rejected(choice: Any, message: str, param: str) -> None:
    error = error_of(tools=[ADD, SEARCH], tool_choice=choice, profile={"server_tools": "drop"})

    assert message in error.message
    assert error.param == param


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        (7, "tools[0]"),
        ({"type": 7, "name": "a"}, "tools[0]"),
        ({}, "tools[0].name"),
        ({"type": "custom", "name": 7}, "tools[0].name"),
        ({"name": "a", "input_schema": "x"}, "tools[0].input_schema"),
    ],
)
def test_an_invalid_tool_is_rejected(tool: Any, param: str) -> None:
    error = error_of(tools=[tool])

    assert error.param == param
    assert error.message.startswith(f"{param}: must be a")
