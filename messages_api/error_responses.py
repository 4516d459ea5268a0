"""Where an error ends: logged if it is ours, said in the dialect of the lane. Never HTML, never a traceback."""

import logging
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.views import defaults
from rest_framework.exceptions import MethodNotAllowed

from messages_api import apis as lanes
from messages_api.backend.upstream_error import Aborted

API_PREFIX = "/api/"
CALLER_LEFT = 499  # for the log of a server in front: nobody else is there to read it
logger = logging.getLogger(__name__)


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse:
    """What a view raised, as an answer. Whoever raises with a status and a type has chosen words that may be shown."""
    http_request: HttpRequest = context["request"]._request
    if isinstance(error, MethodNotAllowed):
        methods = " and ".join(context["view"].allowed_methods)
        return failure(http_request, 405, "invalid_request_error", f"This address takes {methods} only.")
    if isinstance(error, Aborted):
        return HttpResponse(status=CALLER_LEFT)
    if not hasattr(error, "status"):
        logger.error("%s failed in our own code", _request_id(http_request), exc_info=error)
        return failure(http_request, 500, "api_error", "The gateway failed. Its log has the details.")
    return failure(
        http_request,
        error.status,
        error.type,  # type: ignore[attr-defined]
        error.message,  # type: ignore[attr-defined]
        param=error.param,  # type: ignore[attr-defined]
        headers=error.headers,  # type: ignore[attr-defined]
    )


def failure(
    http_request: HttpRequest,
    status: int,
    type: str,
    message: str,
    *,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> HttpResponse:
    """An error in the dialect of the lane that the path belongs to."""
    api_format = lanes.for_path(http_request.path_info)
    body = api_format.failure(
        status=status, type=type, message=message, param=param, request_id=_request_id(http_request)
    )
    response = HttpResponse(msgspec.json.encode(body), status=status, content_type="application/json", headers=headers)
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django's own line would say less than ours
    return response


def _request_id(http_request: HttpRequest) -> str:
    return http_request.request_id  # type: ignore[attr-defined]  # set by the boundary


# ---- what fails outside a view (handler400, handler403, handler404, handler500 of project/urls.py)


def bad_request(http_request: HttpRequest, exception: Exception) -> HttpResponse:
    if http_request.path_info.startswith(API_PREFIX):
        return failure(http_request, 400, "invalid_request_error", "The request is not valid.")
    return defaults.bad_request(http_request, exception)


def not_found(http_request: HttpRequest, exception: Exception) -> HttpResponse:
    if http_request.path_info.startswith(API_PREFIX):
        return failure(http_request, 404, "not_found_error", "There is nothing at this address.")
    return defaults.page_not_found(http_request, exception)


def server_error(http_request: HttpRequest) -> HttpResponse:
    if http_request.path_info.startswith(API_PREFIX):
        return failure(http_request, 500, "api_error", "The gateway failed. Its log has the details.")
    return defaults.server_error(http_request)
