"""Translation of a conversation to OpenAI."""

import re
from typing import Any

import pytest

from tests.messages_api.backend.protocol.streams import REQUEST
from tests.messages_api.backend.protocol.translated import (
    IMAGE_PART,
    PDF,
    document,
    error_of,
    image,
    result,
    text,
    to_messages,
    tool_use,
)

ATTRIBUTION = "x-anthropic-billing-header: cch=1;"


@pytest.mark.parametrize(
    ("system", "content"),
    [
        pytest.param("a", "a", id="text"),
        pytest.param(
            [text("a", cache_control={}), text(""), text(" "), text("b")],
            "a\n\n \n\nb",
            id="blocks",
        ),
        pytest.param([text(ATTRIBUTION), text("a " + ATTRIBUTION)], "a " + ATTRIBUTION, id="an attribution"),
        pytest.param(ATTRIBUTION + "\nBe brief.", "Be brief.", id="an attribution above a text"),
        pytest.param("Be brief.\n" + ATTRIBUTION, "Be brief.\n", id="an attribution below a text"),
    ],
)
def test_the_system_prompt_is_one_leading_message(system: Any, content: str) -> None:
    messages = to_messages(("user", "hi"), system=system, profile={"system_role": "developer"})

    assert messages == [{"role": "developer", "content": content}, {"role": "user", "content": "hi"}]


@pytest.mark.parametrize("system", [None, "", [], [text("")], [text(ATTRIBUTION)]])
def test_an_empty_system_prompt_is_no_message(system: Any) -> None:
    assert to_messages(("user", "hi"), system=system) == [{"role": "user", "content": "hi"}]


def test_a_system_prompt_may_be_the_only_message() -> None:
    assert to_messages(("system", "s")) == [{"role": "system", "content": "s"}]


@pytest.mark.parametrize(
    "block", [image(), {"type": "text"}, {"type": "text", "text": 7}, {"type": "thinking", "text": "a"}, 7]
)
def test_a_system_prompt_is_text(block: Any) -> None:
    error = error_of(system=[text("a"), block])

    assert (error.message, error.param) == ("system[1]: must be a text block", "system[1]")
    assert error_of(("user", "a"), ("system", [block])).param == "messages[1].content[0]"


TALK = [("user", "a"), ("assistant", "b"), ("user", "c")]


