"""Building blocks of JSON schemas."""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
OBJECT: Schema = {"type": "object"}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def constant(value: object) -> Schema:
    return {"const": value}


def described(schema: Schema, description: str) -> Schema:
    return {"description": description, **schema}


def open_object(required: dict[str, Schema], /, **optional: Schema) -> Schema:
    """Return an object that may have more fields than those listed."""
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def closed_object(required: dict[str, Schema], /, **optional: Schema) -> Schema:
    """Return an object that has no other fields."""
    return {**open_object(required, **optional), "additionalProperties": False}
