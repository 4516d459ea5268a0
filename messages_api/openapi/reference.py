"""Content of the API reference: endpoints, request fields, errors, limit headers and schemas."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from messages_api.openapi.description import document
from messages_api.openapi.errors import ERRORS
from messages_api.openapi.headers import HEADERS, RATE_LIMIT_HEADERS
from messages_api.openapi.json_schema import Schema

REQUEST = "EnvelopeRequest"
MAX_CHOICES = 4
"""Values of a field that its type names."""
LIMIT_HEADERS = (*RATE_LIMIT_HEADERS, "retry-after", "x-should-retry")


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestField:
    """A field of a request body, or a parameter."""

    name: str
    type: str
    is_required: bool
    description: SafeString


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribedEndpoint:
    """One operation."""

    id: str
    method: str
    path: str
    summary: str
    description: SafeString
    parameters: list[RequestField]
    body: str
    """Name of the schema of its request body; empty: it has none."""
    responses: list[tuple[str, SafeString]]
    """Status and description."""
    example: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """All of the page. It is the same for all readers."""

    groups: list[tuple[str, SafeString, list[DescribedEndpoint]]]
    """Name, description and endpoints of each API."""
    request_fields: list[RequestField]
    errors: list[tuple[int, str, SafeString, str]]
    """Status, type, next step and an example of the message."""
    limits: list[tuple[str, SafeString]]
    """Header and description."""
    schemas: list[tuple[str, SafeString, str]]
    """Name, description and JSON."""


@cache
def reference() -> Reference:
    described = json.loads(document())
    schemas = described["components"]["schemas"]
    endpoints = list(_endpoints(described))
    return Reference(
        groups=[
            (tag["name"], marked(tag["description"]), [each for name, each in endpoints if name == tag["name"]])
            for tag in described["tags"]
        ],
        request_fields=_fields(schemas[REQUEST]),
        errors=[(status, error.type, marked(error.description), error.example) for status, error in ERRORS.items()],
        limits=[(name, marked(HEADERS[name]["description"])) for name in LIMIT_HEADERS],
        schemas=[
            (name, marked(schema.get("description", "")), _pretty(schema)) for name, schema in sorted(schemas.items())
        ],
    )


def _endpoints(described: Mapping[str, Any]) -> Iterator[tuple[str, DescribedEndpoint]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield (
                operation["tags"][0],
                DescribedEndpoint(
                    id=operation["operationId"],
                    method=method.upper(),
                    path=path,
                    summary=operation["summary"],
                    description=marked(operation.get("description", "")),
                    parameters=[_parameter(each) for each in operation.get("parameters", ())],
                    body=_name_of(_content(operation.get("requestBody", {})).get("schema", {})),
                    responses=[
                        (status, marked(each["description"])) for status, each in operation["responses"].items()
                    ],
                    example=_pretty(_content(operation["responses"]["200"]).get("example", {})),
                ),
            )


def _content(part: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = part.get("content", {}).get("application/json", {})
    return found


def _parameter(parameter: Schema) -> RequestField:
    return RequestField(
        name=parameter["name"],
        type=f"{_type(parameter['schema'])}, in the {parameter['in']}",
        is_required=parameter.get("required", False),
        description=marked(parameter.get("description", "")),
    )


def _fields(schema: Schema) -> list[RequestField]:
    """Return the fields of a request body, the required ones first."""
    required = schema["required"]
    names = sorted(schema["properties"], key=lambda name: name not in required)
    fields = [(name, schema["properties"][name]) for name in names]
    return [
        RequestField(
            name=name, type=_type(field), is_required=name in required, description=marked(field.get("description", ""))
        )
        for name, field in fields
    ]


def _type(schema: Schema) -> str:
    """Return the type of a value in a few words."""
    if "$ref" in schema:
        return _name_of(schema)
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        values = [json.dumps(value) for value in schema["enum"] if value is not None]
        return " or ".join(values) if len(values) <= MAX_CHOICES else "string"
    for words in ("anyOf", "oneOf"):
        if words in schema:
            types = dict.fromkeys(_type(each) for each in schema[words] if each.get("type") != "null")
            return " or ".join(types)
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}"
    found = schema.get("type", "any")
    return found if isinstance(found, str) else " or ".join(each for each in found if each != "null")


def marked(text: str) -> SafeString:
    """Return a description, in which backticks mark code, as HTML."""
    parts = text.split("`")
    marks = (format_html("<code>{}</code>" if number % 2 else "{}", part) for number, part in enumerate(parts))
    return format_html_join("", "{}", ((each,) for each in marks))


def _name_of(schema: Schema) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
