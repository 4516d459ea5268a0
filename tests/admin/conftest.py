"""An admin at the browser's end: signed in, with static files collected as they ship."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from keys.models import APIKey
from tests.admin.calls import Caller


@pytest.fixture(autouse=True)
def collected(static_files: None) -> None:
    """Pages name their static files by the manifest."""


@pytest.fixture
def admin(db: None) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def browser(admin: User, client: Client) -> Client:
    """A superuser's test client."""
    client.force_login(admin)
    return client


@pytest.fixture
def browser_of(db: None) -> Callable[..., Client]:
    """A test client of somebody who may do just this: `browser_of("view_apikey", "issue_apikey")`."""

    def sign_in(*codenames: str) -> Client:
        user = User.objects.create_user("clerk", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def issue(admin: User) -> Callable[..., tuple[APIKey, str]]:
    """Issue a key: `api_key, raw = issue(name="app")`."""

    def issue(**fields: Any) -> tuple[APIKey, str]:
        values: dict[str, Any] = {"name": "app", "owner": admin} | fields
        return APIKey.objects.issue(**values)

    return issue


@pytest.fixture
def caller(quiet_ledger: None, admin: User) -> Caller:
    """Makes calls on the ledger, as the gateway does."""
    return Caller(APIKey.objects.issue(name="caller", owner=admin)[0])
