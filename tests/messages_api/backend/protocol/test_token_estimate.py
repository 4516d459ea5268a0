from typing import Any

import pytest

from messages_api.backend.protocol.token_estimate import estimate, estimated_output, measure, output_limit
from tests.messages_api.backend.protocol.translated import PDF, document, image, result, text, tool_use

A_MESSAGE = 4
WORDS = "word " * 1_000


def count(content: Any, **fields: object) -> int:
    """Return the tokens of a request with one message, without the constant for the message itself."""
    request: Any = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": content}], **fields}
    return estimate(request) - A_MESSAGE


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        pytest.param("", 0, id="nothing"),
        pytest.param("a", 1, id="a character"),
        pytest.param("abcd", 1, id="four characters"),
        pytest.param("abcde", 2, id="five characters"),
        pytest.param([text("abcd"), text("abcd")], 2, id="blocks"),
        pytest.param([image()], 1600, id="an image"),
        pytest.param([document(PDF), document({"type": "url", "url": "u"})], 6000, id="binary documents"),
        pytest.param([document({"type": "text", "data": "abc"}, title="T" * 3)], 2, id="a document, rendered"),
        pytest.param(
            [{"type": "search_result", "title": "a", "source": "b", "content": [text("c"), text("d")]}],
            2,
            id="a search result, rendered",
        ),
        pytest.param([{"type": "thinking", "thinking": "abcd", "signature": ""}], 1, id="thinking"),
        pytest.param([{"type": "thinking", "thinking": "", "signature": "S" * 99}], 25, id="hidden thinking"),
        pytest.param([tool_use(name="ab", input={"é": [1, 2]})], 4, id="a call"),
        pytest.param([{"type": "server_tool_use", "id": "s", "name": "ab", "input": {}}], 1, id="a server's call"),
        pytest.param([result(content="abcd")], 1, id="a result"),
        pytest.param([result(content=[text("abcd"), image()])], 1601, id="a result with an image"),
        pytest.param([result()], 0, id="an empty result"),
        pytest.param([{"type": "redacted_thinking", "data": "x" * 99}], 25, id="redacted thinking"),
        pytest.param([{"type": "text"}, 7], 4, id="wrong shapes, as JSON"),
    ],
)
def test_content_is_counted_as_it_is_sent(content: Any, tokens: int) -> None:
    assert count(content) == tokens


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"system": "abcd"}, 1),
        ({"system": [text("abcd"), text("abcd")]}, 2),
        ({"system": 7}, 0),
        ({"tools": [{"name": "ab", "description": "cd", "input_schema": {"a": 1}}]}, 3),
        ({"tools": [{"type": "web_search_20250305", "name": "abcd"}, {}, 7]}, 1),
        ({"tools": 7}, 0),
    ],
)
def test_system_and_tools_are_counted(fields: Any, tokens: int) -> None:
    assert count("", **fields) == tokens


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([{"type": "novel", "words": [WORDS]}], id="a block of an unknown type"),
        pytest.param([{"type": WORDS}], id="the type of a block"),
        pytest.param([text("a") | {"novel": WORDS}], id="a field of a block"),
        pytest.param([text("a") | {"citations": [{"cited_text": WORDS}]}], id="citations"),
        pytest.param([text("a") | {"cache_control": {"type": WORDS}}], id="a setting of a block"),
        pytest.param([tool_use(id=WORDS)], id="the ID of a call"),
        pytest.param([result(id=WORDS)], id="a field of a result"),
        pytest.param([result(content=[text("a") | {"novel": WORDS}])], id="a block of a result"),
        pytest.param([{"type": "mcp_tool_result", "tool_use_id": "t", "content": [text(WORDS)]}], id="an MCP result"),
        pytest.param([image() | {"novel": WORDS}], id="a field of an image"),
        pytest.param([{"type": "image", "source": {"type": "url", "url": WORDS}}], id="a URL"),
        pytest.param([document({"type": "base64", "media_type": "text/plain", "data": WORDS})], id="an encoded text"),
        pytest.param([document({"type": "text", "data": "a", "novel": WORDS})], id="a field of a source"),
        pytest.param([document({"type": "content", "content": [text("a") | {"novel": WORDS}]})], id="a nested block"),
        pytest.param([document(PDF, title=WORDS)], id="the title of a file"),
        pytest.param(
            [{"type": "search_result", "title": "a", "source": "b", "content": [text("c") | {"novel": WORDS}]}],
            id="a block of a search result",
        ),
    ],
)
def test_every_string_of_the_content_counts(content: Any) -> None:
    assert count(content) >= len(WORDS) // 4


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"output_config": {"format": {"type": "json_schema", "schema": {"title": WORDS}}}}, id="schema"),
        pytest.param({"output_format": {"type": "json_schema", "schema": {"title": WORDS}}}, id="older schema"),
        pytest.param({"tools": [{"name": "a", "input_examples": [{"a": WORDS}]}]}, id="examples of a tool"),
        pytest.param({"tools": [{"type": WORDS}]}, id="type of a tool"),
        pytest.param({"tools": WORDS}, id="tools that are none"),
        pytest.param({"tools": [WORDS]}, id="a tool that is none"),
        pytest.param({"system": [text("a") | {"novel": WORDS}]}, id="a field of the system prompt"),
        pytest.param({"system": {"novel": WORDS}}, id="a system prompt that is none"),
        pytest.param({"metadata": {"user_id": WORDS}}, id="metadata"),
        pytest.param({"stop_sequences": [WORDS]}, id="stop sequences"),
        pytest.param({"compaction": {"type": "summarize", "instructions": WORDS}}, id="instructions"),
        pytest.param({"mcp_servers": [{"name": WORDS}]}, id="MCP servers"),
        pytest.param({"novel": {"deep": [{"er": WORDS}]}}, id="an unknown field"),
    ],
)
def test_every_string_of_the_other_fields_counts(fields: Any) -> None:
    assert count("", **fields) >= len(WORDS) // 4


