"""Middleware that rejects requests above the capacity of the worker."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from messages_api.error_responses import API_PREFIX, failure

OVER_CAPACITY = "The gateway is at capacity. Retry shortly."


class Capacity:
    """Reject a request with 503 if `project.server.connections` found no capacity for it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        if not getattr(http_request.META.get("gunicorn.socket"), "is_over_capacity", False):
            return self.get_response(http_request)
        headers = {"Retry-After": "1"}
        if http_request.path_info.startswith(API_PREFIX):
            return failure(http_request, 503, "overloaded_error", OVER_CAPACITY, headers=headers)
        response = HttpResponse(OVER_CAPACITY, status=503, content_type="text/plain", headers=headers)
        response._has_been_logged = True  # type: ignore[attr-defined]  # the worker logs how many were rejected
        return response
