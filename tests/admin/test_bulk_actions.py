"""Bulk actions on the list of API keys."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from keys.admin.api_keys import bulk_actions
from keys.domain import raw_key
from keys.models import APIKey, Budget, KeySecret, Team

LIST = "/admin/keys/apikey/"
NOW = datetime(2026, 7, 15, 12, tzinfo=UTC)
Issue = Callable[..., tuple[APIKey, str]]


def act(browser: Client, action: str, *api_keys: APIKey, **fields: Any) -> Any:
    selected = [api_key.pk for api_key in api_keys]
    return browser.post(LIST, {"action": action, "_selected_action": selected} | fields, follow=True)


def ends() -> dict[str, datetime | None]:
    return dict(APIKey.objects.values_list("name", "expires_at"))


@pytest.fixture
def five(issue: Issue) -> list[APIKey]:
    with time_machine.travel(NOW, tick=False):
        keys = [
            issue(name=name, expires_at=expires_at)[0]
            for name, expires_at in {
                "running": NOW + timedelta(days=10),
                "expired": NOW - timedelta(days=10),
                "endless": None,
                "revoked": NOW + timedelta(days=10),
                "disabled": NOW + timedelta(days=10),
            }.items()
        ]
        keys[3].revoke(note="test")
        keys[4].disable()
    return keys


def test_extending_needs_a_confirmation(browser: Client, five: list[APIKey]) -> None:
    before = ends()

    with time_machine.travel(NOW, tick=False):
        answer = act(browser, "extend_selected", *five)

    assert ends() == before
    assert "1 of them has expired and will be valid again" in answer.text
    assert "Not changed: revoked (revoked), endless (never expires)." in " ".join(answer.text.split())
    assert "Extend 3 keys" in answer.text


def test_days_are_added_to_the_expiry_or_to_now_if_expired(browser: Client, five: list[APIKey]) -> None:
    with time_machine.travel(NOW, tick=False):
        answer = act(browser, "extend_selected", *five, confirmed="yes", by="30")

    assert "3 API keys extended." in answer.text
    later = NOW + timedelta(days=40)
    assert ends() == {
        "running": later,
        "expired": NOW + timedelta(days=30),
        "endless": None,
        "revoked": NOW + timedelta(days=10),
        "disabled": later,
    }
    assert {"Expiry extended to 2026-08-14", "Expiry extended to 2026-08-24"} == set(
        LogEntry.objects.values_list("change_message", flat=True)
    )
    with time_machine.travel(NOW, tick=False):
        assert APIKey.objects.get(name="disabled").state == "disabled"


@pytest.mark.parametrize("by", ["", "1", "-30", "36500"])
def test_only_the_offered_days_are_taken(by: str, browser: Client, five: list[APIKey]) -> None:
    before = ends()

    answer = act(browser, "extend_selected", *five, confirmed="yes", by=by)

    assert "errorlist" in answer.text and ends() == before


def test_extending_needs_the_permission_to_change(browser_of: Callable[..., Client], five: list[APIKey]) -> None:
    before = ends()

    act(browser_of("view_apikey", "issue_apikey"), "extend_selected", *five, confirmed="yes", by="30")

    assert ends() == before


@pytest.mark.parametrize("action", ["disable_selected", "enable_selected", "revoke_selected", "extend_selected"])
def test_more_keys_than_a_confirmation_can_hold_are_rejected(
    action: str, browser: Client, five: list[APIKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_actions, "MAX_SELECTED", 4)
    before = list(APIKey.objects.values())

    answer = act(browser, action, *five, confirmed="yes", by="30", reason="test")

    assert "Select at most 4 keys." in answer.text
    assert list(APIKey.objects.values()) == before


def lines_of(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(answer.getvalue().decode().splitlines()))


def test_an_export_has_the_columns_of_the_list_and_no_secret(browser: Client, issue: Issue, admin: User) -> None:
    team = Team.objects.create(name="Search")
    with time_machine.travel(NOW, tick=False):
        api_key, raw = issue(
            name="app",
            owner=None,
            team=team,
            purpose="Answers questions",
            expires_at=NOW + timedelta(days=30),
            allowed_models=["claude-*", "llama"],
            allowed_ips=["10.0.0.0/8"],
            requests_per_minute=60,
            tokens_per_minute=1000,
            concurrent_requests=5,
            shadow_mode=True,
            created_by=admin,
        )
        Budget.objects.create(api_key=api_key, amount=12_500_000)
        Budget.objects.create(api_key=api_key, amount=100, unit="tokens", period="day")
        KeySecret.objects.update(last_used_at=NOW)
        answer = act(browser, "export_selected", api_key)
        lines = lines_of(answer)

    origin, nothing = lines[0].popitem()
    assert origin.startswith("export=keys&at=2026-") and nothing == ""
    assert lines == [
        {
            "key": api_key.public_id,
            "name": "app",
            "hints": f"mgw_{raw_key.hint(raw)}…",
            "owner": "",
            "team": "Search",
            "purpose": "Answers questions",
            "state": "active",
            "created_at": "2026-07-15T12:00:00+00:00",
            "created_by": "root",
            "expires_at": "2026-08-14T12:00:00+00:00",
            "no_expiry_reason": "",
            "last_used_at": "2026-07-15T12:00:00+00:00",
            "allowed_models": "claude-* llama",
            "requests_per_minute": "60",
            "tokens_per_minute": "1000",
            "concurrent_requests": "5",
            "shadow_mode": "yes",
            "budgets": "12.50 USD per month; 100 tokens per day",
            "allowed_ips": "10.0.0.0/8",
        }
    ]
    secret = KeySecret.objects.get()
    exported = repr(lines)
    assert raw not in exported and secret.digest.hex() not in exported and secret.pepper_id not in exported
    assert answer["Content-Disposition"] == 'attachment; filename="keys_2026-07-15.csv"'
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)"]
)
def test_no_cell_of_an_export_is_a_formula(text: str, browser: Client, issue: Issue) -> None:
    api_key, _ = issue(name=text, purpose=text, allowed_models=[text])

    (line,) = lines_of(act(browser, "export_selected", api_key))

    assert line["name"][0] == line["purpose"][0] == line["allowed_models"][0] == "'"


def test_all_keys_of_a_filter_are_exported_with_as_many_queries_as_one(
    browser: Client, issue: Issue, django_assert_num_queries: Any
) -> None:
    for i in range(60):
        issue(name=f"app {i}", expires_at=None if i % 2 else NOW)
    query = {"action": "export_selected", "_selected_action": [APIKey.objects.first().pk], "select_across": "1"}

    with django_assert_num_queries(16):  # the list, three for the audit log, then keys, secrets, budgets
        answer: Any = browser.post(f"{LIST}?finding=no-expiry", query)
        assert len(lines_of(answer)) == 30


def test_exporting_needs_its_own_permission(browser_of: Callable[..., Client], issue: Issue) -> None:
    api_key, _ = issue()
    clerk = browser_of("view_apikey", "change_apikey", "export_usage")

    answer = act(clerk, "export_selected", api_key)

    assert not answer.streaming and "export_selected" not in clerk.get(LIST).text
