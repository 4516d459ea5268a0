"""Issuing a key: the raw key is in the response to the POST and nowhere else."""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from keys.domain import raw_key
from keys.models import APIKey, KeySecret

ADD = "/admin/keys/apikey/add/"
RAW_KEY = re.compile(r"mgw_[0-9A-Za-z]{46}")


@pytest.fixture
def form(browser: Client, admin: User) -> dict[str, Any]:
    """Return the data of the page's form, with a name filled in."""
    initial = browser.get(ADD).context["form"]
    return {
        "name": "app",
        "owner_choice": f"user-{admin.pk}",
        "expires": "90",
        "expires_on": "",
        "allowed_models": "",
        "token": initial["token"].value(),
    }


def test_a_key_is_shown_once_in_the_response_to_the_post(browser: Client, form: dict[str, Any]) -> None:
    answer = browser.post(ADD, form)

    raw = answer.context["raw"]
    assert answer.status_code == 200
    assert raw_key.is_well_formed(raw)
    assert f'value="{raw}" readonly' in answer.text
    assert "This is the only time the key is shown. Store it like a password." in answer.text
    assert "no-store" in answer["Cache-Control"]
    assert answer["Referrer-Policy"] == "no-referrer"
    assert APIKey.objects.with_raw_key(raw).get().name == "app"


def test_the_same_form_sent_twice_issues_nothing_and_shows_nothing(browser: Client, form: dict[str, Any]) -> None:
    raw = browser.post(ADD, form).context["raw"]

    again = browser.post(ADD, form)

    assert again.status_code == 409
    assert (
        "This key has already been issued. It cannot be shown again; rotate it if you did not store it." in again.text
    )
    assert raw not in again.text and not RAW_KEY.search(again.text)
    assert KeySecret.objects.count() == 1
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize("token", [None, "", "short", "x" * 65])
def test_a_form_without_its_token_issues_nothing(token: str | None, browser: Client, form: dict[str, Any]) -> None:
    answer = browser.post(ADD, {name: value for name, value in (form | {"token": token}).items() if value is not None})

    assert answer.status_code == 200 and not APIKey.objects.exists()


def test_every_form_has_a_token_of_its_own(browser: Client) -> None:
    tokens = {browser.get(ADD).context["form"]["token"].value() for _ in range(3)}

    assert len(tokens) == 3