@pytest.mark.parametrize("mid_system", ["fold", "keep"])
def test_system_messages_before_any_turn_join_the_leading_one(mid_system: str) -> None:
    messages = to_messages(
        ("system", "s1"),
        ("system", [text("s2"), text("s3")]),
        ("user", "a"),
        system="s0",
        profile={"mid_system": mid_system},
    )

    assert messages == [{"role": "system", "content": "s0\n\ns1\n\ns2\n\ns3"}, {"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    ("turns", "contents"),
    [
        pytest.param([("user", "a"), ("system", "s")], ["a\n\n<system>\ns\n</system>"], id="after a user"),
        pytest.param(
            [
                ("user", "a"),
                ("system", [text("s"), text(""), text("t")]),
                ("assistant", "b"),
                ("user", "c"),
            ],
            ["a\n\n<system>\ns\n\nt\n</system>", "b", "c"],
            id="blocks",
        ),
        pytest.param(
            [("user", "a"), ("assistant", "b"), ("system", "s"), ("user", "c")],
            ["a", "b", "<system>\ns\n</system>\n\nc"],
            id="after an assistant",
        ),
        pytest.param(
            [("user", "a"), ("assistant", "b"), ("system", "s")], ["a", "b", "<system>\ns\n</system>"], id="last"
        ),
        pytest.param([("user", "a"), ("system", ""), ("user", "b")], ["a\n\nb"], id="empty"),
    ],
)
def test_a_system_message_further_on_is_folded_into_the_users_turn(turns: list[Any], contents: list[str]) -> None:
    assert [message["content"] for message in to_messages(*turns)] == contents


def test_a_system_message_further_on_is_kept_where_that_is_possible() -> None:
    messages = to_messages(
        ("user", "a"),
        ("system", [text("s"), text("t")]),
        ("user", "b"),
        ("system", ""),
        ("user", "c"),
        profile={"mid_system": "keep", "system_role": "developer"},
    )

    assert messages == [
        {"role": "user", "content": "a"},
        {"role": "developer", "content": "s\n\nt"},
        {"role": "user", "content": "b\n\nc"},
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param([text("a")], "a", id="one text"),
        pytest.param([text("a"), text(""), text(" ")], "a\n\n ", id="texts"),
        pytest.param([text("a"), image()], [text("a"), IMAGE_PART], id="text and image"),
        pytest.param(
            [image(type="url", url="https://x.test/i.png")],
            [{"type": "image_url", "image_url": {"url": "https://x.test/i.png"}}],
            id="an image by address",
        ),
        pytest.param(
            [{"type": "search_result", "title": "T", "source": "S", "content": [text("a"), text("b")]}],
            "T\nS\n\na\nb",
            id="a search result",
        ),
        pytest.param([{"type": "tool_reference", "tool_name": "add"}], "Tool available: add", id="a tool reference"),
        pytest.param([document({"type": "text", "data": "d"})], "d", id="a document"),
        pytest.param([document({"type": "text", "data": "d"}, title="T")], "T\n\nd", id="with a title"),
        pytest.param([document({"type": "text", "data": "d"}, context="C", title=None)], "C\n\nd", id="with a context"),
        pytest.param([document({"type": "text", "data": "d"}, title="T", context="C")], "T\nC\n\nd", id="with both"),
        pytest.param([document({"type": "content", "content": "d"}, title="T")], "T\n\nd", id="content"),
        pytest.param(
            [document({"type": "content", "content": [text("d"), text("e")]})],
            "d\ne",
            id="blocks of content",
        ),
    ],
)
def test_the_content_of_a_user_is_text_or_parts(content: Any, expected: Any) -> None:
    assert to_messages(("user", content)) == [{"role": "user", "content": expected}]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([text("a"), text("b")], [text("a"), text("b")]),
        ([text("a"), text("")], "a"),
    ],
)
def test_text_parts_are_kept_where_they_are_supported(content: Any, expected: Any) -> None:
    assert to_messages(("user", content), profile={"text_parts": True})[0]["content"] == expected


@pytest.mark.parametrize("content", ["", [], [text("")]])
def test_an_empty_user_turn_is_left_out(content: Any) -> None:
    assert to_messages(("user", "a"), ("assistant", "b"), ("user", content), profile={"prefill": "forward"}) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]


def test_a_pdf_is_a_file_where_files_are_supported() -> None:
    messages = to_messages(("user", [document(PDF), document(PDF, title="a.pdf")]), profile={"files": True})

    data = "data:application/pdf;base64,UERG"
    assert [part["file"] for part in messages[0]["content"]] == [
        {"filename": "document.pdf", "file_data": data},
        {"filename": "a.pdf", "file_data": data},
    ]


@pytest.mark.parametrize(
    ("block", "files", "message"),
    [
        (image(type="file", file_id="f"), True, "image source type 'file' is not supported by this model"),
        (
            document({"type": "file", "file_id": "f"}),
            True,
            "document source type 'file' is not supported by this model",
        ),
        (document({"type": "url", "url": "u"}), True, "document source type 'url' is not supported by this model"),
        (document(PDF), False, "document source type 'base64' is not supported by this model"),
        (
            document({"type": "content", "content": [text("a"), image()]}),
            True,
            "document source type 'content' is not supported by this model",
        ),
    ],
)
def test_a_source_without_a_counterpart_is_unsupported(block: Any, files: bool, message: str) -> None:
    error = error_of(("user", "a"), ("user", [text("b"), block]), profile={"files": files})

    assert error.param == "messages[1].content[1].source"
    assert error.message == f"messages[1].content[1].source: {message}"