def test_every_string_of_a_message_counts() -> None:
    request: Any = {"model": "m", "messages": [{"role": "user", "content": "", "novel": [WORDS]}]}

    assert estimate(request) >= len(WORDS) // 4


def test_settings_and_base64_of_files_do_not_count() -> None:
    settings: Any = {"metadata": {"user_id": "u" * 100}, "thinking": {"type": "adaptive"}, "temperature": 0.5}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "A" * 4_000}

    assert count([document(pdf)], **settings) == 3000


@pytest.mark.parametrize(
    ("content", "fields", "expected"),
    [
        pytest.param([text("a") | {"cache_control": {"type": "ephemeral"}}], {}, "5m", id="a block"),
        pytest.param([result(content=[text("a") | {"cache_control": {}}])], {}, "5m", id="a nested block"),
        pytest.param([{"type": "novel", "x": [{"cache_control": {"type": "ephemeral"}}]}], {}, "5m", id="unknown"),
        pytest.param("", {"cache_control": {"type": "ephemeral"}}, "5m", id="the request"),
        pytest.param("", {"system": [text("a") | {"cache_control": {"type": "ephemeral"}}]}, "5m", id="system"),
        pytest.param("", {"tools": [{"name": "a", "cache_control": {"type": "ephemeral"}}]}, "5m", id="a tool"),
        pytest.param([text("a") | {"cache_control": {"type": "ephemeral", "ttl": "1h"}}], {}, "1h", id="for an hour"),
        pytest.param([{"type": "novel", "x": [{"cache_control": {"ttl": "1h"}}]}], {}, "1h", id="unknown, for an hour"),
        pytest.param([text("a") | {"cache_control": None}], {}, "", id="null"),
        pytest.param('"cache_control":', {"system": '"cache_control":'}, "", id="text"),
        pytest.param([tool_use(input={"a": '"cache_control":'})], {}, "", id="text of a call"),
    ],
)
def test_cache_writes_are_found_in_the_parsed_request(content: Any, fields: Any, expected: bool) -> None:
    request: Any = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": content}], **fields}

    assert measure(request).cache_ttl == expected


@pytest.mark.parametrize(
    ("fallbacks", "expected"),
    [(None, 9), ("default", 9), ([{"model": "a", "max_tokens": 50}, {"model": "b"}, 7], 50), ([{"max_tokens": 3}], 9)],
)
def test_a_fallback_may_have_a_higher_output_limit(fallbacks: Any, expected: int) -> None:
    request: Any = {"model": "m", "max_tokens": 9, "messages": [], "fallbacks": fallbacks}

    assert output_limit(request) == expected
    assert estimated_output(10_000, request) == expected


def test_each_message_costs_a_little() -> None:
    request: Any = {"model": "m", "messages": [{"role": "user", "content": ""}] * 3}

    assert estimate(request) == 3 * A_MESSAGE
