"""Refresh of cached snapshots: keys in use are read again in the background, in bulk, before their entries expire."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from keys.access import snapshot_cache, snapshots
from keys.access.snapshot_cache import SnapshotCache
from keys.models import APIKey, Budget, KeySecret, Team

pytestmark = pytest.mark.django_db

Change = Callable[[APIKey], object]
Queries = Callable[[int], Any]


@pytest.fixture(autouse=True)
def _always_due(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CONFIG_CACHE_TTL_S = 60.0
    monkeypatch.setattr(snapshot_cache, "REFRESH_AHEAD_S", 61.0)


@pytest.fixture
def team() -> Team:
    return Team.objects.create(name="team", requests_per_minute=5)


@pytest.fixture
def issued(team: Team) -> list[tuple[APIKey, str]]:
    return [APIKey.objects.issue(name=f"key {number}", team=team) for number in range(3)]


@pytest.fixture
def cache(issued: list[tuple[APIKey, str]]) -> SnapshotCache:
    cache = SnapshotCache()
    for _, raw in issued:
        assert cache.find(raw) is not None
    return cache


def test_keys_in_use_are_read_in_bulk_and_then_cost_no_query(
    cache: SnapshotCache, issued: list[tuple[APIKey, str]], django_assert_num_queries: Queries
) -> None:
    before = [cache.find(raw) for _, raw in issued]
    expiry = max(entry.expires_at for entry in cache._entries.values())
    # The rows of the secrets and of the budgets, and the snapshots with their budgets.
    with django_assert_num_queries(4):
        cache.refresh()
    with django_assert_num_queries(2):  # unchanged rows make no new snapshot
        cache.refresh()

    with django_assert_num_queries(0):
        found = [cache.find(raw) for _, raw in issued]

    assert found == before
    assert min(entry.expires_at for entry in cache._entries.values()) > expiry
    assert all(snapshot is not None and len(snapshot.limits) == 1 for snapshot in found)


def test_a_key_that_is_not_in_use_is_not_read(
    cache: SnapshotCache, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Queries
) -> None:
    monkeypatch.setattr(snapshot_cache, "IN_USE_S", 0.0)

    with django_assert_num_queries(0):
        cache.refresh()


def test_an_entry_that_does_not_expire_soon_is_not_read(
    cache: SnapshotCache, issued: list[tuple[APIKey, str]], settings: Any, django_assert_num_queries: Queries
) -> None:
    settings.CONFIG_CACHE_TTL_S = 120.0
    cache.refresh()

    with django_assert_num_queries(0):
        cache.refresh()


def add_budget(key: APIKey) -> object:
    return Budget.objects.create(api_key=key, period="day", unit="usd", amount=1)


def add_budget_of_team(key: APIKey) -> object:
    return Budget.objects.create(team=key.team, period="day", unit="tokens", amount=1)


def to_owner(key: APIKey) -> object:
    owner = User.objects.create_user("owner", is_active=False)
    return APIKey.objects.filter(pk=key.pk).update(owner=owner, team=None)


def _disable_team(key: APIKey) -> None:
    assert key.team is not None
    key.team.disable()


CHANGES: dict[str, Change] = {
    "revoked": lambda key: key.revoke(),
    "disabled": lambda key: key.disable(),
    "expired": lambda key: APIKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1)),
    "secret expired": lambda key: KeySecret.objects.filter(api_key=key).update(
        expires_at=timezone.now() - timedelta(seconds=1)
    ),
    "team disabled": _disable_team,
    "team changed": lambda key: Team.objects.update(requests_per_minute=6),
    "team's models": lambda key: Team.objects.update(allowed_models=["m*"]),
    "models": lambda key: APIKey.objects.filter(pk=key.pk).update(allowed_models=["m"]),
    "addresses": lambda key: APIKey.objects.filter(pk=key.pk).update(allowed_ips=["10.0.0.0/8"]),
    "limits": lambda key: APIKey.objects.filter(pk=key.pk).update(tokens_per_minute=7),
    "shadow mode": lambda key: Team.objects.update(shadow_mode=True),
    "budget": add_budget,
    "team's budget": add_budget_of_team,
    "owner": to_owner,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_refresh_finds_every_change(
    cache: SnapshotCache, issued: list[tuple[APIKey, str]], change: Change, django_assert_num_queries: Queries
) -> None:
    key, raw = issued[1]
    before = cache.find(raw)
    cache.refresh()  # from here on, only changed rows make a new snapshot

    change(key)
    cache.refresh()

    with django_assert_num_queries(0):
        found = cache.find(raw)
    assert found != before
    assert found == snapshots.by_public_id(key.public_id)


def test_a_refresh_finds_that_a_key_was_deleted(cache: SnapshotCache, issued: list[tuple[APIKey, str]]) -> None:
    key, raw = issued[0]
    key.delete()

    cache.refresh()

    assert cache.find(raw) is None
    assert cache.find(issued[1][1]) is not None


def test_entries_expire_while_the_database_is_unavailable(
    cache: SnapshotCache, issued: list[tuple[APIKey, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("the database is unavailable")

    expiries = [entry.expires_at for entry in cache._entries.values()]
    with monkeypatch.context() as patch:
        patch.setattr(CursorWrapper, "execute", fail)
        with pytest.raises(OperationalError):
            cache.refresh()

    assert [entry.expires_at for entry in cache._entries.values()] == expiries


def test_a_snapshot_that_was_read_later_is_kept(
    cache: SnapshotCache, issued: list[tuple[APIKey, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, raw = issued[0]
    read_rows = snapshots.read_rows

    def read_and_change(secret_ids: Any) -> Any:
        rows = read_rows(secret_ids)
        key.revoke()
        cache.clear()
        cache.find(raw)
        return rows

    monkeypatch.setattr(snapshots, "read_rows", read_and_change)
    cache.refresh()

    snapshot = cache.find(raw)
    assert snapshot is not None
    assert not snapshot.is_usable()


def test_the_cache_is_bounded_and_keeps_the_keys_in_use(
    cache: SnapshotCache, issued: list[tuple[APIKey, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_cache, "MAX_ENTRIES", 3)
    cache.find("unknown")

    assert len(cache) == 3
    assert cache.find(issued[2][1]) is not None
