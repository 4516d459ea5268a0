"""Permissions of every role for every URL, action and field of the admin, by `tests/support/role_matrix.py`."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.apps import apps
from django.contrib import admin as django_admin
from django.contrib.auth.models import User
from django.db import models
from django.test import Client, RequestFactory
from django.urls import reverse

from keys.models import APIKey, UsageRecord
from messages_api.models import Upstream
from tests.support.admin_urls import address_of, admin_patterns, row_of
from tests.support.largest_form import largest_form
from tests.support.role_matrix import ACTIONS, ALL, APP_LISTS, PAGES, TABLES

UNWATCHED = {"sessions.session", "axes.accesslog", "admin.logentry", "auditlog.logentry", "keys.reportingzone"}
"""Also what a running gateway writes by itself: it confirms its time zone."""

pytestmark = pytest.mark.django_db


ClientOf = Callable[[str], Client]


# ---- The matrix is complete.


def test_every_url_has_a_row_and_every_row_a_url() -> None:
    named = {name for _, name in admin_patterns() if name}

    assert named - {"app_list"} == set(PAGES)
    assert {model._meta.app_label for model in django_admin.site._registry} == set(APP_LISTS)


def test_urls_without_a_name_redirect_to_named_ones() -> None:
    """Django's own URLs: `…/1/` is the old URL of `…/1/change/`, and the last pattern returns 404."""
    nameless = [route for route, name in admin_patterns() if name is None]

    assert {route for route in nameless if not route.endswith("<path:object_id>/")} == {"(?P<url>.*)$"}


def test_every_action_has_a_row() -> None:
    request = RequestFactory().get("/")
    request.user = User.objects.create_superuser("root")
    found = {
        f"{model._meta.app_label}_{model._meta.model_name}": set(model_admin.get_actions(request))
        for model, model_admin in django_admin.site._registry.items()
    }

    assert {table: names for table, names in found.items() if names} == {
        table: set(rows) for table, rows in ACTIONS.items()
    }


# ---- Viewing.


@pytest.mark.parametrize("letter", ALL)
def test_a_page_opens_for_the_roles_of_its_row(letter: str, client_of: ClientOf, objects: dict[str, Any]) -> None:
    client = client_of(letter)
    wrong = []
    for name, page in PAGES.items():
        expected = page.status if letter in page.opens else page.otherwise
        status = client.get(address_of(name, objects)).status_code
        if status != expected:
            wrong.append((name, expected, status))

    assert wrong == []


@pytest.mark.parametrize("letter", ALL)
def test_an_app_is_listed_for_users_who_can_view_part_of_it(
    letter: str, client_of: ClientOf, objects: dict[str, Any]
) -> None:
    client = client_of(letter)

    for app_label, opens in APP_LISTS.items():
        assert client.get(f"/admin/{app_label}/").status_code == (200 if letter in opens else 404), app_label


def test_an_anonymous_user_is_redirected_to_the_login(objects: dict[str, Any]) -> None:
    stranger = Client()
    for name, method in itertools.product(set(PAGES) - {"login", "logout"}, ("get", "post")):
        answer = getattr(stranger, method)(address_of(name, objects))
        assert answer.status_code == 302 and answer["Location"].startswith("/admin/login/"), name
    assert stranger.get("/admin/login/").status_code == 200
    assert stranger.get("/admin/logout/").status_code == 405


def test_a_user_without_staff_status_is_redirected_to_the_login(objects: dict[str, Any]) -> None:
    client = Client()
    client.force_login(objects["auth.user"])

    for name in set(PAGES) - {"login", "logout"}:
        answer = client.get(address_of(name, objects))
        assert answer.status_code == 302 and answer["Location"].startswith("/admin/login/"), name


# ---- Changing.


def everything() -> dict[str, list[Any]]:
    """Return all rows, without sessions and logs."""
    return {
        model._meta.label_lower: sorted(map(repr, model._base_manager.values_list()))
        for model in apps.get_models(include_auto_created=True)
        if not model._meta.proxy and model._meta.label_lower not in UNWATCHED
    }


def differences(before: dict[str, list[Any]]) -> dict[str, Any]:
    now = everything()
    return {label: (before[label], now[label]) for label in now if now[label] != before[label]}