@pytest.mark.parametrize("kind", ["container_upload", "browser_state", "thinking", "future"])
def test_a_block_without_a_counterpart_is_unsupported(kind: str) -> None:
    block = {"type": kind, "thinking": "t"}

    error = error_of(("user", [block]))
    inside = error_of(("user", "a"), ("assistant", [tool_use()]), ("user", [result(content=[text("a"), block])]))

    assert error.message == f"messages[0].content[0]: content block type '{kind}' is not supported by this model"
    assert error.param == "messages[0].content[0]"
    assert inside.param == "messages[2].content[0].content[1]"


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ([7], "messages[0].content[0]"),
        ([{}], "messages[0].content[0].type"),
        ([{"type": 7}], "messages[0].content[0].type"),
        ([{"type": "text"}], "messages[0].content[0].text"),
        ([text("a"), {"type": "image"}], "messages[0].content[1].source"),
        ([image(data="QQ==")], "messages[0].content[0].source.type"),
        ([image(type="base64", data="QQ==")], "messages[0].content[0].source.media_type"),
        ([image(type="base64", media_type="image/png")], "messages[0].content[0].source.data"),
        ([image(type="url")], "messages[0].content[0].source.url"),
        ([document({"type": "text"})], "messages[0].content[0].source.data"),
        ([document({"type": "content"})], "messages[0].content[0].source.content"),
        ([document({"type": "content", "content": [7]})], "messages[0].content[0].source.content[0]"),
        ([{"type": "search_result", "title": "T", "source": "S"}], "messages[0].content[0].content"),
        (
            [{"type": "search_result", "title": "T", "source": "S", "content": [{"type": "x"}]}],
            "messages[0].content[0].content[0].type",
        ),
        ([{"type": "search_result", "source": "S", "content": []}], "messages[0].content[0].title"),
        ([{"type": "search_result", "title": "S", "content": []}], "messages[0].content[0].source"),
        ([{"type": "tool_reference"}], "messages[0].content[0].tool_name"),
        ([{"type": "tool_result"}], "messages[0].content[0].tool_use_id"),
        ([result(content=7)], "messages[0].content[0].content"),
        ([result(content=[text("a"), 7])], "messages[0].content[0].content[1]"),
        ([{"type": "thinking"}], "messages[0].content[0].thinking"),
        ([tool_use(id=7)], "messages[0].content[0].id"),  # type: ignore[arg-type]
        ([tool_use(name=None)], "messages[0].content[0].name"),
        ([tool_use(input="{}")], "messages[0].content[0].input"),
        (7, "messages[0].content"),
    ],
)
def test_an_invalid_block_is_rejected_with_its_path(content: Any, param: str) -> None:
    error = error_of(("user", content))

    assert error.message == f"{param}: missing or of the wrong type"
    assert error.param == param


def test_an_unknown_role_is_rejected() -> None:
    error = error_of(("user", "a"), ("tool", "b"))

    assert (error.message, error.param) == (
        "messages[1].role: must be user, assistant or system",
        "messages[1].role",
    )


def tool_messages(*results: Any) -> Any:
    """Return the messages after the tool calls that these results are for."""
    tool_calls = [tool_use(item["tool_use_id"]) for item in results if item["type"] == "tool_result"]
    return to_messages(("user", "a"), ("assistant", tool_calls), ("user", list(results)), profile={"files": True})[2:]


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        pytest.param({}, "", id="missing"),
        pytest.param({"content": None}, "", id="null"),
        pytest.param({"content": ""}, "", id="empty"),
        pytest.param({"content": "a"}, "a", id="text"),
        pytest.param({"content": [text("a"), text(""), text("b")]}, "a\nb", id="texts"),
        pytest.param(
            {"content": [document({"type": "text", "data": "d"}), {"type": "tool_reference", "tool_name": "x"}]},
            "d\nTool available: x",
            id="rendered",
        ),
        pytest.param({"is_error": True}, "Error: (no output)", id="an error without output"),
        pytest.param({"is_error": True, "content": "disk full"}, "Error: disk full", id="an error"),
        pytest.param({"is_error": True, "content": "ERROR: nope"}, "ERROR: nope", id="an error that says so"),
        pytest.param({"is_error": False, "content": "a"}, "a", id="no error"),
    ],
)
def test_a_tool_result_is_a_text(fields: Any, content: str) -> None:
    assert tool_messages(result(**fields)) == [{"role": "tool", "tool_call_id": "t1", "content": content}]


