"""Error responses in the API format of the path, never HTML. Unhandled errors are logged and never shown."""

import logging
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.views import defaults
from rest_framework.exceptions import MethodNotAllowed

from lib import response_headers
from messages_api import apis, endpoints
from messages_api.backend.upstream_error import Aborted

API_PREFIX = "/api/"
CLIENT_CLOSED_REQUEST = 499  # as in nginx, for the access log of a proxy: the client has disconnected
logger = logging.getLogger(__name__)


def is_api_path(path: str) -> bool:
    """Return whether errors of a path have the format of an API: below `/api/`, or where clients expect one."""
    return path.startswith(API_PREFIX) or endpoints.is_misplaced(path)


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse:
    """Return the response to an exception of a view. Exceptions with a `status` have a message for the client."""
    http_request: HttpRequest = getattr(context["request"], "_request", context["request"])  # in a wrapper of DRF's
    if isinstance(error, MethodNotAllowed):
        methods = ", ".join(context["view"].allowed_methods)
        return failure(http_request, 405, "invalid_request_error", f"Method not allowed. Allowed: {methods}.")
    if isinstance(error, Aborted):
        return HttpResponse(status=CLIENT_CLOSED_REQUEST)
    if not hasattr(error, "status"):
        logger.error("%s: unhandled error", _request_id(http_request), exc_info=error)
        return failure(http_request, 500, "api_error", "Internal gateway error.")
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
    """Return an error response in the API format of the path."""
    api_format = apis.for_path(http_request.path_info)
    body = api_format.failure(
        status=status, type=type, message=message, param=param, request_id=_request_id(http_request)
    )
    response = HttpResponse(msgspec.json.encode(body), status=status, content_type="application/json")
    response_headers.update(response, headers or {})
    response._has_been_logged = True  # type: ignore[attr-defined]  # suppress Django's own log line
    return response


def _request_id(http_request: HttpRequest) -> str:
    return http_request.request_id  # type: ignore[attr-defined]  # set by the middleware


# ---- errors outside a view (handler400, handler404 and handler500 of project/urls.py)


def bad_request(http_request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api_path(http_request.path_info):
        return failure(http_request, 400, "invalid_request_error", "The request is not valid.")
    return defaults.bad_request(http_request, exception)


def not_found(http_request: HttpRequest, exception: Exception) -> HttpResponse:
    path = http_request.path_info
    if is_api_path(path):
        return failure(http_request, 404, "not_found_error", f"Not found. {endpoints.sentence(path)}")
    return defaults.page_not_found(http_request, exception)


def server_error(http_request: HttpRequest) -> HttpResponse:
    if is_api_path(http_request.path_info):
        return failure(http_request, 500, "api_error", "Internal gateway error.")
    return defaults.server_error(http_request)
