"""Responses below /api/ have their API format and a request ID, and reveal no internals."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from keys.models import APIKey
from messages_api.gateway import request

PATH = "/api/v1/messages"
ANTHROPIC_PATH = "/api/anthropic/v1/messages"
HELLO = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def headers(owner: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {APIKey.objects.issue(name='app', owner=owner)[1]}"}


@pytest.mark.parametrize("host", ["", "evil.example", "localhost/path", "user@localhost", "localhost:port"])
def test_an_unknown_host_is_a_400_in_json(client: Client, host: str) -> None:
    response = client.post(PATH, b"", content_type="application/json", headers={"Host": host})

    assert response.status_code == 400
    assert response.json()["data"]["error"]["type"] == "invalid_request_error"
    assert response.headers["request-id"] == response.json()["data"]["request_id"]


def test_errors_of_the_anthropic_api_have_anthropics_format(client: Client) -> None:
    response = client.post(ANTHROPIC_PATH, b"", content_type="application/json")

    assert response.json() == {
        "type": "error",
        "error": {
            "type": "authentication_error",
            "message": "Send your API key as `Authorization: Bearer <key>` or as `x-api-key: <key>`.",
        },
        "request_id": response.headers["request-id"],
    }


def test_a_request_id_of_the_client_is_not_used(client: Client) -> None:
    response = client.post(PATH, b"", content_type="application/json", headers={"X-Request-ID": "theirs"})

    assert response.headers["request-id"].startswith("req_")


def test_an_unhandled_exception_is_a_500_without_its_text(
    client: Client, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("an internal secret")

    monkeypatch.setattr(request.InFlightRequest, "__init__", fail)

    response = client.post(PATH, HELLO, content_type="application/json", headers=headers)

    assert response.status_code == 500
    assert response.json()["data"]["error"] == {
        "type": "api_error",
        "message": "Internal gateway error.",
        "param": None,
    }
    assert "an internal secret" in caplog.text
    assert response.headers["request-id"] in caplog.text


def test_an_oversized_body_is_a_413_before_it_is_read(client: Client, headers: dict[str, str]) -> None:
    response = client.post(PATH, b"{}", content_type="application/json", headers=headers, CONTENT_LENGTH=str(2**25 + 1))

    assert (response.status_code, response.json()["data"]["error"]["type"]) == (413, "request_too_large")


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "options", "trace"])
def test_other_methods_are_a_405_that_names_post(client: Client, headers: dict[str, str], method: str) -> None:
    response = getattr(client, method)(PATH, headers=headers)

    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert response.json()["data"]["error"]["type"] == "invalid_request_error"


def test_health_needs_no_login_and_reveals_nothing(client: Client, db: None) -> None:
    assert client.get("/livez").content == b"ok"
    assert client.get("/readyz").content == b"ok"
