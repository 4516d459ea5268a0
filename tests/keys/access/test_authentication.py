"""Authentication: the snapshot of a usable key, or the same 401 for every other key."""

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from keys.access.authentication import presented_key
from keys.access.snapshot_cache import PendingLookup, cache
from keys.access.snapshots import Snapshot
from keys.domain import raw_key
from keys.models import APIKey, KeySecret

PATH = "/api/v1/messages"
AUTH_CASES = [json.loads(line) for line in (Path(__file__).parent / "credentials.jsonl").read_text().splitlines()]
pytestmark = pytest.mark.django_db


@pytest.fixture
def issued(owner: User) -> tuple[APIKey, str]:
    return APIKey.objects.issue(name="app", owner=owner)


def post(raw: str, **headers: str) -> Any:
    """Send an empty body: 400 shows that the key was accepted."""
    client = Client(HTTP_HOST="testserver", raise_request_exception=False)
    return client.post(
        PATH, b"", content_type="application/json", headers={"Authorization": f"Bearer {raw}", **headers}
    )


def test_a_valid_key_is_accepted_in_either_header_and_any_case(client: Client, issued: tuple[APIKey, str]) -> None:
    _, raw = issued
    for headers in (
        {"Authorization": f"Bearer {raw}"},
        {"authorization": f"bearer {raw}"},
        {"AUTHORIZATION": f"BEARER  {raw}"},
        {"x-api-key": raw},
        {"x-api-key": raw, "Authorization": f"Bearer {raw}"},
    ):
        assert client.post(PATH, b"", content_type="text/plain", headers=headers).status_code == 400


def spoil_unknown(key: APIKey, raw: str) -> str:
    return raw_key.generate()


def spoil_revoked(key: APIKey, raw: str) -> str:
    key.revoke(note="lost")
    return raw


def spoil_disabled(key: APIKey, raw: str) -> str:
    key.disable()
    return raw


def spoil_expired(key: APIKey, raw: str) -> str:
    APIKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    return raw


def spoil_expired_secret(key: APIKey, raw: str) -> str:
    KeySecret.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    return raw


def spoil_owner(key: APIKey, raw: str) -> str:
    User.objects.update(is_active=False)
    return raw


@pytest.mark.parametrize(
    "spoil", [spoil_unknown, spoil_revoked, spoil_disabled, spoil_expired, spoil_expired_secret, spoil_owner]
)
def test_unusable_keys_get_the_same_response(issued: tuple[APIKey, str], spoil: Callable[[APIKey, str], str]) -> None:
    raw = spoil(*issued)
    cache.clear()

    response = post(raw)

    body = response.json()
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert body["data"].pop("request_id") == response.headers["request-id"]
    assert body == {
        "success": False,
        "code": "401",
        "message": "The API key is not valid.",
        "data": {
            "error": {"type": "authentication_error", "message": "The API key is not valid.", "param": None},
        },
    }


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"Authorization": "Basic dXNlcjpwYXNz"}, id="another scheme"),
        pytest.param({"Authorization": "Bearer "}, id="empty"),
        pytest.param({"Authorization": "Bearer ' OR 1=1 --"}, id="sql"),
        pytest.param({"Authorization": "Bearer " + "x" * 7000}, id="long"),
        pytest.param({"x-api-key": "sk-ant-something"}, id="a vendor's key"),
    ],
)
def test_malformed_keys_are_rejected_without_a_query(
    client: Client, headers: dict[str, str], django_assert_num_queries: Callable[[int], Any]
) -> None:
    with django_assert_num_queries(0):
        response = client.post(PATH, b"", content_type="application/json", headers=headers)

    assert response.status_code == 401


def test_two_different_keys_in_one_request_are_rejected(issued: tuple[APIKey, str]) -> None:
    assert post(issued[1], **{"x-api-key": raw_key.generate()}).status_code == 401


def test_a_cached_key_costs_no_query_and_a_revocation_takes_effect_when_its_snapshot_expires(
    issued: tuple[APIKey, str], settings: Any, django_assert_num_queries: Callable[[int], Any]
) -> None:
    settings.CONFIG_CACHE_TTL_S = 60
    key, raw = issued
    # 2 queries: the secret with its key, owner and team; their budgets.
    with django_assert_num_queries(2):
        assert post(raw).status_code == 400
        assert post(raw).status_code == 400

    key.revoke()

    assert post(raw).status_code == 400
    cache.clear()
    assert post(raw).status_code == 401


def test_a_key_that_expires_while_cached_is_rejected_from_then_on(issued: tuple[APIKey, str], settings: Any) -> None:
    settings.CONFIG_CACHE_TTL_S = 60
    APIKey.objects.update(expires_at=timezone.now() + timedelta(seconds=0.2))
    assert post(issued[1]).status_code == 400

    snapshot = cache.find(issued[1])

    assert snapshot is not None
    while timezone.now() < snapshot.expires_at:  # type: ignore[operator]
        pass
    assert post(issued[1]).status_code == 401


