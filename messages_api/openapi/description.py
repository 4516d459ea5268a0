"""The OpenAPI document: drf-spectacular finds the endpoints, the tables of this package describe them."""

import json
from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema

from messages_api.openapi import bodies, responses, self_service
from messages_api.openapi.headers import HEADERS
from messages_api.openapi.operations import OPERATIONS, SECURITY_SCHEMES, TAGS


class TableSchema(AutoSchema):
    """Describe an endpoint with its entry in `OPERATIONS`. Raise KeyError for an endpoint without one."""

    def get_operation(self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any) -> dict[str, Any]:
        return OPERATIONS[path, method]


def without_slash(endpoints: list[tuple[Any, ...]], **_: Any) -> list[tuple[Any, ...]]:
    """Remove the optional trailing slash from each path."""
    return [(path.rstrip("/"), *rest) for path, *rest in endpoints]


def with_components(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the components that the operations refer to."""
    return result | {
        "tags": TAGS,
        "components": {
            "schemas": responses.SCHEMAS | self_service.SCHEMAS | bodies.schemas(),
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


@cache
def document() -> bytes:
    """Return the document as JSON. It is the same for all clients, so each process generates it once."""
    return json.dumps(SchemaGenerator().get_schema(request=None, public=True)).encode()
