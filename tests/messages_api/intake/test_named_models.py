"""Where a request names models beside its own `model`."""

from typing import Any

import pytest

from messages_api.intake.named_models import named_models


def found(**fields: Any) -> list[tuple[str, str | None]]:
    request = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return [(path, name) for path, name in named_models(request)]


def said(*blocks: Any, **message: Any) -> list[Any]:
    return [{"role": "user", "content": list(blocks), **message}]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"fallbacks": [{"model": "a"}, {"model": "b"}]}, [("fallbacks[0].model", "a"), ("fallbacks[1].model", "b")]),
        ({"fallbacks": "default"}, [("fallbacks", None)]),
        ({"fallbacks": [{"model": 7}]}, [("fallbacks[0].model", None)]),
        ({"fallbacks": "a"}, [("fallbacks", None)]),
        ({"fallbacks": ["a", {"model": "b"}]}, [("fallbacks[1].model", "b"), ("fallbacks[0]", "a")]),
        ({"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "a"}]}, [("tools[0].model", "a")]),
        ({"tools": [{"name": "t", "model": "a"}]}, [("tools[0].model", "a")]),
        (
            {"messages": said({"type": "tool_addition", "tool": {"definition": {"type": "advisor_1", "model": "a"}}})},
            [("messages[0].content[0].tool.definition.model", "a")],
        ),
    ],
)
def test_documented_places(fields: dict[str, Any], expected: list[Any]) -> None:
    assert found(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"Model": "a"}, "Model"),
        ({"models": ["a"]}, "models"),
        ({"fallback_models": ["a"]}, "fallback_models"),
        ({"routing": {"modelId": "a"}}, "routing.modelId"),
        ({"routing": {"model": "a"}}, "routing.model"),
        ({"routing": [[{"deep": {"MODEL": "a"}}]]}, "routing[0][0].deep.MODEL"),
        ({"output_config": {"model": "a"}}, "output_config.model"),
        ({"fallbacks": {"model": "a"}}, "fallbacks.model"),
        ({"fallbacks": [{"thinking": {"model": "a"}}]}, "fallbacks[0].thinking.model"),
        ({"tools": {"model": "a"}}, "tools.model"),
        ({"tools": [{"name": "t", "options": {"model": "a"}}]}, "tools[0].options.model"),
        ({"system": [{"type": "text", "text": "a", "model": "a"}]}, "system[0].model"),
        ({"messages": said(model="a")}, "messages[0].model"),
        ({"messages": said({"type": "text", "text": "a", "model": "a"})}, "messages[0].content[0].model"),
        ({"messages": said({"type": "novel", "agent": {"model": "a"}})}, "messages[0].content[0].agent.model"),
        ({"messages": said({"type": "tool_addition", "tool": {"model": "a"}})}, "messages[0].content[0].tool.model"),
        ({"x" * 50: {"model": "a"}}, "[...].model"),
    ],
)
def test_undocumented_fields(fields: dict[str, Any], path: str) -> None:
    assert found(**fields) == [(path, None)]


@pytest.mark.parametrize(
    "fields",
    [
        {"system": "model: a"},
        {"fallbacks": None, "tools": [], "metadata": {"user_id": "model"}},
        {"tools": [{"name": "t", "input_schema": {"properties": {"model": {"enum": ["a"]}}}}]},
        {"tools": [{"name": "t", "input_schema": {}, "input_examples": [{"model": "a"}]}]},
        {"output_config": {"format": {"type": "json_schema", "schema": {"properties": {"model": {}}}}}},
        {"messages": said({"type": "tool_use", "id": "t", "name": "t", "input": {"model": "a"}})},
        {"messages": said({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "novel", "model": "a"}]})},
        {"messages": said({"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}})},
        {"messages": said(7, None, {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "t"}})},
        {"novel": {"model": None}},
    ],
)
def test_content_is_not_searched(fields: dict[str, Any]) -> None:
    assert found(**fields) == []