def test_a_get_changes_nothing(client_of: ClientOf, objects: dict[str, Any]) -> None:
    client = client_of("A")
    changes = LogEntry.objects.exclude(action=LogEntry.Action.ACCESS)  # exports are recorded too
    before, logged = everything(), changes.count()

    for name in PAGES:
        address = address_of(name, objects)
        client.get(address)
        client.get(f"{address}?action=delete_selected&_selected_action=1&confirmed=yes&note=x&post=yes&do=start")
        client.head(address)

    assert differences(before) == {} and changes.count() == logged


HOSTILE = {
    "action": "delete_selected",
    "post": "yes",
    "confirmed": "yes",
    "note": "forged",
    "index": "0",
    "name": "forged",
    "pattern": "forged",
    "username": "forged",
    "is_superuser": "on",
    "is_staff": "on",
    "do": "start",
    "model": "forged",
}


@pytest.mark.parametrize("letter", ALL)
def test_a_user_without_permission_changes_nothing(letter: str, client_of: ClientOf, objects: dict[str, Any]) -> None:
    client = client_of(letter)
    before = everything()

    for name, page in PAGES.items():
        if letter not in page.writes and name != "logout":
            row = row_of(name, objects)
            table = name.removesuffix("_changelist")
            for action in ["delete_selected", *ACTIONS.get(table, [])]:
                fields = HOSTILE | {"action": action, "_selected_action": row.pk if row else 1}
                client.post(address_of(name, objects), fields)
            assert differences(before) == {}, name


@pytest.mark.parametrize("letter", ALL)
def test_an_action_is_allowed_for_the_roles_of_its_row(
    letter: str, client_of: ClientOf, objects: dict[str, Any]
) -> None:
    client = client_of(letter)
    user = User.objects.get(username=f"user {letter}")
    request = RequestFactory().get("/")
    request.user = user
    for model, model_admin in django_admin.site._registry.items():
        table = f"{model._meta.app_label}_{model._meta.model_name}"
        allowed = {action for action, letters in ACTIONS.get(table, {}).items() if letter in letters}
        assert set(model_admin.get_actions(request)) == allowed, table
    before = everything()

    for table, rows in ACTIONS.items():
        row = row_of(f"{table}_", objects)
        for action in set(rows) - {action for action, letters in rows.items() if letter in letters}:
            fields = HOSTILE | {"action": action, "_selected_action": row.pk}
            client.post(reverse(f"admin:{table}_changelist"), fields)

    assert differences(before) == {}


def test_a_form_from_another_site_is_rejected_everywhere(client_of: ClientOf, objects: dict[str, Any]) -> None:
    client_of("A")
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(username="user A"))
    before = everything()

    for name in PAGES:
        row = row_of(name, objects)
        for headers in ({}, {"Origin": "https://elsewhere.test"}):
            fields = HOSTILE | {"_selected_action": row.pk if row else 1}
            answer = client.post(address_of(name, objects), fields, headers=headers)
            assert answer.status_code == 403, name
            assert "Form expired" in answer.text, name

    assert differences(before) == {}
    assert "_auth_user_id" in client.session


# ---- Fields.


def form_of(answer: Any) -> Any:
    """Return the form of a page of Django's or of the gateway's."""
    context = answer.context or {}
    adminform = context.get("adminform")
    return adminform.form if adminform is not None else context.get("form")


def forged(field: models.Field) -> str:
    """Return a value that a field of a model accepts."""
    if isinstance(field, models.BooleanField):
        return "on"
    if isinstance(field, models.ForeignKey):
        related = field.remote_field.model._base_manager.first()
        return str(related.pk) if related else "1"
    if isinstance(field, models.DateTimeField):
        return "2026-01-01 00:00:00"
    if isinstance(field, models.JSONField):
        return '["forged"]'
    if isinstance(field, models.IntegerField | models.FloatField):
        return "77"
    return "forged"


EDITORS = [(letter, f"{table}_change") for table, rows in TABLES.items() for letter in rows["change"].writes]


