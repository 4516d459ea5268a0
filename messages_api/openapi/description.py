"""The description as a whole: drf-spectacular finds the addresses, our tables say what is there."""

import json
from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema

from messages_api.openapi import bodies, responses, self_service
from messages_api.openapi.operations import HEADERS, OPERATIONS, SECURITY_SCHEMES, TAGS


class TableSchema(AutoSchema):
    """Says of an address what the table says. Raises KeyError for one that is not described."""

    def get_operation(self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any) -> dict[str, Any]:
        return OPERATIONS[path, method]


def without_slash(endpoints: list[tuple[Any, ...]], **_: Any) -> list[tuple[Any, ...]]:
    """Name each address without the slash that it may end with."""
    return [(path.rstrip("/"), *rest) for path, *rest in endpoints]


def with_components(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add what the operations refer to."""
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
    """The description in JSON. It is the same for everybody, so a process makes it once."""
    return json.dumps(SchemaGenerator().get_schema(request=None, public=True)).encode()
