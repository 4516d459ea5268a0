"""Paths that do not exist: the error names the endpoints, also where the base URL of a client is wrong."""

from typing import Any

import pytest
from django.test import Client
from django.urls import resolve

from messages_api.endpoints import ANTHROPIC_ENDPOINTS, ENVELOPE_ENDPOINTS
from messages_api.error_responses import is_api_path

ENVELOPE, ANTHROPIC = ", ".join(ENVELOPE_ENDPOINTS), ", ".join(ANTHROPIC_ENDPOINTS)


@pytest.mark.parametrize("endpoint", [*ENVELOPE_ENDPOINTS, *ANTHROPIC_ENDPOINTS])
def test_each_named_endpoint_exists(endpoint: str) -> None:
    method, _, path = endpoint.partition(" ")

    view: Any = resolve(path).func
    assert method.lower() in view.view_class.http_method_names


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/chat/completions",
        "/api/v1/v1/messages",
        "/api/messages",
        "/v1/messages",
        "/v1/chat/completions",
        "/messages",
        "/models",
    ],
)
def test_the_404_of_another_path_names_the_endpoints(client: Client, path: str) -> None:
    response = client.post(path, b"{}", content_type="application/json")

    message = f"Not found. Endpoints: {ENVELOPE}, {ANTHROPIC}."
    assert response.status_code == 404
    assert response.json() == {
        "success": False,
        "code": "404",
        "message": message,
        "data": {
            "error": {"type": "not_found_error", "message": message, "param": None},
            "request_id": response.headers["request-id"],
        },
    }


@pytest.mark.parametrize("path", ["/api/anthropic/messages", "/api/anthropic/v1/complete", "/anthropic/v1/messages"])
def test_the_404_of_the_anthropic_api_has_its_format_and_its_endpoints_first(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 404
    assert response.json() == {
        "type": "error",
        "error": {"type": "not_found_error", "message": f"Not found. Endpoints: {ANTHROPIC}, {ENVELOPE}."},
        "request_id": response.headers["request-id"],
    }


@pytest.mark.parametrize("path", ["/", "/nowhere", "/admin/nowhere/", "/v1x/messages", "/messages.html"])
def test_errors_of_other_paths_are_pages(path: str) -> None:
    assert not is_api_path(path)