def test_tool_messages_precede_what_they_cannot_contain() -> None:
    messages = tool_messages(
        text("before"),
        result("t2", content=[image(), text("two"), document(PDF)]),
        result("t1", content=[image()], is_error=True),
        text("after"),
    )

    file = {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,UERG"}}
    assert messages == [
        {"role": "tool", "tool_call_id": "t2", "content": "two"},
        {"role": "tool", "tool_call_id": "t1", "content": "Error: (image attached below)"},
        {
            "role": "user",
            "content": [
                text("before"),
                text("Output of tool call t2:"),
                IMAGE_PART,
                file,
                text("Output of tool call t1:"),
                IMAGE_PART,
                text("after"),
            ],
        },
    ]


def test_results_may_come_in_two_messages_of_one_turn() -> None:
    messages = to_messages(
        ("user", "a"),
        ("assistant", [tool_use("t1")]),
        ("assistant", [tool_use("t2")]),
        ("user", [result("t1")]),
        ("system", "s"),
        ("user", [result("t2")]),
    )

    assert [message.get("tool_call_id", message["content"]) for message in messages] == [
        "a",
        None,
        "t1",
        "t2",
        "<system>\ns\n</system>",
    ]


@pytest.mark.parametrize(
    ("turns", "named", "param"),
    [
        pytest.param([("user", [result("x9")])], "x9", "messages[0].content[0].tool_use_id", id="no call"),
        pytest.param(
            [("user", "a"), ("assistant", [tool_use()]), ("user", [result(), result("x9")])],
            "x9",
            "messages[2].content[1].tool_use_id",
            id="no such call",
        ),
        pytest.param(
            [("user", "a"), ("assistant", [tool_use("x9")]), ("user", [result("x9"), result("x9")])],
            "x9",
            "messages[2].content[1].tool_use_id",
            id="two results for a call",
        ),
        pytest.param(
            [("user", "a"), ("assistant", [tool_use(), tool_use("x9")]), ("user", [result()])],
            "x9",
            "messages[1].content[1]",
            id="no result",
        ),
        pytest.param(
            [
                ("user", "a"),
                ("assistant", [tool_use("x9")]),
                ("user", "b"),
                ("assistant", "c"),
                ("user", [result("x9")]),
            ],
            "x9",
            "messages[1].content[0]",
            id="a late result",
        ),
        pytest.param(
            [("user", "a"), ("assistant", [tool_use("x9"), tool_use("x9")]), ("user", [result("x9")])],
            "x9",
            "messages[1].content[1].id",
            id="two calls of one id",
        ),
    ],
)
def test_tool_calls_and_results_that_do_not_match_are_rejected(turns: list[Any], named: str, param: str) -> None:
    error = error_of(*turns)

    assert named in error.message
    assert error.param == param


def test_a_system_message_between_a_tool_call_and_its_result_is_rejected() -> None:
    turns = [("user", "a"), ("assistant", [tool_use()]), ("system", "s"), ("user", [result()])]

    assert "t1" in error_of(*turns, profile={"mid_system": "keep"}).message
    assert to_messages(*turns)[2]["tool_call_id"] == "t1"


def test_an_id_may_come_again_in_a_later_turn() -> None:
    exchange = [("assistant", [tool_use("call_0")]), ("user", [result("call_0")])]

    assert len(to_messages(("user", "a"), *exchange, *exchange)) == 5


def test_a_forwarded_last_tool_call_needs_its_result() -> None:
    assert "t1" in error_of(("user", "a"), ("assistant", [tool_use()]), profile={"prefill": "forward"}).message


def assistant_message(*blocks: Any, **profile: object) -> Any:
    results = [result(block["id"]) for block in blocks if block["type"] == "tool_use"]
    return to_messages(("user", "a"), ("assistant", list(blocks)), ("user", [*results, text("b")]), profile=profile)[1]


CALL = {"id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"q":"né","z":1,"a":2}'}}
WITH_INPUT = tool_use(input={"q": "né", "z": 1, "a": 2})
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "S"}


@pytest.mark.parametrize(
    ("blocks", "profile", "expected"),
    [
        pytest.param([text("one, "), text("two")], {}, {"content": "one, two"}, id="texts"),
        pytest.param([WITH_INPUT], {}, {"content": None, "tool_calls": [CALL]}, id="a call"),
        pytest.param([text("a"), WITH_INPUT], {}, {"content": "a", "tool_calls": [CALL]}, id="text and a call"),
        pytest.param([THOUGHT, text("a")], {}, {"content": "a"}, id="thinking that is not wanted"),
        pytest.param(
            [THOUGHT, THOUGHT, text("a")],
            {"reasoning_history": "reasoning"},
            {"content": "a", "reasoning": "hmhm"},
            id="thinking that is wanted",
        ),
        pytest.param(
            [THOUGHT],
            {"reasoning_history": "reasoning_content"},
            {"content": "", "reasoning_content": "hm"},
            id="alone",
        ),
        pytest.param(
            [WITH_INPUT],
            {"reasoning_history": "reasoning_content", "reasoning_required": True},
            {"content": None, "reasoning_content": "", "tool_calls": [CALL]},
            id="required with calls",
        ),
        pytest.param(
            [text("a")],
            {"reasoning_history": "reasoning_content", "reasoning_required": True},
            {"content": "a"},
            id="required with calls only",
        ),
        pytest.param(
            [WITH_INPUT], {"reasoning_history": "reasoning"}, {"content": None, "tool_calls": [CALL]}, id="not required"
        ),
        pytest.param(
            [WITH_INPUT], {"reasoning_required": True}, {"content": None, "tool_calls": [CALL]}, id="required, no field"
        ),
        pytest.param(
            [
                {"type": "redacted_thinking", "data": "x"},
                {"type": "server_tool_use", "id": "s", "name": "n", "input": {}},
                {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                {"type": "mcp_tool_use", "id": "m"},
                {"type": "mcp_tool_result"},
                {"type": "compaction"},
                {"type": "fallback"},
                {"type": "advisor"},
                text("found"),
            ],
            {},
            {"content": "found"},
            id="what only Anthropic can use",
        ),
    ],
)
def test_an_assistant_turn_keeps_its_text_and_tool_calls(blocks: list[Any], profile: Any, expected: Any) -> None:
    assert assistant_message(*blocks, **profile) == {"role": "assistant", **expected}


@pytest.mark.parametrize("block", [image(), document({"type": "text", "data": "d"}), result(), {"type": "future"}])
def test_an_assistant_turn_with_an_unsupported_block_is_rejected(block: Any) -> None:
    error = error_of(("user", "a"), ("assistant", [text("b"), tool_use(), block]), ("user", [result()]))

    assert block["type"] in error.message


@pytest.mark.parametrize("content", ["", [], [text("")], [THOUGHT], [{"type": "redacted_thinking", "data": "x"}]])
def test_an_empty_assistant_turn_is_skipped(content: Any) -> None:
    between = to_messages(("user", "a"), ("assistant", content), ("user", "b"))
    last = to_messages(("user", "a"), ("assistant", content))

    assert [message["content"] for message in between] == ["a\n\nb"]
    assert [message["content"] for message in last] == ["a"]


def test_a_last_assistant_turn_is_rejected_or_forwarded() -> None:
    turns = [("user", "a"), ("assistant", "The answer is")]

    error = error_of(*turns)

    assert error.message == (
        "This model does not support assistant message prefill. The conversation must end with a user message."
    )
    assert error.param == "messages"
    assert to_messages(*turns, profile={"prefill": "forward"})[-1] == {"role": "assistant", "content": "The answer is"}


def test_a_request_is_not_changed() -> None:
    content = [text("a"), {"type": "text", "text": "b"}]
    turns = [("user", content), ("user", "c")]

    first, second = to_messages(*turns), to_messages(*turns)

    assert first == second == [{"role": "user", "content": "a\n\nb\n\nc"}]
    assert content == [text("a"), text("b")]
    assert REQUEST["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("is_returned", [True, False])
def test_fields_of_the_provider_come_back_with_their_tool_call(is_returned: bool) -> None:
    tool_id = "c1__thought__c2ln"

    called, output = to_messages(
        ("user", "a"),
        ("assistant", [tool_use(tool_id)]),
        ("user", [result(tool_id, content="ok")]),
        profile={"tool_extras": is_returned},
    )[1:]

    extra = called["tool_calls"][0].pop("extra_content", None)
    assert extra == ({"google": {"thought_signature": "c2ln"}} if is_returned else None)
    assert called["tool_calls"][0]["id"] == output["tool_call_id"] == "c1"


@pytest.mark.parametrize("content", ["", [], [text("")]])
def test_a_conversation_needs_something_to_respond_to(content: Any) -> None:
    message = "messages: the last message of the user must not be empty"

    assert error_of(("user", content)).message == message
    assert error_of(("user", "a"), ("assistant", "b"), ("user", content)).message == message
    assert error_of(("user", content), system="s").param == "messages"


def test_an_empty_user_turn_joins_the_turns_around_it() -> None:
    turns = [
        ("user", "a"),
        ("assistant", "b"),
        ("user", ""),
        ("assistant", [text("c"), tool_use()]),
        ("user", [result()]),
    ]

    assert to_messages(*turns)[1] == {
        "role": "assistant",
        "content": "bc",
        "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
    }


def test_parts_of_joined_turns_are_kept() -> None:
    messages = to_messages(("user", [image(), text("a")]), ("assistant", ""), ("user", "b"))

    assert [part["type"] for part in messages[0]["content"]] == ["image_url", "text", "text"]


@pytest.mark.parametrize("kind", ["tool_addition", "tool_removal"])
def test_changes_of_the_visible_tools_are_left_out(kind: str) -> None:
    change = {"type": kind, "tool": {"type": "tool_reference", "name": "add"}}

    messages = to_messages(
        ("user", [text("a"), change]), ("assistant", "b"), ("user", "c"), ("system", [text("s"), change])
    )

    assert [message["content"] for message in messages] == ["a", "b", "c\n\n<system>\ns\n</system>"]


@pytest.mark.parametrize(
    ("id_format", "tool_id", "sent"),
    [
        ("any", "functions.Bash:0", "functions.Bash:0"),
        ("40_characters", "a" * 40, "a" * 40),
        ("40_characters", "a" * 41, "call_"),
        ("9_alphanumeric", "abcDEF123", "abcDEF123"),
        ("9_alphanumeric", "toolu_1", None),
    ],
)
def test_an_id_is_replaced_where_the_upstream_does_not_accept_it(
    id_format: str, tool_id: str, sent: str | None
) -> None:
    _, called, output = to_messages(
        ("user", "a"),
        ("assistant", [tool_use(tool_id)]),
        ("user", [result(tool_id, content="ok")]),
        profile={"tool_id_format": id_format},
    )

    found = called["tool_calls"][0]["id"]
    assert found == output["tool_call_id"]
    if sent is None:
        assert re.fullmatch("[a-zA-Z0-9]{9}", found)
    elif sent.startswith("call_"):
        assert re.fullmatch("call_[0-9a-f]{32}", found)
    else:
        assert found == sent


def test_text_after_a_result_is_a_part_of_it_where_no_user_message_may_follow() -> None:
    turns = [("user", "a"), ("assistant", [tool_use()])]
    profile = {"text_after_tool_result": "tool", "text_parts": True}

    texts = to_messages(*turns, ("user", [result(content="ok"), text("b"), text("c")]), profile=profile)
    pictures = to_messages(*turns, ("user", [result(content="ok"), image()]), profile=profile)

    assert texts[2:] == [{"role": "tool", "tool_call_id": "t1", "content": "ok\n\nb\n\nc"}]
    assert [message["role"] for message in pictures[2:]] == ["tool", "assistant", "user"]


def test_cache_breakpoints_are_passed_on_where_the_upstream_accepts_them() -> None:
    cached: Any = {"cache_control": {"type": "ephemeral"}}
    turns = [
        ("user", [text("a", **cached)]),
        ("assistant", [text("b", **cached), tool_use()]),
        ("user", [result(content="ok", **cached)]),
    ]

    system, *messages = to_messages(
        *turns, system=[text("s"), text("t", **cached)], profile={"cache_control": True}, cache_control=cached
    )
    without = to_messages(*turns, system=[text("s"), text("t", **cached)])

    assert system["content"] == [{"type": "text", "text": "s"}, {"type": "text", "text": "t", **cached}]
    assert [message["content"][0]["cache_control"] for message in messages] == [{"type": "ephemeral"}] * 3
    assert "cache_control" not in str(without)