def test_twenty_raw_keys_are_in_no_table_and_no_log(
    browser: Client, form: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    raws = []
    for i in range(20):
        token = browser.get(ADD).context["form"]["token"].value()
        raws.append(browser.post(ADD, form | {"name": f"app {i}", "token": token}).context["raw"])
        browser.get(reverse("admin:keys_apikey_changelist"))

    stored = "\n".join(
        repr(row) for model in apps.get_models() for row in model._base_manager.using(connection.alias).values_list()
    )
    sessions = "\n".join(repr(session) for session in [dict(browser.session.items())])
    everything = stored + sessions + caplog.text + repr(browser.cookies)
    assert len(set(raws)) == 20
    assert stored.count("app 19") >= 2  # the key and its log entry, so the dump does contain data
    for raw in raws:
        assert raw not in everything and raw[10:] not in everything


def test_the_log_entry_says_the_public_id_and_no_more(browser: Client, form: dict[str, Any]) -> None:
    browser.post(ADD, form)

    assert LogEntry.objects.get().change_message == APIKey.objects.get().public_id


@pytest.mark.parametrize(
    "choice, day, expires_at",
    [
        pytest.param("30", "", datetime(2026, 7, 31, 10, tzinfo=UTC), id="30 days"),
        pytest.param("365", "", datetime(2027, 7, 1, 10, tzinfo=UTC), id="365 days"),
        pytest.param("never", "", None, id="never"),
        pytest.param("never", "2026-07-03", None, id="never, whatever the date says"),
        # The whole day in Tokyo, nine hours ahead.
        pytest.param("date", "2026-07-03", datetime(2026, 7, 3, 15, tzinfo=UTC), id="a date"),
    ],
)
def test_when_a_key_expires(
    choice: str, day: str, expires_at: datetime | None, browser: Client, form: dict[str, Any], settings: Any
) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    settings.SESSION_COOKIE_AGE = 10 * 365 * 24 * 3600

    with time_machine.travel(datetime(2026, 7, 1, 10, tzinfo=UTC), tick=False):
        browser.force_login(User.objects.get())
        browser.post(ADD, form | {"expires": choice, "expires_on": day, "no_expiry_reason": "a meter in the cellar"})

    api_key = APIKey.objects.get()
    assert api_key.expires_at == expires_at
    assert api_key.no_expiry_reason == ("a meter in the cellar" if choice == "never" else "")


@pytest.mark.parametrize(
    "wrong, field",
    [
        pytest.param({"name": ""}, "name", id="no name"),
        pytest.param({"owner_choice": "user-0"}, "owner_choice", id="no such owner"),
        pytest.param({"expires": "date", "expires_on": ""}, "expires_on", id="no date"),
        pytest.param({"expires": "never"}, "no_expiry_reason", id="no reason"),
        pytest.param({"expires": "never", "no_expiry_reason": " "}, "no_expiry_reason", id="a blank reason"),
        pytest.param({"expires": "date", "expires_on": "2001-01-01"}, "expires_on", id="a day that is over"),
        pytest.param({"expires": "date", "expires_on": "9999-12-31"}, "expires_on", id="the end of the calendar"),
        pytest.param({"expires": "10000"}, "expires", id="no such choice"),
        pytest.param({"allowed_models": "claude-*-opus"}, "allowed_models", id="a star inside"),
        pytest.param({"allowed_models": "claude 3"}, "allowed_models", id="a space"),
        pytest.param({"allowed_models": "x" * 257}, "allowed_models", id="a long name"),
    ],
)
def test_an_invalid_form_issues_nothing(
    wrong: dict[str, Any], field: str, browser: Client, form: dict[str, Any]
) -> None:
    answer = browser.post(ADD, form | wrong)

    assert list(answer.context["form"].errors) == [field]
    assert answer.context["form"]["token"].value() == form["token"]
    assert not APIKey.objects.exists()


def test_allowed_models_are_a_list_without_doubles_and_empty_lines(browser: Client, form: dict[str, Any]) -> None:
    browser.post(ADD, form | {"allowed_models": " claude-3 \r\n\r\nclaude-3\r\nsmol*\r\n"})

    assert APIKey.objects.get().allowed_models == ["claude-3", "smol*"]


def test_an_inactive_user_cannot_become_an_owner(browser: Client, form: dict[str, Any]) -> None:
    gone = User.objects.create_user("gone", is_active=False)

    answer = browser.post(ADD, form | {"owner_choice": f"user-{gone.pk}"})

    assert "owner_choice" in answer.context["form"].errors


def test_snippets_use_this_host_and_an_allowed_model(browser: Client, form: dict[str, Any]) -> None:
    answer = browser.post(ADD, form | {"allowed_models": "smol*\nclaude-haiku"}, headers={"host": "localhost:8000"})

    texts = {snippet.label: snippet.text for snippet in answer.context["snippets"]}
    raw = answer.context["raw"]
    assert texts["Environment file (.env)"] == (
        f"ANTHROPIC_BASE_URL=http://localhost:8000/api/anthropic\nANTHROPIC_API_KEY={raw}"
    )
    assert texts["curl"].startswith("curl http://localhost:8000/api/v1/messages")
    assert '"stream": true' in texts["curl, streamed"]
    assert all(raw in text for text in texts.values())
    assert '"claude-haiku"' in texts["Python SDK"]


def test_snippets_have_a_placeholder_if_no_allowed_model_is_known(browser: Client, form: dict[str, Any]) -> None:
    answer = browser.post(ADD, form | {"allowed_models": "smol*"})

    assert answer.context["model"] == ""
    assert "NAME_OF_A_MODEL" in answer.context["snippets"][1].text


def test_issuing_needs_its_own_permission(browser_of: Callable[..., Client], owner: User) -> None:
    looker = browser_of("view_apikey", "add_apikey", "change_apikey")

    assert looker.get(ADD).status_code == 403
    assert (
        looker.post(
            ADD, {"name": "app", "owner_choice": f"user-{owner.pk}", "expires": "30", "token": "x" * 30}
        ).status_code
        == 403
    )
    assert not APIKey.objects.exists()


def test_an_issuer_needs_nothing_else(browser_of: Callable[..., Client]) -> None:
    issuer = browser_of("view_apikey", "issue_apikey")
    page = issuer.get(ADD)
    clerk = User.objects.get(username="clerk")
    assert page.context["form"].initial["owner_choice"] == clerk

    token = page.context["form"]["token"].value()
    answer = issuer.post(ADD, {"name": "app", "owner_choice": f"user-{clerk.pk}", "expires": "30", "token": token})

    assert raw_key.is_well_formed(answer.context["raw"])
    assert APIKey.objects.get().expires_at - datetime.now(UTC) > timedelta(days=29)