def test_every_pepper_verifies_and_the_first_one_signs(issued: tuple[APIKey, str], settings: Any) -> None:
    settings.API_KEY_PEPPERS = ["a new pepper of many different characters", *settings.API_KEY_PEPPERS]

    assert post(issued[1]).status_code == 400
    _, raw = APIKey.objects.issue(name="later", owner=issued[0].owner)
    assert KeySecret.objects.get(hint=raw_key.hint(raw)).pepper_id == raw_key.pepper_id(settings.API_KEY_PEPPERS[0])


def test_a_digest_without_the_pepper_is_not_accepted(issued: tuple[APIKey, str]) -> None:
    import hashlib

    raw = raw_key.generate()
    KeySecret.objects.create(
        api_key=issued[0], digest=hashlib.sha256(raw.encode()).digest(), pepper_id="", hint=raw_key.hint(raw)
    )

    assert post(raw).status_code == 401


def test_a_raw_key_is_stored_nowhere(issued: tuple[APIKey, str]) -> None:
    _, raw = issued
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            assert raw not in str(cursor.fetchall())


def test_an_unavailable_database_is_a_503_and_never_a_401(issued: tuple[APIKey, str], monkeypatch: Any) -> None:
    from django.db import OperationalError
    from django.db.backends.utils import CursorWrapper

    def fail(*_: Any) -> None:
        raise OperationalError("the database is unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(CursorWrapper, "execute", fail)
        response = post(issued[1])

    assert (response.status_code, response.json()["data"]["error"]["type"]) == (503, "overloaded_error")
    assert "Retry-After" in response.headers


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        pytest.param({"AUTHORIZATION": "bEARER  K1 "}, "K1", id="any case"),
        pytest.param({"X-Api-Key": " K2 "}, "K2", id="x-api-key"),
        pytest.param({"authorization": "Bearer K1", "x-api-key": "K1"}, "K1", id="the same key twice"),
        pytest.param({"authorization": "Basic K1", "x-api-key": "K2"}, "K2", id="another scheme beside it"),
        pytest.param({"authorization": "Bearer ", "x-api-key": "K2"}, "K2", id="an empty bearer"),
        pytest.param({"authorization": "Bearer K1", "x-api-key": ""}, "K1", id="an empty x-api-key"),
        pytest.param({"authorization": "BearerK1"}, None, id="no space"),
        pytest.param({"authorization": "Bearer"}, None, id="no key"),
        pytest.param({"x-api-key": " "}, None, id="a blank key"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_the_presented_key_is_found_in_either_header(headers: dict[str, str], key: str | None) -> None:
    assert presented_key(RequestFactory().post(PATH, headers=headers)) == key


@pytest.mark.parametrize("case", AUTH_CASES, ids=lambda case: case["name"])
def test_the_documented_headers_are_read(case: Any) -> None:
    assert (
        presented_key(RequestFactory().post(PATH, headers=case["input"]["headers"])) == case["expected"]["credential"]
    )


def test_concurrent_requests_with_the_same_key_share_one_lookup(issued: tuple[APIKey, str], settings: Any) -> None:
    settings.CONFIG_CACHE_TTL_S = 5
    snapshot = cache.find(issued[1])
    cache.clear()
    lookup = cache._pending[raw_key.possible_digests(issued[1], peppers=settings.API_KEY_PEPPERS)[0]] = PendingLookup()
    found: list[Snapshot | None] = []
    threads = [threading.Thread(target=lambda: found.append(cache.find(issued[1]))) for _ in range(20)]
    for thread in threads:
        thread.start()

    lookup.set_result(snapshot)
    lookup.ended.set()
    for thread in threads:
        thread.join(5)
    del cache._pending[raw_key.possible_digests(issued[1], peppers=settings.API_KEY_PEPPERS)[0]]

    assert found == [snapshot] * 20  # a thread of its own would not see this test's key


def test_waiting_for_a_lookup_is_limited(issued: tuple[APIKey, str], settings: Any) -> None:
    settings.DATABASE_TIMEOUT_S = 0.2
    cache._pending[raw_key.possible_digests(issued[1], peppers=settings.API_KEY_PEPPERS)[0]] = PendingLookup()

    response = post(issued[1])
    del cache._pending[raw_key.possible_digests(issued[1], peppers=settings.API_KEY_PEPPERS)[0]]

    assert (response.status_code, response.json()["data"]["error"]["type"]) == (503, "overloaded_error")


def test_the_lifetime_of_a_snapshot_counts_from_the_start_of_its_lookup(
    issued: tuple[APIKey, str], settings: Any
) -> None:
    settings.CONFIG_CACHE_TTL_S = 0.5
    api_key, raw = issued
    read_at: list[float] = []

    def slow(execute: Callable[..., Any], *arguments: Any) -> Any:
        """Read immediately but return late, while another process revokes the key."""
        rows = execute(*arguments)
        if not read_at:
            read_at.append(time.monotonic())
            api_key.revoke(note="test")
            time.sleep(0.4)
        return rows

    with connection.execute_wrapper(slow):
        assert cache.find(raw)
    time.sleep(max(0.0, read_at[0] + 0.5 - time.monotonic()))

    snapshot = cache.find(raw)
    assert snapshot is not None and not snapshot.is_usable()
