"""The state of a key: the rule for a loaded key, the rule for queries, and what a request meets are the same."""

from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from keys.access import snapshots
from keys.hygiene import conditions
from keys.models import APIKey, KeyState, Team
from keys.models.key_state import BLOCKING, blocking_states, in_state

NOW = timezone.now()
AGO, AHEAD = NOW - timedelta(hours=1), NOW + timedelta(hours=1)


@pytest.fixture
def api_keys(db: None) -> list[APIKey]:
    """A key for every combination of owner, revocation, deactivation and expiry."""
    owners: list[dict[str, Any]] = [
        {"owner": User.objects.create_user("active")},
        {"owner": User.objects.create_user("inactive", is_active=False)},
        {"team": Team.objects.create(name="enabled")},
        {"team": Team.objects.create(name="disabled", disabled_at=AGO)},
    ]
    moments = product((None, AGO), (None, AGO), (None, AGO, NOW, AHEAD))
    for owner, (revoked_at, disabled_at, expires_at) in product(owners, moments):
        APIKey.objects.issue(name="app", **owner, revoked_at=revoked_at, disabled_at=disabled_at, expires_at=expires_at)
    return list(APIKey.objects.select_related("owner", "team"))


def state_at(api_key: APIKey, now: datetime) -> KeyState:
    return next(iter(blocking_states(api_key, now=now)), KeyState.ACTIVE)


def test_python_and_the_database_agree_on_the_state_of_every_key(api_keys: list[APIKey]) -> None:
    expected = {state: {key.pk for key in api_keys if state_at(key, NOW) == state} for state in KeyState}

    queries = {state: APIKey.objects.filter(in_state(state, now=NOW)) for state in KeyState}
    found = {state: set(query.values_list("pk", flat=True)) for state, query in queries.items()}

    assert found == expected
    assert all(found.values()) and sum(map(len, found.values())) == len(api_keys) == 64


def test_requests_are_accepted_with_active_keys_only(api_keys: list[APIKey]) -> None:
    usable = {key.pk for key in api_keys if snapshots.by_public_id(key.public_id).is_usable()}

    assert usable == {key.pk for key in api_keys if key.state == KeyState.ACTIVE}
    assert usable == set(APIKey.objects.active().values_list("pk", flat=True))


def test_filters_and_badges_of_the_list_show_the_state(api_keys: list[APIKey]) -> None:
    shown = conditions.conditions_of([key.pk for key in api_keys])

    states = {each.name for each in conditions.STATES}
    assert states == set(KeyState)
    for key in api_keys:
        assert [each.name for each in shown[key.pk] if each.name in states] == [key.state]
    for state in KeyState:
        assert {key.pk for key in conditions.keys_with(state)} == {key.pk for key in api_keys if key.state == state}


def test_the_state_is_the_first_that_applies(api_keys: list[APIKey]) -> None:
    for key in api_keys:
        applying = key.blocking_states()

        assert applying == [state for state in BLOCKING if state in applying]
        assert key.state == (applying[0] if applying else KeyState.ACTIVE)
