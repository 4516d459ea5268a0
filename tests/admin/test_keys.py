"""API keys in the admin: search by raw key, bulk actions, edit form and deletion."""

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
from keys.models import APIKey, KeySecret
from tests.support.usage_rows import UsageRecorder

LIST = "/admin/keys/apikey/"
FIND = "/admin/keys/apikey/find/"
Issue = Callable[..., tuple[APIKey, str]]


def page_of(api_key: APIKey) -> str:
    return reverse("admin:keys_apikey_change", args=[api_key.pk])


def shown(answer: Any) -> list[str]:
    return sorted(api_key.name for api_key in answer.context["cl"].result_list)


def act(browser: Client, action: str, *api_keys: APIKey, **confirmation: Any) -> Any:
    selected = [api_key.pk for api_key in api_keys]
    return browser.post(LIST, {"action": action, "_selected_action": selected} | confirmation, follow=True)


def test_a_row_says_state_hint_owner_last_use_and_expiry(browser: Client, issue: Issue) -> None:
    _, raw = issue(name="app", expires_at=timezone.now() + timedelta(days=10, minutes=1))
    KeySecret.objects.update(last_used_at=timezone.now() - timedelta(hours=3))

    row = browser.get(LIST).text

    for part in ("app", "Active", f"mgw_{raw_key.hint(raw)}…", "root", "3\xa0hours ago", "in 1\xa0week"):
        assert part in row
    assert raw not in row and raw[:12] not in row


@pytest.mark.parametrize("term", ["name", "id", "hint", "hint as shown", "owner", "several words"])
def test_search_finds_a_key_by(term: str, browser: Client, issue: Issue, owner: User) -> None:
    issue(name="other")
    api_key, raw = issue(name="wanted one", owner=owner)
    hint = raw_key.hint(raw)
    terms = {"name": "wanted", "id": api_key.public_id, "hint": hint, "hint as shown": f"mgw_{hint}…", "owner": "owner"}
    terms["several words"] = f"one {hint[:5]} owner"

    answer = browser.get(LIST, {"q": terms[term]})

    assert shown(answer) == ["wanted one"]


def test_a_raw_key_in_the_search_finds_its_row_and_is_not_repeated(browser: Client, issue: Issue) -> None:
    issue(name="other")
    _, raw = issue(name="wanted")

    answer = browser.get(LIST, {"q": f" {raw} "}, follow=True)

    assert shown(answer) == ["wanted"]
    assert raw not in answer.text
    assert answer.redirect_chain == [(f"{LIST}?q=mgw_{raw_key.hint(raw)}", 302)]


def test_the_form_finds_a_raw_key_without_a_url_that_holds_it(browser: Client, issue: Issue) -> None:
    issue(name="other")
    _, raw = issue(name="wanted")

    answer = browser.post(FIND, {"raw_key": raw}, follow=True)

    assert shown(answer) == ["wanted"]
    assert raw not in answer.text and raw not in repr(answer.redirect_chain)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda raw: raw_key.generate(), id="a key of nobody"),
        pytest.param(lambda raw: raw[:-1] + ("a" if raw[-1] != "a" else "b"), id="a wrong checksum"),
        pytest.param(lambda raw: raw[:30], id="cut"),
        pytest.param(lambda raw: raw + raw, id="twice"),
        pytest.param(lambda raw: raw.replace("mgw_", "mgw_\N{BLACK CIRCLE}"), id="not ASCII"),
    ],
)
def test_an_unknown_raw_key_finds_nothing_and_is_not_repeated(
    spoil: Callable[[str], str], browser: Client, issue: Issue
) -> None:
    _, raw = issue(name="app")
    pasted = spoil(raw)

    by_form = browser.post(FIND, {"raw_key": pasted}, follow=True)

    assert "No key matches your input." in by_form.text
    assert pasted not in by_form.text and "q=" not in by_form.redirect_chain[-1][0]


def test_an_invalid_raw_key_is_not_repeated_by_the_search(browser: Client, issue: Issue) -> None:
    _, raw = issue(name="app")

    answer = browser.get(LIST, {"q": raw[:40]}, follow=True)

    assert raw[:40] not in answer.text and "No key matches" in answer.text


