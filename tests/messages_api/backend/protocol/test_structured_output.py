"""Translation of structured output to OpenAI."""

from typing import Any

import pytest

from tests.messages_api.backend.protocol.translated import error_of, to_body


def closed(**properties: Any) -> Any:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


OPEN = {"type": "object"}
OPTIONAL = {**closed(a={}), "required": []}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        pytest.param(closed(a={"type": "string"}), True, id="closed"),
        pytest.param(closed(), True, id="closed and empty"),
        pytest.param({"type": "object", "additionalProperties": False}, True, id="closed without properties"),
        pytest.param(OPTIONAL, False, id="an optional key"),
        pytest.param({**closed(a={}), "required": None}, False, id="nothing required"),
        pytest.param({**closed(a={}), "additionalProperties": True}, False, id="open"),
        pytest.param({**closed(a={}), "additionalProperties": {"type": "string"}}, False, id="open for texts"),
        pytest.param(OPEN, False, id="unsaid"),
        pytest.param({"type": ["object", "null"]}, False, id="an object or null"),
        pytest.param({"properties": {"a": {}}}, False, id="an object by its properties"),
        pytest.param({"type": "string"}, True, id="a text"),
        pytest.param({"type": ["string", "null"]}, True, id="a text or null"),
        pytest.param(closed(properties={"type": "string"}), True, id="a key called properties"),
        pytest.param(closed(a=OPTIONAL), False, id="inside an object"),
        pytest.param({"type": "array", "items": OPTIONAL}, False, id="inside a list"),
        pytest.param({"type": "array", "items": closed(a={})}, True, id="closed inside a list"),
        pytest.param({"type": "array", "prefixItems": [{}, OPEN]}, False, id="inside a tuple"),
        pytest.param({"anyOf": [{"type": "null"}, OPEN]}, False, id="inside anyOf"),
        pytest.param({"$defs": {"x": OPEN}}, False, id="inside definitions"),
        pytest.param({"not": OPEN}, False, id="inside not"),
        pytest.param({"enum": [OPEN], "const": OPEN, "default": OPEN}, True, id="inside a value"),
        pytest.param({"anyOf": None, "$defs": 7, "properties": 7}, True, id="wrong shapes"),
    ],
)
def test_strict_mode_is_for_closed_objects(schema: Any, strict: bool) -> None:
    body, dropped = to_body(output_config={"format": {"type": "json_schema", "schema": schema}})

    assert body == {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": schema, "strict": strict},
        }
    }
    assert dropped == set()


def test_the_new_field_takes_precedence() -> None:
    old, new = ({"type": "json_schema", "schema": {"title": title}} for title in ("old", "new"))

    body, _ = to_body(output_config={"format": new}, output_format=old)

    assert body["response_format"]["json_schema"]["schema"] == {"title": "new"}


@pytest.mark.parametrize("path", ["output_config.format", "output_format"])
@pytest.mark.parametrize(
    ("wanted", "profile"),
    [
        ({"type": "json_schema", "schema": {}}, {"json_schema": False}),
        ({"type": "json_object"}, {}),
        ({"type": "json_object", "schema": {}}, {}),
        ({"type": "json_schema"}, {}),
        ("json", {}),
    ],
)
def test_an_unsupported_format_is_rejected(path: str, wanted: Any, profile: Any) -> None:
    fields: Any = {"output_format": wanted} if path == "output_format" else {"output_config": {"format": wanted}}

    assert error_of(**fields, profile=profile).param == path
