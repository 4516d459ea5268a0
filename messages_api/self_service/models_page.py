"""Model list of an API key, in the form of Anthropic's models API."""

from collections.abc import Mapping
from typing import Any

from messages_api.backend.protocol import model_list
from messages_api.backend.protocol.unsupported import UnsupportedRequest
from messages_api.errors import RequestError

MAX_DIGITS = 9


def page(names: list[str], query: Mapping[str, str]) -> dict[str, Any]:
    """Return the page of `limit`, `after_id` and `before_id`. Raise RequestError for an invalid value."""
    limit = query.get("limit", str(model_list.DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= MAX_DIGITS):
        raise RequestError("limit: expected a number.", param="limit")
    try:
        return model_list.page(
            [{"id": name} for name in names],
            limit=int(limit),
            after_id=query.get("after_id"),
            before_id=query.get("before_id"),
        )
    except UnsupportedRequest as error:
        raise RequestError(error.message, param=error.param) from error


def one(name: str, *, is_known: bool) -> dict[str, Any]:
    """Return one model. Raise RequestError 404 unless it is known."""
    if not is_known:
        raise RequestError("Model not found.", status=404, type="not_found_error")
    return model_list.model({"id": name})
