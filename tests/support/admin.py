"""Fixtures for admin pages: signed-in test clients and rows to show."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from auditlog.models import LogEntry
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth.models import Group, Permission, User
from django.db import models
from django.test import Client

from keys.bills.importing import import_bill
from keys.models import APIKey, Budget, ModelPrice, NegotiatedFactor, Notification, Team
from messages_api.models import Route, RouteTarget, Upstream
from tests.support.role_matrix import ROLES
from tests.support.usage_rows import UsageRecorder

USAGE = b"usage_date_utc,model_version,api_key,usage_output_tokens\n2026-11-20,claude-3,app,12\n"
"""A bill, as the Console exports it."""


@pytest.fixture
def admin(db: None) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def browser(admin: User, client: Client) -> Client:
    """Return the test client of a superuser."""
    client.force_login(admin)
    return client


@pytest.fixture
def browser_of(db: None) -> Callable[..., Client]:
    """Return a function that signs in a user with only the given permissions: `browser_of("view_apikey")`."""

    def sign_in(*codenames: str) -> Client:
        user = User.objects.create_user("clerk", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def client_of(db: None, settings: Any) -> Callable[[str], Client]:
    """Return a function that creates a signed-in test client for the letter of a role: `client_of("A")`."""
    settings.ADMIN_TWO_FACTOR = "optional"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

    def sign_in(letter: str) -> Client:
        user = User.objects.create_user(f"user {letter}", password="a password of a role", is_staff=True)
        if ROLES[letter]:
            user.groups.add(Group.objects.get(name=ROLES[letter]))
        client = Client(raise_request_exception=False)
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def issue(admin: User) -> Callable[..., tuple[APIKey, str]]:
    """Return a function that issues an API key: `api_key, raw = issue(name="app")`."""

    def issue(**fields: Any) -> tuple[APIKey, str]:
        values: dict[str, Any] = {"name": "app", "owner": admin} | fields
        return APIKey.objects.issue(**values)

    return issue


@pytest.fixture
def recorder(quiet_ledger: None, admin: User) -> UsageRecorder:
    """Return a recorder of usage records for a new key."""
    return UsageRecorder(APIKey.objects.issue(name="client", owner=admin)[0])


@pytest.fixture
def objects(recorder: UsageRecorder) -> dict[str, Any]:
    """One row of each model that the admin shows."""
    owner = recorder.api_key.owner
    record = recorder.record()
    api_key, _ = APIKey.objects.issue(name="app", owner=owner)
    upstream = Upstream(name="local", dialect="openai", base_url="http://127.0.0.1:9/v1")
    upstream.set_credential("sk-canary")
    upstream.save()
    lonely = Upstream.objects.create(name="lonely", dialect="openai", base_url="http://127.0.0.1:9/v1")
    route = Route.objects.create(pattern="*")
    RouteTarget.objects.create(route=route, upstream=upstream)
    team = Team.objects.create(name="crew")
    who = {"username": "eve", "ip_address": "192.0.2.1", "user_agent": "x", "http_accept": "", "path_info": ""}
    rows: list[models.Model] = [
        record,
        api_key,
        lonely,
        route,
        team,
        Budget.objects.create(api_key=api_key, amount=1),
        import_bill(BytesIO(USAGE), upstream="local", file_name="usage.csv", imported_by="root").bill,
        ModelPrice.objects.create(model_pattern="*", input_price=1, output_price=1),
        NegotiatedFactor.objects.create(upstream="local", factor=1),
        # Marked as sent: a gateway of another test with this database would send it.
        Notification.objects.create(
            dedup_key="k", kind="k", subject="s", text="t", next_attempt_at=record.created_at, done_at=record.created_at
        ),
        User.objects.create_user("eve"),
        Group.objects.create(name="crew"),
        AccessAttempt.objects.create(**who, get_data="", post_data="", failures_since_start=5),
        AccessLog.objects.create(**who),
        LogEntry.objects.order_by("pk")[0],
    ]
    return {row._meta.label_lower: row for row in rows}
