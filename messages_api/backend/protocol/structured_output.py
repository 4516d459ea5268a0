"""Translation of structured output to OpenAI's `response_format`."""

from messages_api.backend.protocol.profile import Profile
from messages_api.backend.protocol.types import JSONObject, MessagesRequest
from messages_api.backend.protocol.unsupported import UnsupportedRequest

# The keys of a JSON schema that contain schemas: in an object, or as one schema or a list.
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED = (
    "items",
    "prefixItems",
    "contains",
    "additionalProperties",
    "anyOf",
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
)


def format_for(request: MessagesRequest, profile: Profile) -> tuple[JSONObject, list[str]]:
    """Return `response_format` for `output_config.format` or the older `output_format`; no field is dropped.

    Raise UnsupportedRequest if the upstream does not support it: dropping it would change the response's format.
    """
    path, output_format = "output_config.format", (request.get("output_config") or {}).get("format")
    if output_format is None:
        path, output_format = "output_format", request.get("output_format")
    if output_format is None:
        return {}, []
    if not profile.json_schema:
        raise UnsupportedRequest(f"{path}: structured output is not supported by this model", path)
    if (
        not isinstance(output_format, dict)
        or output_format.get("type") != "json_schema"
        or not isinstance(output_format.get("schema"), dict)
    ):
        raise UnsupportedRequest(f"{path}: must be a json_schema with its schema", path)
    schema = output_format["schema"]
    named = {"name": "output", "schema": schema, "strict": _is_strict(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": named}}, []


def _is_strict(schema: object) -> bool:
    """Whether every object in a schema is closed and requires all its keys.

    OpenAI's strict mode rejects other schemas; Anthropic accepts them.
    """
    if not isinstance(schema, dict):
        return True
    return _is_closed(schema) and all(_is_strict(inner) for inner in _inner_schemas(schema))


def _is_closed(schema: JSONObject) -> bool:
    kind, properties = schema.get("type"), _named(schema.get("properties"))
    if kind != "object" and not (isinstance(kind, list) and "object" in kind) and not properties:
        return True
    required = {name for name in _listed(schema.get("required")) if isinstance(name, str)}
    return schema.get("additionalProperties") is False and required.issuperset(properties)


def _inner_schemas(schema: JSONObject) -> list[object]:
    inner = [item for key in _LISTED for item in _listed(schema.get(key))]
    inner += [item for key in _NAMED for item in _named(schema.get(key)).values()]
    return inner


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _named(value: object) -> JSONObject:
    return value if isinstance(value, dict) else {}
