"""Rotating a key: a new secret, shown once, and an expiry for the old one."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from keys.domain import raw_key
from keys.models import APIKey, Budget, KeyRevoked, KeySecret
from tests.admin.test_issue import RAW_KEY

Issue = Callable[..., tuple[APIKey, str]]


def address_of(api_key: APIKey) -> str:
    return reverse("admin:keys_apikey_rotate", args=[api_key.pk])


def form_of(browser: Client, api_key: APIKey, **fields: str) -> dict[str, Any]:
    token = browser.get(address_of(api_key)).context["form"]["token"].value()
    return {"overlap": "24h", "token": token} | fields


@pytest.mark.parametrize(
    ("overlap", "lasting"),
    [("0", timedelta()), ("1h", timedelta(hours=1)), ("24h", timedelta(days=1)), ("7d", timedelta(days=7))],
)
def test_the_new_key_is_shown_once_and_the_old_secret_expires(
    overlap: str, lasting: timedelta, browser: Client, issue: Issue
) -> None:
    api_key, old = issue(requests_per_minute=5)
    Budget.objects.create(api_key=api_key, amount=1)
    before = APIKey.objects.values().get(), Budget.objects.values().get()

    answer = browser.post(address_of(api_key), form_of(browser, api_key, overlap=overlap))

    raw = answer.context["raw"]
    first, second = KeySecret.objects.order_by("pk")
    assert raw_key.is_well_formed(raw) and raw != old and f'value="{raw}" readonly' in answer.text
    assert "no-store" in answer["Cache-Control"] and answer["Referrer-Policy"] == "no-referrer"
    assert APIKey.objects.with_raw_key(raw).get() == APIKey.objects.with_raw_key(old).get() == api_key
    assert second.expires_at is None and abs(first.expires_at - second.created_at - lasting) < timedelta(seconds=5)
    assert (APIKey.objects.values().get(), Budget.objects.values().get()) == before
    assert ("The previous secret has expired." in answer.text) == (overlap == "0")
    assert LogEntry.objects.get().change_message.startswith("Rotated: previous secret expires ")
    assert raw[10:] not in LogEntry.objects.get().change_message


def test_the_same_form_sent_twice_rotates_once_and_shows_nothing(browser: Client, issue: Issue) -> None:
    api_key, _ = issue()
    form = form_of(browser, api_key)
    raw = browser.post(address_of(api_key), form).context["raw"]

    again = browser.post(address_of(api_key), form)

    assert again.status_code == 409 and "It cannot be shown again" in again.text
    assert raw not in again.text and not RAW_KEY.search(again.text)
    assert KeySecret.objects.count() == 2 and LogEntry.objects.count() == 1


@pytest.mark.parametrize("wrong", [{"overlap": "1y"}, {"overlap": ""}, {"token": ""}, {"token": "short"}])
def test_an_invalid_form_rotates_nothing(wrong: dict[str, str], browser: Client, issue: Issue) -> None:
    api_key, _ = issue()

    answer = browser.post(address_of(api_key), form_of(browser, api_key) | wrong)

    assert answer.status_code == 200 and KeySecret.objects.count() == 1


def test_at_most_two_secrets_are_valid(browser: Client, issue: Issue) -> None:
    api_key, _ = issue()
    for _ in range(3):
        browser.post(address_of(api_key), form_of(browser, api_key, overlap="7d"))

    live = KeySecret.objects.live(timezone.now())

    assert KeySecret.objects.count() == 4 and live.count() == 2
    assert live.filter(expires_at=None).count() == 1
    page = browser.get(address_of(api_key)).text
    assert "A key has at most two valid secrets." in page


def test_a_second_rotation_does_not_extend_the_old_secret(issue: Issue) -> None:
    api_key, _ = issue()
    end = timezone.now() + timedelta(minutes=5)
    KeySecret.objects.update(expires_at=end)

    api_key.rotate(overlap=timedelta(days=7))

    assert KeySecret.objects.order_by("pk")[0].expires_at == end


def test_a_revoked_key_cannot_be_rotated(browser: Client, issue: Issue) -> None:
    api_key, _ = issue()
    form = form_of(browser, api_key)
    api_key.revoke(note="test")

    asked = browser.get(address_of(api_key))
    sent = browser.post(address_of(api_key), form)

    assert "A revoked key cannot be restored." in asked.text and 'name="overlap"' not in asked.text
    assert sent.status_code == 409 and KeySecret.objects.count() == 1
    with pytest.raises(KeyRevoked):
        api_key.rotate(overlap=timedelta())


@pytest.mark.parametrize("state", ["disabled", "expired"])
def test_the_page_warns_if_the_new_secret_will_not_work_yet(state: str, browser: Client, issue: Issue) -> None:
    api_key, _ = issue(expires_at=timezone.now() - timedelta(days=1) if state == "expired" else None)
    if state == "disabled":
        api_key.disable()

    assert (
        f"This key {'is disabled' if state == 'disabled' else 'has expired'}." in browser.get(address_of(api_key)).text
    )


def test_rotating_needs_its_own_permission(browser_of: Callable[..., Client], issue: Issue) -> None:
    clerk = browser_of("view_apikey", "change_apikey", "issue_apikey", "revoke_apikey", "disable_apikey")
    api_key, _ = issue()

    assert clerk.get(address_of(api_key)).status_code == 403
    assert clerk.post(address_of(api_key), {"overlap": "0", "token": "x" * 30}).status_code == 403
    assert KeySecret.objects.count() == 1
    assert "Rotate …" not in clerk.get(reverse("admin:keys_apikey_change", args=[api_key.pk])).text


def test_rotating_needs_no_other_permission(browser_of: Callable[..., Client], issue: Issue) -> None:
    clerk = browser_of("view_apikey", "rotate_apikey")
    api_key, _ = issue()

    answer = clerk.post(address_of(api_key), form_of(clerk, api_key))

    assert raw_key.is_well_formed(answer.context["raw"])
    assert User.objects.get(username="clerk") == LogEntry.objects.get().user


def test_a_key_that_is_not_there_is_not_found(browser: Client, db: None) -> None:
    assert browser.get("/admin/keys/apikey/4711/rotate/").status_code == 404
    assert browser.get("/admin/keys/apikey/x/rotate/").status_code == 404
