"""No page request is a server error, and no page works without limit, whatever is in its URL and its form."""

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import reverse

from keys.models import APIKey, Budget, Team
from lib.admin.form_guard import show_conflict
from messages_api.models import RouteTarget
from tests.support import fuzz
from tests.support.admin_urls import address_of, row_of
from tests.support.largest_form import largest_form
from tests.support.role_matrix import ACTIONS, ALL, PAGES, TABLES

MAX_CPU_S = 3.0
"""A page takes 0.02 to 0.2 s of CPU time."""

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]

Objects = dict[str, Any]
ClientOf = Callable[[str], Client]


@pytest.fixture
def administrator(client_of: ClientOf) -> Client:
    client = client_of("A")
    client.raise_request_exception = True
    return client


@contextmanager
def undone() -> Iterator[None]:
    """Undo the changes of a request, after the checks that the database does at the end of a transaction."""
    with transaction.atomic():
        yield
        connection.check_constraints()
        transaction.set_rollback(True)


def sent(data: dict[str, Any]) -> dict[str, list[str]]:
    """Return the fields as they arrive: a browser replaces what UTF-8 cannot encode."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in data.items()}
    return {name: [str(each).encode(errors="replace").decode() for each in values] for name, values in lists.items()}


def fields_of(page: str) -> list[str]:
    """Return the names of the fields of the page's model."""
    for model in django_admin.site._registry:
        if page.startswith(f"{model._meta.app_label}_{model._meta.model_name}_"):
            return [field.name for field in model._meta.get_fields()]
    return []


class PageFuzzer:
    """Random requests of one role, from a seed."""

    def __init__(self, client: Client, user: User, objects: Objects, seed: str) -> None:
        self.client, self.user, self.objects = client, user, objects
        self.source = random.Random(seed)
        self.pages = [name for name in PAGES if name != "logout"]
        self.forms: dict[str, dict[str, Any]] = {}

    def step(self) -> str | None:
        """Send one request. Return a description of it if it failed."""
        page = self.source.choice(self.pages)
        url = address_of(page, self.objects)
        query = sent(fuzz.query(self.source, fields_of(page))) if self.source.random() < 0.5 else {}
        actions = list(ACTIONS.get(page.removesuffix("_changelist"), []))
        is_get = self.source.random() < 0.3
        data = sent({} if is_get else fuzz.changed_form(self.source, self._form(page, url), actions))
        request = f"{'GET' if is_get else 'POST'} {page} {query} {data}"
        started = time.process_time()
        try:
            with undone():
                response = self.client.get(url, query) if is_get else self.client.post(url, data, query_params=query)
                b"".join(response)
        except Exception as error:  # any of them would be a server error
            return f"{type(error).__name__}: {error}"[:300] + f" for {request[:1000]}"
        if "_auth_user_id" not in self.client.session:
            self.client.force_login(self.user)
        if response.status_code >= 500 or time.process_time() - started > MAX_CPU_S:
            return f"{response.status_code} after {time.process_time() - started:.1f} s for {request[:1000]}"
        return None

    def _form(self, page: str, url: str) -> dict[str, Any]:
        if page not in self.forms:
            html = b"".join(self.client.get(url)).decode()
            self.forms[page] = largest_form(html) if "<form" in html else {}
        return self.forms[page]


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("letter", ALL)
def test_no_random_request_of_a_role_is_a_server_error(
    letter: str, client_of: ClientOf, objects: Objects, at_length: bool
) -> None:
    client = client_of(letter)
    client.raise_request_exception = True
    fuzzer = PageFuzzer(client, User.objects.get(username=f"user {letter}"), objects, seed=f"pages of {letter}")

    failed = [failure for _ in range(2_400 if at_length else 60) if (failure := fuzzer.step())]

    assert failed == []


@pytest.mark.timeout(600)
def test_no_random_request_before_the_login_is_a_server_error(
    client: Client, objects: Objects, settings: Any, at_length: bool
) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    source = random.Random("login")
    form = largest_form(client.get("/admin/login/").text)
    for _ in range(600 if at_length else 60):
        url = source.choice(["/admin/login/", "/admin/logout/", "/admin/", "/", "/admin/two-factor/code/"])
        query, data = sent(fuzz.query(source, ["username"])), sent(fuzz.changed_form(source, form, []))
        with undone():
            response = client.post(url, data, query_params=query)
        assert response.status_code < 500, (url, query, data)


# ---- Each kind of forged parameter, on every page that takes it


BAD_KEYS = ["abc", "", "-1", str(2**63), str(-(2**63) - 1), fuzz.LONG_INTEGER, "1.5", "1,2", "a\0b", "1\0", "None", "{"]


