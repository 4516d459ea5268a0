"""Disabling, enabling and revoking one key, and the temporary increase of its budget."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from keys.budgets.status import for_budgets
from keys.models import APIKey, Budget, Team
from lib import money
from tests.support.usage_rows import UsageRecorder

Issue = Callable[..., tuple[APIKey, str]]


def address_of(api_key: APIKey, change: str, *more: object) -> str:
    return reverse(f"admin:keys_apikey_{change}", args=[api_key.pk, *more])


def revoking(**fields: str) -> dict[str, str]:
    return {"reason": "unused", "note": "", "typed_name": "app"} | fields


# ---- state


@pytest.mark.parametrize("change", ["disable", "enable", "revoke"])
def test_a_change_needs_a_confirmation(change: str, browser: Client, issue: Issue) -> None:
    api_key, _ = issue()
    if change == "enable":
        api_key.disable()
    before = APIKey.objects.values().get()

    page = browser.get(address_of(api_key, change))

    assert page.status_code == 200 and "within 0 seconds" in page.text and "never" in page.text
    assert APIKey.objects.values().get() == before


def test_disabling_and_enabling_redirect_to_the_key(browser: Client, issue: Issue) -> None:
    api_key, _ = issue()

    disabled = browser.post(address_of(api_key, "disable"), follow=True)
    assert APIKey.objects.get().state == "disabled"
    enabled = browser.post(address_of(api_key, "enable"), follow=True)

    assert APIKey.objects.get().state == "active"
    assert disabled.redirect_chain == enabled.redirect_chain == [(address_of(api_key, "change"), 302)]
    assert "The key app is disabled." in disabled.text and "The key app is enabled." in enabled.text
    assert list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True)) == ["Disabled", "Enabled"]


@pytest.mark.parametrize(
    ("answer", "reason", "note"),
    [
        (revoking(), "unused", ""),
        (revoking(reason="other", note="we moved"), "other", "we moved"),
        (revoking(reason="compromised", note="on GitHub"), "compromised", "on GitHub"),
    ],
)
def test_a_key_is_revoked_with_a_reason(
    answer: dict[str, str], reason: str, note: str, browser: Client, issue: Issue
) -> None:
    api_key, _ = issue()

    browser.post(address_of(api_key, "revoke"), answer)

    api_key.refresh_from_db()
    assert (api_key.state, api_key.revocation_reason, api_key.revocation_note) == ("revoked", reason, note)


def test_a_name_that_cannot_be_typed_is_confirmed_by_id(browser: Client, issue: Issue) -> None:
    api_key, _ = issue(name="\N{RIGHT-TO-LEFT OVERRIDE}app ")

    browser.post(address_of(api_key, "revoke"), revoking(typed_name=api_key.public_id))

    assert APIKey.objects.get().state == "revoked"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"typed_name": ""}, "typed_name"),
        ({"typed_name": "App"}, "typed_name"),
        ({"reason": ""}, "reason"),
        ({"reason": "boredom"}, "reason"),
        ({"reason": "other", "note": " "}, "note"),
        ({"note": "x" * 201}, "note"),
        ({"note": "it was mgw_0123456789abcdef"}, "note"),
    ],
)
def test_an_invalid_confirmation_revokes_nothing(
    wrong: dict[str, str], field: str, browser: Client, issue: Issue
) -> None:
    api_key, _ = issue()

    answer = browser.post(address_of(api_key, "revoke"), revoking() | wrong)

    assert list(answer.context["form"].errors) == [field]
    assert APIKey.objects.get().state == "active"


def test_the_confirmation_shows_consequences_and_recent_requests(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record(created_at=timezone.now() - timedelta(minutes=59))
    recorder.record(created_at=timezone.now() - timedelta(minutes=61))

    page = browser.get(address_of(recorder.api_key, "revoke"))

    assert page.context["requests"] == "1" and "59\xa0minutes ago" in page.text
    assert "In-flight streams continue unless" in page.text and "within 15 seconds" in page.text
    assert "Revoking cannot be undone. Usage history is kept." in page.text


def test_the_count_of_recent_requests_is_capped(
    browser: Client, recorder: UsageRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keys.reports.key_activity.COUNTED_REQUESTS", 2)
    monkeypatch.setattr("keys.pages.change_state.COUNTED_REQUESTS", 2)
    for _ in range(3):
        recorder.record()

    assert browser.get(address_of(recorder.api_key, "disable")).context["requests"] == "more than 2"


@pytest.mark.parametrize("change", ["disable", "enable", "revoke"])
def test_a_change_that_does_not_apply_does_nothing(change: str, browser: Client, issue: Issue) -> None:
    api_key, _ = issue()
    if change != "enable":
        api_key.revoke(note="first")
    before = APIKey.objects.values().get()

    answer = browser.post(address_of(api_key, change), revoking(), follow=True)

    assert APIKey.objects.values().get() == before
    if change == "enable":
        assert "Nothing to change. State of this key: active." in answer.text


@pytest.mark.parametrize("change", ["disable", "enable", "revoke"])
def test_a_change_needs_its_own_permission(change: str, browser_of: Callable[..., Client], issue: Issue) -> None:
    other = "disable_apikey" if change == "revoke" else "revoke_apikey"
    clerk = browser_of("view_apikey", "change_apikey", "issue_apikey", "rotate_apikey", "delete_apikey", other)
    api_key, _ = issue()
    if change == "enable":
        api_key.disable()
    before = APIKey.objects.values().get()

    assert clerk.get(address_of(api_key, change)).status_code == 403
    assert clerk.post(address_of(api_key, change), revoking()).status_code == 403
    assert APIKey.objects.values().get() == before
    assert f"/{change}/" not in clerk.get(address_of(api_key, "change")).text


def test_several_keys_are_revoked_with_a_reason(browser: Client, issue: Issue) -> None:
    keys = [issue(name=name)[0] for name in ("one", "other")]
    confirmation = {"confirmed": "yes", "reason": "compromised", "note": "on GitHub"}

    browser.post(
        "/admin/keys/apikey/",
        {"action": "revoke_selected", "_selected_action": [key.pk for key in keys]} | confirmation,
    )

    assert set(APIKey.objects.values_list("revocation_reason", "revocation_note")) == {("compromised", "on GitHub")}


# ---- temporary increase


@pytest.fixture
def budget(issue: Issue) -> Budget:
    return Budget.objects.create(api_key=issue()[0], amount=20_000_000, period="month")


def raising(**fields: str) -> dict[str, str]:
    until = timezone.now() + timedelta(hours=3)
    return {"temporary_increase": "10.50", "until": f"{until:%Y-%m-%dT%H:%M}"} | fields


def test_a_temporary_increase_is_set_and_ended(browser: Client, budget: Budget) -> None:
    assert budget.api_key is not None
    address = address_of(budget.api_key, "temporary_increase", budget.pk)

    raised = browser.post(address, raising(), follow=True)

    assert for_budgets([Budget.objects.get()])[0].limit == money.picos(30_500_000)
    assert "The budget is $30.50 until" in raised.text and "$20.00, plus $10.50" in raised.text
    assert "Change increase …" in raised.text and "End increase now" in browser.get(address).text

    browser.post(address, {"end": "yes"})

    assert for_budgets([Budget.objects.get()])[0].limit == money.picos(20_000_000)
    assert LogEntry.objects.filter(object_id=budget.api_key.pk).count() == 2


def test_a_budget_in_tokens_is_increased_in_tokens(browser: Client, budget: Budget) -> None:
    Budget.objects.update(unit="tokens", amount=1000)
    assert budget.api_key is not None

    browser.post(address_of(budget.api_key, "temporary_increase", budget.pk), raising(temporary_increase="500"))

    assert Budget.objects.get().temporary_increase == 500


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"temporary_increase": "0"}, "temporary_increase"),
        ({"temporary_increase": "-5"}, "temporary_increase"),
        ({"temporary_increase": "0.0000001"}, "temporary_increase"),
        ({"temporary_increase": "99999999999"}, "temporary_increase"),
        ({"temporary_increase": "181"}, "temporary_increase"),
        ({"until": ""}, "until"),
        ({"until": "2001-01-01T00:00"}, "until"),
        ({"until": "9999-12-31T00:00"}, "until"),
    ],
)
def test_an_invalid_increase_changes_nothing(
    wrong: dict[str, str], field: str, browser: Client, budget: Budget
) -> None:
    team = Team.objects.create(name="Search")
    Budget.objects.create(team=team, amount=200_000_000, period="month")
    APIKey.objects.update(owner=None, team=team)
    assert budget.api_key is not None

    answer = browser.post(address_of(budget.api_key, "temporary_increase", budget.pk), raising(**wrong))

    assert list(answer.context["form"].errors) == [field]
    assert Budget.objects.get(pk=budget.pk).temporary_increase == 0


def test_an_increase_needs_the_permission_to_change_budgets(
    browser_of: Callable[..., Client], budget: Budget, issue: Issue
) -> None:
    assert budget.api_key is not None
    address = address_of(budget.api_key, "temporary_increase", budget.pk)
    clerk = browser_of("view_apikey", "change_apikey", "issue_apikey")

    assert clerk.get(address).status_code == 403 and clerk.post(address, raising()).status_code == 403
    assert "Raise for now" not in clerk.get(address_of(budget.api_key, "change")).text
    assert Budget.objects.get().temporary_increase == 0


def test_a_budget_is_increased_at_its_own_key_only(browser: Client, budget: Budget, issue: Issue) -> None:
    assert browser.get(address_of(issue()[0], "temporary_increase", budget.pk)).status_code == 404


def test_hostile_names_are_inert_on_every_page(browser: Client, budget: Budget) -> None:
    hostile = '"><script>alert(1)</script>{{ 7|add:7 }}'
    APIKey.objects.update(name=hostile, purpose=hostile, metadata={"a": hostile}, allowed_models=[hostile])
    api_key: Any = budget.api_key

    for address in [
        *(address_of(api_key, name) for name in ("change", "rotate", "disable", "revoke")),
        address_of(api_key, "temporary_increase", budget.pk),
    ]:
        assert "<script>alert" not in browser.get(address).text, address