@pytest.mark.parametrize("letter, name", EDITORS)
def test_fields_outside_the_form_are_ignored(
    letter: str, name: str, client_of: ClientOf, objects: dict[str, Any]
) -> None:
    client = client_of(letter)
    row = row_of(name, objects)
    address = address_of(name, objects)
    page = client.get(address)
    offered = set(form_of(page).fields)
    extra = {
        key: forged(field)
        for field in row._meta.concrete_fields
        if field.name not in offered
        for key in (field.name, field.attname)
    }
    more = {
        "is_superuser": "on",
        "is_staff": "on",
        "user_permissions": "1",
        "groups": "1",
        "credential_ciphertext": "x",
    }
    before, values = everything(), dict(type(row)._base_manager.filter(pk=row.pk).values()[0])

    answer = client.post(address, (more | extra if letter != "A" else extra) | largest_form(page.text))

    assert answer.status_code == 302, form_of(answer).errors
    now = type(row)._base_manager.filter(pk=row.pk).values()[0]
    assert {field for field in now if now[field] != values[field]} <= offered
    touched = set(differences(before)) - {row._meta.label_lower}
    assert touched == set()


def test_a_key_manager_can_only_issue_keys_with_the_form(client_of: ClientOf, objects: dict[str, Any]) -> None:
    client = client_of("K")
    page = client.get("/admin/keys/apikey/add/")
    offered = set(form_of(page).fields)
    extra = {
        key: forged(field)
        for model in (APIKey, apps.get_model("keys.KeySecret"))
        for field in model._meta.concrete_fields
        if field.name not in offered
        for key in (field.name, field.attname)
    }
    users = list(User.objects.values())
    ids = set(APIKey.objects.values_list("pk", flat=True))

    answer = client.post("/admin/keys/apikey/add/", extra | largest_form(page.text) | {"name": "issued"})

    assert answer.status_code == 200, answer.context
    issued = APIKey.objects.exclude(pk__in=ids).get()
    assert issued.name == "issued" and issued.state == "active" and not issued.revocation_reason
    assert issued.public_id.startswith("key_") and issued.public_id != "forged"
    assert issued.secrets.get().pepper_id != "forged"
    assert list(User.objects.values()) == users


def test_a_key_manager_cannot_gain_permissions(client_of: ClientOf, objects: dict[str, Any]) -> None:
    client = client_of("K")
    me = User.objects.get(username="user K")
    rights = {"username": me.username, "is_superuser": "on", "is_staff": "on", "groups": [1, 2, 3]}

    for address in (
        f"/admin/auth/user/{me.pk}/change/",
        f"/admin/auth/user/{me.pk}/password/",
        "/admin/auth/user/add/",
        f"/admin/auth/group/{me.groups.get().pk}/change/",
        "/admin/auth/group/add/",
    ):
        assert client.post(address, rights).status_code == 403
    client.post("/admin/password_change/", rights)
    client.post("/admin/two-factor/", rights)

    me.refresh_from_db()
    assert not me.is_superuser and [group.name for group in me.groups.all()] == ["Key manager"]


def test_an_auditor_sees_no_part_of_a_password_or_a_credential(client_of: ClientOf, objects: dict[str, Any]) -> None:
    client = client_of("U")
    user, upstream = objects["auth.user"], Upstream.objects.get(name="local")
    user.set_password("a password of eve")
    user.save()
    algorithm, salt, digest = user.password.split("$")

    pages = "".join(
        client.get(reverse(f"admin:{name}", args=[row.pk])).text
        for name, row in {"auth_user_change": user, "messages_api_upstream_change": upstream}.items()
    )

    for text in (algorithm, salt[:2] + "*", digest[:6], upstream.credential_ciphertext, "sk-canary"):
        assert text not in pages
    assert "Set since" in pages or "set since" in pages


@pytest.mark.parametrize(
    "query",
    [
        "/admin/messages_api/upstream/?credential_ciphertext__startswith=gAAAA",
        "/admin/auth/user/?password__startswith=md5",
        "/admin/keys/apikey/?secrets__digest__startswith=a",
        "/admin/keys/usagerecord/?secret__digest__startswith=a",
        "/admin/staff/auditentry/?actor__password__startswith=a",
    ],
)
def test_no_list_filter_discloses_a_secret(query: str, client_of: ClientOf, objects: dict[str, Any]) -> None:
    for letter in "AU":
        answer = client_of(letter).get(query)
        assert answer.status_code == 400 and "Invalid request" in answer.text


def test_an_analyst_sees_no_link_to_a_forbidden_page(client_of: ClientOf, objects: dict[str, Any]) -> None:
    client = client_of("N")
    record = UsageRecord.objects.get()

    for address in (
        "/admin/",
        "/admin/usage/",
        "/admin/keys/usagerecord/",
        reverse("admin:keys_usagerecord_change", args=[record.pk]),
    ):
        assert "/admin/keys/apikey/" not in client.get(address).text, address
