from typing import Any

import pytest

from messages_api.backend.protocol.token_estimate import estimate
from tests.messages_api.backend.protocol.translated import PDF, document, image, result, text, tool_use

A_MESSAGE = 4


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
        pytest.param([{"type": "thinking", "thinking": "abcd", "signature": "S" * 99}], 1, id="thinking"),
        pytest.param([tool_use(name="ab", input={"é": [1, 2]})], 4, id="a call"),
        pytest.param([{"type": "server_tool_use", "id": "s", "name": "ab", "input": {}}], 1, id="a server's call"),
        pytest.param([result(content="abcd")], 1, id="a result"),
        pytest.param([result(content=[text("abcd"), image()])], 1601, id="a result with an image"),
        pytest.param([result()], 0, id="an empty result"),
        pytest.param([{"type": "redacted_thinking", "data": "x" * 99}], 0, id="redacted thinking"),
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


def test_each_message_costs_a_little() -> None:
    request: Any = {"model": "m", "messages": [{"role": "user", "content": ""}] * 3}

    assert estimate(request) == 3 * A_MESSAGE