def test_finding_is_a_post(browser: Client) -> None:
    assert browser.get(FIND).status_code == 405


@pytest.mark.parametrize("action", ["disable_selected", "enable_selected", "revoke_selected"])
def test_an_action_needs_a_confirmation(action: str, browser: Client, issue: Issue) -> None:
    api_key, _ = issue(name="the name of it")
    if action == "enable_selected":
        api_key.disable()
    before = APIKey.objects.values().get()

    answer = act(browser, action, api_key)

    assert APIKey.objects.values().get() == before
    assert "the name of it" in answer.text and "never" in answer.text  # its last use
    assert answer.templates[0].name == "keys/list/confirm_change.html"


def test_disable_and_enable(browser: Client, issue: Issue) -> None:
    api_key, _ = issue()

    act(browser, "disable_selected", api_key, confirmed="yes")
    assert APIKey.objects.get().state == "disabled"
    act(browser, "enable_selected", api_key, confirmed="yes")
    assert APIKey.objects.get().state == "active"

    assert list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True)) == ["Disabled", "Enabled"]


def test_revoking_needs_a_reason_and_cannot_be_undone(browser: Client, issue: Issue) -> None:
    api_key, _ = issue()

    without = act(browser, "revoke_selected", api_key, confirmed="yes", note=" ")
    assert "This field is required." in without.text and APIKey.objects.get().state == "active"
    act(browser, "revoke_selected", api_key, confirmed="yes", note="found in a repository")
    revoked = APIKey.objects.get()
    assert (revoked.state, revoked.revocation_note) == ("revoked", "found in a repository")

    act(browser, "disable_selected", api_key, confirmed="yes")
    enabling = act(browser, "enable_selected", api_key, confirmed="yes")
    assert "0 API keys enabled." in enabling.text
    assert APIKey.objects.values().get() == APIKey.objects.filter(pk=revoked.pk).values().get()
    assert APIKey.objects.get().disabled_at is None


def test_an_action_skips_the_keys_that_it_does_not_apply_to(browser: Client, issue: Issue) -> None:
    one, other, gone = (issue(name=name)[0] for name in ("one", "other", "gone"))
    gone.revoke(note="test")

    asked = act(browser, "disable_selected", one, other, gone)
    done = act(browser, "disable_selected", one, other, gone, confirmed="yes")

    assert "Not changed: gone (revoked)." in asked.text
    assert "2 API keys disabled." in done.text


@pytest.mark.parametrize("action", ["disable_selected", "enable_selected", "revoke_selected"])
def test_an_action_needs_its_own_permission(action: str, browser_of: Callable[..., Client], issue: Issue) -> None:
    others = {
        "disable_selected": "revoke_apikey",
        "enable_selected": "revoke_apikey",
        "revoke_selected": "disable_apikey",
    }
    clerk = browser_of("view_apikey", "change_apikey", "delete_apikey", "issue_apikey", others[action])
    api_key, _ = issue()
    if action == "enable_selected":
        api_key.disable()
    before = APIKey.objects.values().get()

    act(clerk, action, api_key, confirmed="yes", reason="test")

    assert APIKey.objects.values().get() == before
    assert action not in clerk.get(page_of(api_key)).text


def test_the_access_policy_is_edited_and_secrets_are_not(browser: Client, issue: Issue, owner: User) -> None:
    api_key, _ = issue(allowed_models=["claude-3"])
    before = KeySecret.objects.values().get()
    edited = {
        "name": "new",
        "owner_choice": f"user-{owner.pk}",
        "expires_at": "2030-01-02T03:04:05",
        "allowed_models": "a\nb*",
    }
    tampered = {"public_id": "key_x", "digest": "x", "hint": "x", "revoked_at": "2020-01-01", "state": "revoked"}

    answer = browser.post(page_of(api_key), edited | tampered)

    assert answer.status_code == 302
    api_key.refresh_from_db()
    assert (api_key.name, api_key.owner, api_key.allowed_models) == ("new", owner, ["a", "b*"])
    assert f"{api_key.expires_at:%Y-%m-%d %H:%M:%S}" == "2030-01-02 03:04:05"
    assert KeySecret.objects.values().get() == before
    assert api_key.public_id != "key_x" and api_key.state == "active"


