"""Model list of an API key, in the form of Anthropic's models API."""

from collections.abc import Collection
from typing import Any

from django.http import QueryDict

from messages_api.backend.protocol import model_list
from messages_api.backend.protocol.model_list import ListedModel
from messages_api.backend.protocol.unsupported import UnsupportedRequest
from messages_api.errors import RequestError

MAX_DIGITS = 9


def _lifecycles(query: QueryDict) -> Collection[str]:
    """Return the stages of `lifecycle`, which may be repeated. Raise RequestError for an unknown one."""
    stages = [*query.getlist("lifecycle[]"), *query.getlist("lifecycle")] or model_list.LISTED_LIFECYCLES
    if not set(stages) <= set(model_list.LIFECYCLES):
        raise RequestError(f"lifecycle: expected {', '.join(model_list.LIFECYCLES)}.", param="lifecycle")
    return stages


def page(models: list[ListedModel], query: QueryDict) -> dict[str, Any]:
    """Return the page of `limit`, `after_id`, `before_id` and `lifecycle`. Raise RequestError for an invalid value."""
    limit = query.get("limit", str(model_list.DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= MAX_DIGITS):
        raise RequestError("limit: expected a number.", param="limit")
    try:
        return model_list.page(
            models,
            limit=int(limit),
            after_id=query.get("after_id"),
            before_id=query.get("before_id"),
            lifecycles=_lifecycles(query),
        )
    except UnsupportedRequest as error:
        raise RequestError(error.message, param=error.param) from error


def one(model: ListedModel | None) -> dict[str, Any]:
    """Return one model. Raise RequestError 404 if there is none."""
    if model is None:
        raise RequestError("Model not found.", status=404, type="not_found_error")
    return model_list.model(model)