@pytest.mark.parametrize("table", ACTIONS)
def test_an_action_on_rows_that_do_not_exist_is_not_a_server_error(
    table: str, administrator: Client, objects: Objects
) -> None:
    row = row_of(f"{table}_", objects)
    for action, value in itertools.product(ACTIONS[table], BAD_KEYS):
        fields = {"action": action, "index": "0", "_selected_action": [str(row.pk), value]}
        with undone():
            response = administrator.post(reverse(f"admin:{table}_changelist"), fields)
            b"".join(response)  # also closes the file of a download
            assert response.status_code in (200, 302), (action, value)


@pytest.mark.parametrize("table", TABLES)
def test_every_field_as_the_target_of_a_popup_is_checked(table: str, administrator: Client, objects: Objects) -> None:
    for page in ("changelist", "add", "change", "delete"):
        url = address_of(f"{table}_{page}", objects)
        for name in [*fields_of(f"{table}_"), "nothing", "a__b", "\0", ""]:
            with undone():
                fields = {"_popup": "1", "_to_field": name}
                send = administrator.get if page == "changelist" else administrator.post
                assert send(url, fields).status_code < 500, (page, name)


@pytest.mark.parametrize("table", [table for table, rows in TABLES.items() if rows["add"].opens])
def test_an_add_page_opens_with_any_initial_value(table: str, administrator: Client, at_length: bool) -> None:
    url = reverse(f"admin:{table}_add")
    names = [*fields_of(f"{table}_"), "copy"]
    for value in fuzz.VALUES if at_length else ["2026-02-30", "0001-01-01", fuzz.LONG_INTEGER, "", "a\0b", "[" * 9_999]:
        assert administrator.get(url, sent(dict.fromkeys(names, value))).status_code == 200, value[:50]


def test_an_add_page_takes_texts_from_its_url(administrator: Client) -> None:
    page = administrator.get(reverse("admin:keys_modelprice_add"), {"model_pattern": "claude-*", "is_free": "on"})

    assert largest_form(page.text)["model_pattern"] == ["claude-*"]


@pytest.mark.parametrize("table", [table for table, rows in TABLES.items() if rows["change"].writes])
def test_a_form_saved_as_new_is_rejected(table: str, administrator: Client, objects: Objects) -> None:
    url = address_of(f"{table}_change", objects)
    form = largest_form(administrator.get(url).text)
    rows = row_of(f"{table}_", objects)._meta.model.objects
    before = rows.count()

    statuses = {administrator.post(url, form | each | {"_saveasnew": "1"}).status_code for each in ({}, {"name": ""})}

    assert statuses <= {200, 302, 400} and rows.count() == before


COUNTS = ["1000", "-1", "0", "2147483648", "99999999999999999999", "abc", "", fuzz.LONG_INTEGER]
FORMSETS = ["keys_apikey_add", "keys_apikey_change", "keys_team_change", "messages_api_route_change"]


@pytest.mark.parametrize("page", FORMSETS)
def test_a_formset_does_not_believe_its_counts(page: str, administrator: Client, objects: Objects) -> None:
    url = address_of(page, objects)
    form = largest_form(administrator.get(url).text)
    [prefix] = {name.removesuffix("-TOTAL_FORMS") for name in form if name.endswith("-TOTAL_FORMS")}
    for count, kinds in itertools.product(COUNTS, (["TOTAL"], ["INITIAL"], ["TOTAL", "INITIAL"], ["MIN_NUM"])):
        started = time.process_time()
        with undone():
            response = administrator.post(url, form | {f"{prefix}-{kind}_FORMS": count for kind in kinds})
        assert response.status_code in (200, 302), (count, kinds)
        assert response.content.count(f'name="{prefix}-'.encode()) < 500, (count, kinds)
        assert time.process_time() - started < MAX_CPU_S, (count, kinds)


@pytest.mark.parametrize("table", TABLES)
def test_a_page_of_a_row_that_does_not_exist_is_not_a_server_error(
    table: str, administrator: Client, objects: Objects
) -> None:
    row = row_of(f"{table}_", objects)
    urls = [address_of(f"{table}_{page}", objects) for page in TABLES[table]]
    bad = ("0", str(2**63), "9" * 30, fuzz.LONG_INTEGER, "abc", "_5F", "_", "%00", "%ED%A0%80", "a/b", "1.5")
    for url, value in itertools.product([url for url in urls if f"/{row.pk}/" in url], bad):
        with undone():
            changed = url.replace(f"/{row.pk}/", f"/{value}/")
            statuses = {administrator.get(changed).status_code, administrator.post(changed).status_code}
        assert statuses <= {302, 400, 403, 404, 405}, (url, value)


# ---- Forms of upstreams