def test_removing_the_expiry_of_a_key_needs_a_reason(browser: Client, issue: Issue, owner: User) -> None:
    api_key, _ = issue(expires_at=timezone.now() + timedelta(days=1))
    endless = {"name": "app", "owner_choice": f"user-{owner.pk}", "expires_at": ""}

    refused = browser.post(page_of(api_key), endless)
    assert "Enter why this key never expires." in refused.text and APIKey.objects.get().expires_at is not None
    browser.post(page_of(api_key), endless | {"no_expiry_reason": "no clock"})

    browser.post(page_of(api_key), endless)
    api_key.refresh_from_db()
    assert (api_key.expires_at, api_key.no_expiry_reason) == (None, "no clock")
    assert "no clock" in browser.get(page_of(api_key)).text
    browser.post(page_of(api_key), endless | {"no_expiry_reason": "no clock", "expires_at": "2030-01-02T03:04:05"})
    api_key.refresh_from_db()
    assert api_key.no_expiry_reason == ""


def test_saving_a_key_without_a_change_changes_nothing(browser: Client, issue: Issue) -> None:
    api_key, _ = issue(allowed_models=["a", "b*"], expires_at=timezone.now().replace(microsecond=0) + timedelta(days=1))
    before = APIKey.objects.values().get()
    form = browser.get(page_of(api_key)).context["form"]

    browser.post(
        page_of(api_key),
        {name: form[name].value() or "" for name in form.fields}
        | {"expires_at": f"{api_key.expires_at:%Y-%m-%dT%H:%M:%S}"},
    )

    assert APIKey.objects.values().get() == before
    assert LogEntry.objects.get().get_change_message() == "No fields changed."


def test_the_page_of_a_key_shows_its_secrets_by_hint(browser: Client, issue: Issue) -> None:
    api_key, raw = issue()
    _, second = api_key.secrets.issue()

    page = browser.get(page_of(api_key)).text

    assert f"mgw_{raw_key.hint(raw)}…" in page and f"mgw_{raw_key.hint(second)}…" in page
    assert api_key.public_id in page
    assert raw not in page and KeySecret.objects.first().digest.hex() not in page


def test_an_auditor_reads_and_changes_nothing(browser_of: Callable[..., Client], issue: Issue) -> None:
    auditor = browser_of("view_apikey")
    api_key, _ = issue()

    page = auditor.get(page_of(api_key))

    assert page.status_code == 200
    assert auditor.get(LIST).status_code == 200
    assert auditor.post(page_of(api_key), {"name": "new"}).status_code == 403
    assert 'name="name"' not in page.text and "Revoke …" not in page.text


def test_a_key_without_usage_may_be_deleted(browser: Client, issue: Issue) -> None:
    api_key, _ = issue()

    answer = browser.post(f"{LIST}{api_key.pk}/delete/", {"post": "yes"})

    assert answer.status_code == 302 and not APIKey.objects.exists()


def test_a_key_with_usage_is_never_deleted(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record()
    address = f"{LIST}{recorder.api_key.pk}/delete/"

    assert browser.get(address).status_code == 403
    assert browser.post(address, {"post": "yes"}).status_code == 403
    act(browser, "delete_selected", recorder.api_key, post="yes")
    assert APIKey.objects.get() == recorder.api_key
    assert "deletelink" not in browser.get(page_of(recorder.api_key)).text


def test_hostile_names_are_inert(browser: Client, issue: Issue) -> None:
    hostile = '"><script>alert(1)</script>{{ 7|add:7 }}'
    api_key, _ = issue(name=hostile, allowed_models=['"onmouseover="alert(1)'])
    api_key.revoke(note=hostile)

    for address in (LIST, page_of(api_key), "/admin/", f"{page_of(api_key)[:-7]}history/"):
        page = browser.get(address).text
        assert "<script>alert" not in page and '"onmouseover=' not in page
    assert "<script>alert" not in act(browser, "disable_selected", api_key).text
