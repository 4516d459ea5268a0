"""Endpoints of the API: the short way past the middleware of pages, with the same headers."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponseBase
from django.test import Client, RequestFactory, override_settings

from keys.models import APIKey
from project.middleware import security_headers
from project.server.application import Application

SHORT_WAY = "project.middleware.Endpoints"
ENDPOINTS = [
    ("post", "/api/v1/messages"),
    ("post", "/api/v1/messages/"),
    ("get", "/api/v1/key"),
    ("get", "/api/v1/usage"),
    ("post", "/api/anthropic/v1/messages"),
    ("post", "/api/anthropic/v1/messages/count_tokens"),
    ("get", "/api/anthropic/v1/models"),
]
OTHERS = ["/api/anthropic/v1/models/m", "/api/hello", "/api/schema", "/api/docs", "/api/nothing"]


class NotOnTheWay:
    """Middleware that fails."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        pass

    def __call__(self, http_request: HttpRequest) -> HttpResponseBase:
        raise RuntimeError("not on the way")


def middleware_with_failure() -> list[str]:
    position = settings.MIDDLEWARE.index(SHORT_WAY)
    return [*settings.MIDDLEWARE[: position + 1], f"{__name__}.NotOnTheWay"]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_no_middleware_of_pages_is_on_the_way_to_an_endpoint(client: Client, method: str, path: str) -> None:
    with override_settings(MIDDLEWARE=middleware_with_failure()):
        assert getattr(client, method)(path).status_code == 401


@pytest.mark.parametrize("path", OTHERS)
def test_other_paths_pass_through_all_middleware(path: str) -> None:
    with override_settings(MIDDLEWARE=middleware_with_failure()):
        assert Client(raise_request_exception=False).get(path, headers={"Host": "127.0.0.1"}).status_code == 500


@pytest.mark.parametrize("is_secure", [False, True])
@pytest.mark.parametrize("method", ["get", "post", "head", "options", "delete"])
@pytest.mark.parametrize("path", sorted({path for _, path in ENDPOINTS}))
@pytest.mark.parametrize("with_key", [False, True])
def test_the_headers_are_those_of_all_middleware(
    owner: User, method: str, path: str, is_secure: bool, with_key: bool
) -> None:
    raw_key = APIKey.objects.issue(name="app", owner=owner)[1] if with_key else "none"
    all_middleware = [name for name in settings.MIDDLEWARE if name != SHORT_WAY]
    seen = []
    with override_settings(SECURE_HSTS_SECONDS=60, SECURE_HSTS_PRELOAD=True):
        for middleware in (settings.MIDDLEWARE, all_middleware):
            with override_settings(MIDDLEWARE=middleware):
                headers = {"Authorization": f"Bearer {raw_key}", "Host": "127.0.0.1"}
                response = getattr(Client(), method)(path, secure=is_secure, headers=headers)
                seen.append((response.status_code, {**response.headers, "request-id": "", "Content-Length": ""}))

    assert seen[0] == seen[1]
    assert ("Strict-Transport-Security" in seen[0][1]) is is_secure


def test_the_headers_are_those_of_the_settings() -> None:
    assert security_headers(is_secure=False) == {
        "x-frame-options": ("X-Frame-Options", "DENY"),
        "x-content-type-options": ("X-Content-Type-Options", "nosniff"),
        "referrer-policy": ("Referrer-Policy", "same-origin"),
        "cross-origin-opener-policy": ("Cross-Origin-Opener-Policy", "same-origin"),
    }


def respond(path: str) -> tuple[str, dict[str, str], Any]:
    """Return status, headers and body of a response of the WSGI application."""
    began: list[Any] = []
    environ = RequestFactory().post(path, b"{}", content_type="application/json", HTTP_HOST="127.0.0.1").environ
    body = Application()(environ, lambda status, headers: began.extend((status, dict(headers))))
    return began[0], began[1], body


def test_a_complete_response_is_one_piece(db: None) -> None:
    status, headers, body = respond("/api/v1/messages")

    assert status == "401 Unauthorized"
    assert headers["WWW-Authenticate"] == "Bearer"
    assert isinstance(body, list) and len(body) == 1 and body[0].startswith(b'{"success":false,"code":"401"')