@pytest.fixture
def save_upstream(administrator: Client) -> Callable[..., Any]:
    """Return a function that saves a new upstream with some fields changed. It returns the errors by field."""
    url = reverse("admin:messages_api_upstream_add")
    form = largest_form(administrator.get(url).text) | {"name": "new", "base_url": "http://127.0.0.1:9/v1"}
    form |= {"dialect": "openai"}

    def save(**changes: str) -> Any:
        with undone():
            response = administrator.post(url, sent(form | changes))
        return {} if response.status_code == 302 else dict(response.context["adminform"].form.errors)

    return save


def test_a_base_url_is_checked_without_a_server_error(save_upstream: Callable[..., Any]) -> None:
    accepted = [url for url in fuzz.URLS if list(save_upstream(base_url=url)) != ["base_url"]]

    assert accepted == ["http://0x7f.1"]  # 127.0.0.1


def test_profile_overrides_are_checked_without_a_server_error(save_upstream: Callable[..., Any]) -> None:
    texts = [*fuzz.JSON_TEXTS, "a" * 5_000, '{"max_stop": 1, "max_stop": 2}']

    accepted = [text for text in texts if list(save_upstream(profile_overrides=text)) != ["profile_overrides"]]

    assert accepted == ["{}", '{"max_stop": 170141183460469231731687303715884105728}']


def test_valid_profile_overrides_are_stored_and_shown(administrator: Client, objects: Objects) -> None:
    url, upstream = address_of("messages_api_upstream_change", objects), objects["messages_api.upstream"]
    form = largest_form(administrator.get(url).text)

    administrator.post(url, form | {"profile_overrides": '{"max_stop": 4, "efforts": ["low"]}'})

    upstream.refresh_from_db()
    assert upstream.profile_overrides == {"max_stop": 4, "efforts": ["low"]}
    assert json.loads(largest_form(administrator.get(url).text)["profile_overrides"]) == upstream.profile_overrides


TIMEOUTS = ["connect_timeout_s", "first_byte_timeout_s", "idle_timeout_s", "request_timeout_s"]


def test_a_timeout_that_would_fail_every_request_is_rejected(save_upstream: Callable[..., Any]) -> None:
    for value in ("1e308", "86401", "nan", "inf", "-1", fuzz.LONG_INTEGER):
        found = save_upstream(**dict.fromkeys([*TIMEOUTS, "continue_after_disconnect_s"], value))
        assert set(found) == {*TIMEOUTS, "continue_after_disconnect_s"}, value
    assert save_upstream(**dict.fromkeys([*TIMEOUTS, "continue_after_disconnect_s"], "86400")) == {}


# ---- Nothing that was typed is lost without a word


EDITED = ["keys_apikey_change", "keys_team_change", "messages_api_route_change"]


@pytest.mark.parametrize("page", EDITED)
def test_a_row_that_was_removed_meanwhile_is_named(page: str, administrator: Client, objects: Objects) -> None:
    Budget.objects.create(team=objects["keys.team"], amount=1)
    url = address_of(page, objects)
    form = largest_form(administrator.get(url).text)
    Budget.objects.all().delete()
    RouteTarget.objects.all().delete()

    response = administrator.post(url, form)

    assert response.status_code == 200 and "A row no longer exists. Reload the page." in response.text


@pytest.mark.parametrize("page", EDITED)
def test_a_row_that_was_added_meanwhile_is_named(page: str, administrator: Client, objects: Objects) -> None:
    Budget.objects.create(team=objects["keys.team"], amount=1)
    url = address_of(page, objects)
    form = largest_form(administrator.get(url).text)
    [prefix] = {name.removesuffix("-INITIAL_FORMS") for name in form if name.endswith("-INITIAL_FORMS")}

    response = administrator.post(url, form | {f"{prefix}-INITIAL_FORMS": "0", f"{prefix}-0-id": ""})

    assert response.status_code == 200 and "already exists." in response.text


def test_a_form_that_a_double_click_saves_twice_is_shown_with_its_error(administrator: Client) -> None:
    """The second request validates before the first commits, and the constraint rejects it."""
    calls: list[bool] = []

    @show_conflict
    def save(request: HttpRequest) -> HttpResponse:
        calls.append(Team.objects.filter(name="twice").exists())
        with transaction.atomic():
            if len(calls) == 1:
                Team.objects.create(name="twice")
                raise IntegrityError
        return HttpResponse("shown")

    assert save(HttpRequest()).content == b"shown"
    assert calls == [False, False]


def test_names_of_white_space_are_rejected(administrator: Client, objects: Objects) -> None:
    for page in ("keys_apikey_add", "keys_team_add"):
        url = reverse(f"admin:{page}")
        form = largest_form(administrator.get(url).text)
        for name in (" ", "\t", "\u00a0", "\u2003 "):
            assert administrator.post(url, form | {"name": name}).status_code == 200

    assert not APIKey.objects.filter(name__regex=r"^\s*$").exists()
    assert not Team.objects.filter(name__regex=r"^\s*$").exists()
