"""Every answer below /api/ is in the dialect of its lane, with a request id, and says nothing of our insides."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from keys.models import APIKey
from messages_api.gateway import request

PATH = "/api/v1/messages"
NATIVE = "/api/anthropic/v1/messages"
HELLO = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def headers(owner: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {APIKey.objects.issue(name='app', owner=owner)[1]}"}


@pytest.mark.parametrize("host", ["", "evil.example", "localhost/path", "user@localhost", "localhost:port"])
def test_a_host_that_is_not_ours_is_a_400_in_json(client: Client, host: str) -> None:
    answer = client.post(PATH, b"", content_type="application/json", headers={"Host": host})

    assert answer.status_code == 400
    assert answer.json()["data"]["error"]["type"] == "invalid_request_error"
    assert answer.headers["request-id"] == answer.json()["data"]["request_id"]


def test_the_native_lane_fails_in_anthropics_words(client: Client) -> None:
    answer = client.post(NATIVE, b"", content_type="application/json")

    assert answer.json() == {
        "type": "error",
        "error": {
            "type": "authentication_error",
            "message": "Send your API key as `Authorization: Bearer <key>` or as `x-api-key: <key>`.",
        },
        "request_id": answer.headers["request-id"],
    }


def test_a_request_id_from_outside_is_never_ours(client: Client) -> None:
    answer = client.post(PATH, b"", content_type="application/json", headers={"X-Request-ID": "theirs"})

    assert answer.headers["request-id"].startswith("req_")


def test_an_exception_in_our_own_code_is_a_500_without_its_text(
    client: Client, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret of our insides")

    monkeypatch.setattr(request.InFlightRequest, "__init__", fail)

    answer = client.post(PATH, HELLO, content_type="application/json", headers=headers)

    assert answer.status_code == 500
    assert answer.json()["data"]["error"] == {
        "type": "api_error",
        "message": "Internal gateway error.",
        "param": None,
    }
    assert "a secret of our insides" in caplog.text
    assert answer.headers["request-id"] in caplog.text


def test_an_oversize_body_is_a_413_before_it_is_read(client: Client, headers: dict[str, str]) -> None:
    answer = client.post(PATH, b"{}", content_type="application/json", headers=headers, CONTENT_LENGTH=str(2**25 + 1))

    assert (answer.status_code, answer.json()["data"]["error"]["type"]) == (413, "request_too_large")


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "options", "trace"])
def test_other_methods_are_a_405_that_names_post(client: Client, headers: dict[str, str], method: str) -> None:
    answer = getattr(client, method)(PATH, headers=headers)

    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert answer.json()["data"]["error"]["type"] == "invalid_request_error"


def test_health_is_open_and_tells_nothing(client: Client, db: None) -> None:
    assert client.get("/livez").content == b"ok"
    assert client.get("/readyz").content == b"ok"
