"""Key requests: asking, deciding, revealing once, their limits, and forged and concurrent requests."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import Group, User
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from keys.domain import raw_key
from keys.key_requests import workflow
from keys.key_requests.workflow import Conflict
from keys.models import APIKey, Budget, KeyRequest, KeySecret, Notification, Team
from tests.support.largest_form import largest_form

pytestmark = pytest.mark.django_db

ADD = "/admin/keys/keyrequest/add/"
State = KeyRequest.RequestState


@pytest.fixture
def crew() -> Team:
    return Team.objects.create(name="crew", requests_per_minute=100)


def client_for(name: str, role: str, *teams: Team) -> Client:
    user = User.objects.create_user(name, is_staff=True, email=f"{name}@example.test")
    user.groups.add(Group.objects.get(name=role))
    user.teams.add(*teams)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def ann(crew: Team, settings: Any) -> Client:
    """Return the test client of a team viewer."""
    settings.ADMIN_TWO_FACTOR = "optional"
    return client_for("ann", "Team viewer", crew)


@pytest.fixture
def manager(settings: Any, db: None) -> Client:
    settings.ADMIN_TWO_FACTOR = "optional"
    return client_for("manager", "Key manager")


def asked(team: Team, /, **fields: Any) -> dict[str, Any]:
    return {"team": team.pk, "name": "app", "reason": "nightly job", "expires_in_days": "30", "token": "t1"} | fields


def ask(client: Client, team: Team, **fields: Any) -> KeyRequest:
    answer = client.post(ADD, asked(team, **fields))
    assert answer.status_code == 302, answer.context["form"].errors
    return KeyRequest.objects.latest("pk")


def url(key_request: KeyRequest) -> str:
    return f"/admin/keys/keyrequest/{key_request.pk}/change/"


def decide(client: Client, key_request: KeyRequest, button: str, **fields: Any) -> Any:
    form = largest_form(client.get(url(key_request)).text)
    return client.post(url(key_request), form | fields | {button: "yes"})


def state_of(key_request: KeyRequest) -> str:
    return KeyRequest.objects.get(pk=key_request.pk).state


def test_a_key_is_asked_for_approved_with_adjusted_values_and_revealed_once(
    ann: Client, manager: Client, crew: Team
) -> None:
    key_request = ask(ann, crew, requests_per_minute="90", budget_amount="50", allowed_models="claude-*")

    assert decide(manager, key_request, "approve", requests_per_minute="60", note="60 is enough").status_code == 302
    assert not APIKey.objects.exists() and "Show the key" in ann.get(url(key_request)).text
    shown = ann.post(url(key_request), {"reveal": "yes"})

    api_key = APIKey.objects.get()
    raw = shown.context["raw"]
    assert shown.status_code == 200 and raw in shown.text and "no-store" in shown["Cache-Control"]
    assert APIKey.objects.with_raw_key(raw).get() == api_key
    assert (api_key.team, api_key.name, api_key.purpose, api_key.requests_per_minute, api_key.allowed_models) == (
        crew,
        "app",
        "nightly job",
        60,
        ["claude-*"],
    )
    assert api_key.created_by == User.objects.get(username="manager")
    assert timedelta(days=29) < api_key.expires_at - timezone.now() <= timedelta(days=30)
    assert [(each.amount, each.period, each.unit) for each in api_key.budgets.all()] == [(50_000_000, "month", "usd")]
    again = ann.post(url(key_request), {"reveal": "yes"})
    assert again.status_code == 409 and "cannot be shown again" in again.text
    assert raw_key.PREFIX + "" not in again.text.replace(str(api_key.secrets.get()), "")
    assert KeySecret.objects.count() == 1


def test_no_secret_is_stored_before_or_after_the_reveal(ann: Client, manager: Client, crew: Team) -> None:
    key_request = ask(ann, crew)
    decide(manager, key_request, "approve")
    raw = ann.post(url(key_request), {"reveal": "yes"}).context["raw"]

    stored = repr([list(model.objects.values()) for model in (KeyRequest, Notification, LogEntry, APIKey, KeySecret)])
    assert raw not in stored and raw.removeprefix(raw_key.PREFIX)[:12] not in stored


def test_both_sides_are_notified(ann: Client, manager: Client, crew: Team) -> None:
    key_request = ask(ann, crew, reason="line\x07 one")
    decide(manager, key_request, "decline", note="use the shared key")

    first, second = Notification.objects.order_by("pk")
    assert first.recipients == ["manager@example.test"] and "line? one" in first.text
    assert second.recipients == ["ann@example.test"] and "use the shared key" in second.text
    assert [first.data["state"], second.data["state"]] == ["pending", "declined"]


def test_an_increase_takes_effect_when_it_is_approved(ann: Client, manager: Client, crew: Team) -> None:
    api_key, _ = APIKey.objects.issue(name="app", team=crew, requests_per_minute=10)
    budget = Budget.objects.create(api_key=api_key, amount=1_000_000)
    fields = {"requests_per_minute": "50", "budget": budget.pk, "budget_amount": "5", "reason": "more", "token": "t"}

    assert ann.post(f"/admin/keys/apikey/{api_key.pk}/request-increase/", fields).status_code == 302
    key_request = KeyRequest.objects.get()
    assert decide(manager, key_request, "approve", requests_per_minute="40").status_code == 302

    api_key.refresh_from_db()
    budget.refresh_from_db()
    assert (api_key.requests_per_minute, budget.amount, state_of(key_request)) == (40, 5_000_000, State.APPROVED)
    changes = LogEntry.objects.get_for_object(api_key).filter(action=LogEntry.Action.UPDATE).get()
    assert changes.changes == {"requests_per_minute": [10, 40]}


@pytest.mark.parametrize(
    "fields, error",
    [
        ({"requests_per_minute": "101"}, "100 requests per minute"),
        ({"requests_per_minute": "0"}, "greater than or equal to 1"),
        ({"name": ""}, "required"),
        ({"name": "mgw_" + "a" * 46}, "Remove the API key"),
        ({"reason": "x" * 501}, "at most 500"),
        ({"reason": ""}, "required"),
        ({"expires_in_days": "100000"}, "valid choice"),
        ({"team": "0"}, "valid choice"),
        ({"team": "x"}, "valid choice"),
        ({"team": ""}, "required"),
        ({"budget_amount": "-1"}, "Enter"),
        ({"budget_amount": "9" * 20}, "Enter"),
        ({"token": ""}, "required"),
    ],
)
def test_bad_input_is_reported(fields: dict[str, str], error: str, ann: Client, crew: Team) -> None:
    answer = ann.post(ADD, asked(crew, **fields))

    assert answer.status_code == 200 and error in str(answer.context["form"].errors)
    assert not KeyRequest.objects.exists()


def test_values_over_the_ceiling_of_the_team_are_not_approved(ann: Client, manager: Client, crew: Team) -> None:
    key_request = ask(ann, crew)

    answer = decide(manager, key_request, "approve", requests_per_minute="101")

    assert "100 requests per minute" in answer.text and state_of(key_request) == State.PENDING


def test_another_team_and_its_keys_cannot_be_named(ann: Client, manager: Client, crew: Team) -> None:
    other = Team.objects.create(name="canary")
    theirs, _ = APIKey.objects.issue(name="canary key", team=other, requests_per_minute=1)
    foreign = ask(client_for("eve", "Team viewer", other), other, token="t2")
    decide(manager, foreign, "approve")

    assert "valid choice" in str(ann.post(ADD, asked(other)).context["form"].errors)
    assert "canary" not in ann.get(ADD).text
    for address in (f"/admin/keys/apikey/{theirs.pk}/request-increase/", url(foreign)):
        for button in ({}, {"reveal": "yes"}, {"withdraw": "yes"}, {"approve": "yes"}, {"decline": "yes"}):
            answer = ann.post(address, button | {"requests_per_minute": "5", "reason": "x", "token": "t3"})
            assert answer.status_code == 404 and "canary" not in answer.text
    assert KeyRequest.objects.count() == 1 and APIKey.objects.count() == 1


def test_a_budget_of_another_key_cannot_be_named(ann: Client, crew: Team) -> None:
    api_key, _ = APIKey.objects.issue(name="app", team=crew)
    sibling, _ = APIKey.objects.issue(name="sibling", team=crew)
    Budget.objects.create(api_key=api_key, amount=1)
    forged = Budget.objects.create(api_key=sibling, amount=1)

    fields = {"budget": forged.pk, "budget_amount": "5", "reason": "more", "token": "t"}
    answer = ann.post(f"/admin/keys/apikey/{api_key.pk}/request-increase/", fields)

    assert "valid choice" in str(answer.context["form"].errors)


def test_a_colleague_sees_the_request_and_neither_reveals_nor_withdraws_it(
    ann: Client, manager: Client, crew: Team
) -> None:
    key_request = ask(ann, crew)
    colleague = client_for("bob", "Team viewer", crew)

    assert colleague.post(url(key_request), {"withdraw": "yes"}).status_code == 403
    assert colleague.post(url(key_request), {"approve": "yes"}).status_code == 403
    decide(manager, key_request, "approve")
    assert "Show the key" not in colleague.get(url(key_request)).text
    for client in (colleague, manager):
        assert client.post(url(key_request), {"reveal": "yes"}).status_code == 403
    assert not APIKey.objects.exists()


def test_a_member_does_not_decide_its_own_request(ann: Client, crew: Team) -> None:
    key_request = ask(ann, crew)

    assert ann.post(url(key_request), {"approve": "yes"}).status_code == 403
    assert "Approve" not in ann.get(url(key_request)).text and state_of(key_request) == State.PENDING


def test_a_form_that_is_sent_twice_asks_once(ann: Client, crew: Team) -> None:
    first, second = ann.post(ADD, asked(crew)), ann.post(ADD, asked(crew))

    assert first["Location"] == second["Location"]
    assert KeyRequest.objects.count() == Notification.objects.count() == 1


def test_the_number_of_pending_requests_is_limited(ann: Client, crew: Team) -> None:
    for number in range(workflow.MAX_PENDING):
        ask(ann, crew, token=f"t{number}")

    answer = ann.post(ADD, asked(crew, token="more"))

    assert "wait for a decision" in answer.text and KeyRequest.objects.count() == workflow.MAX_PENDING


def test_asking_and_withdrawing_over_and_over_sends_no_flood(ann: Client, crew: Team) -> None:
    for number in range(workflow.MAX_PER_DAY):
        ann.post(url(ask(ann, crew, token=f"t{number}")), {"withdraw": "yes"})

    answer = ann.post(ADD, asked(crew, token="more"))

    assert "Try again tomorrow" in answer.text and Notification.objects.count() == workflow.MAX_PER_DAY


def test_a_withdrawn_and_a_declined_request_is_closed(ann: Client, manager: Client, crew: Team) -> None:
    withdrawn, declined = ask(ann, crew), ask(ann, crew, token="t2")
    assert ann.post(url(withdrawn), {"withdraw": "yes"}).status_code == 302
    assert decide(manager, declined, "decline").status_code == 302

    for key_request, state in ((withdrawn, State.WITHDRAWN), (declined, State.DECLINED)):
        assert manager.post(url(key_request), {"approve": "yes", "name": "x"}).status_code == 409
        assert ann.post(url(key_request), {"reveal": "yes"}).status_code == 409
        assert ann.post(url(key_request), {"withdraw": "yes"}).status_code == 409
        assert state_of(key_request) == state


def test_an_approval_that_was_not_used_expires(ann: Client, manager: Client, crew: Team) -> None:
    key_request = ask(ann, crew)
    decide(manager, key_request, "approve")
    KeyRequest.objects.update(reveal_before=timezone.now())

    page = ann.get(url(key_request)).text
    answer = ann.post(url(key_request), {"reveal": "yes"})

    assert "Show the key" not in page and "Expired" in page
    assert answer.status_code == 409 and not APIKey.objects.exists()


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda team: team.disable(), "is disabled"),
        (lambda team: team.members.clear(), ""),
        (lambda team: Team.objects.filter(pk=team.pk).update(requests_per_minute=5), "does not allow this key"),
        (lambda team: team.delete(), ""),
    ],
)
def test_no_key_is_revealed_after_the_team_has_changed(
    change: Callable[[Team], Any], text: str, ann: Client, manager: Client, crew: Team
) -> None:
    key_request = ask(ann, crew, requests_per_minute="90")
    decide(manager, key_request, "approve")
    change(crew)

    answer = ann.post(url(key_request), {"reveal": "yes"})

    assert answer.status_code == (409 if text else 404) and text in answer.text
    assert not APIKey.objects.exists() and state_of(key_request) == State.APPROVED


@pytest.mark.parametrize("change", ["revoke", "disable team", "move", "delete budget"])
def test_no_increase_is_approved_for_a_key_that_has_changed(
    change: str, ann: Client, manager: Client, crew: Team
) -> None:
    api_key, _ = APIKey.objects.issue(name="app", team=crew, requests_per_minute=10)
    budget = Budget.objects.create(api_key=api_key, amount=1)
    fields = {"budget": budget.pk, "budget_amount": "5", "reason": "more", "token": "t"}
    ann.post(f"/admin/keys/apikey/{api_key.pk}/request-increase/", fields)
    key_request = KeyRequest.objects.get()
    form = largest_form(manager.get(url(key_request)).text)
    if change == "revoke":
        api_key.revoke()
    elif change == "disable team":
        crew.disable()
    elif change == "move":
        api_key.team = Team.objects.create(name="other")
        api_key.save()
    else:
        budget.delete()

    manager.post(url(key_request), form | {"approve": "yes"})

    assert state_of(key_request) == State.PENDING
    assert not Budget.objects.filter(amount=5_000_000).exists()


def test_a_user_with_a_scope_decides_nothing(crew: Team, settings: Any, ann: Client) -> None:
    """Also with the permission to issue keys: an approval would be its own."""
    from django.contrib.auth.models import Permission

    key_request = ask(ann, crew)
    User.objects.get(username="ann").user_permissions.set(Permission.objects.exclude(codename="view_all_teams"))

    assert ann.post(url(key_request), {"approve": "yes"}).status_code == 403


def test_requests_need_attention_until_they_are_decided_and_shown(ann: Client, manager: Client, crew: Team) -> None:
    key_request = ask(ann, crew)
    assert "1 key request waits for a decision" in manager.get("/admin/").text
    assert "for a decision" not in ann.get("/admin/").text

    decide(manager, key_request, "approve")
    assert "for a decision" not in manager.get("/admin/").text
    assert "Your key app is approved" in ann.get("/admin/").text

    ann.post(url(key_request), {"reveal": "yes"})
    assert "Your key app is approved" not in ann.get("/admin/").text


def test_every_step_is_audited(ann: Client, manager: Client, crew: Team) -> None:
    key_request = ask(ann, crew)
    decide(manager, key_request, "approve")
    ann.post(url(key_request), {"reveal": "yes"})

    entries = LogEntry.objects.get_for_object(key_request).order_by("pk")
    states = [(each.additional_data["actor"], (each.changes or {}).get("state")) for each in entries]
    assert states == [
        ("ann", [None, "pending"]),
        ("manager", ["pending", "approved"]),
        ("ann", ["approved", "revealed"]),
    ]


def test_hostile_texts_are_inert(ann: Client, manager: Client, crew: Team) -> None:
    hostile = "<script>alert(1)</script>"
    key_request = ask(ann, crew, name=hostile, reason=hostile)

    for client in (ann, manager):
        for address in (url(key_request), "/admin/keys/keyrequest/"):
            assert hostile not in client.get(address).text


# ---- At the same time.


def concurrently(*actions: Callable[[], Any]) -> list[Any]:
    """Run actions in threads that start together. Return what each returned or raised."""
    barrier = threading.Barrier(len(actions))
    results: list[Any] = [None] * len(actions)

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = actions[index]()
        except Exception as error:
            results[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.mark.django_db(transaction=True)
def test_of_two_concurrent_approvals_one_is_a_conflict() -> None:
    assert connection.in_atomic_block is False
    crew, users = Team.objects.create(name="crew"), [User.objects.create_user(name) for name in ("ann", "m1", "m2")]
    key_request = KeyRequest(kind="key", team=crew, requested_by=users[0], name="app", reason="x", token="t")
    key_request.expires_in_days = 30
    workflow.ask(key_request)

    results = concurrently(
        *(lambda by=by: workflow.approve(key_request.pk, by=by, values={}, note="") for by in users[1:]),
    )

    assert sorted(type(each).__name__ for each in results) == ["Conflict", "KeyRequest"]
    assert Notification.objects.filter(dedup_key__endswith="decided").count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_concurrent_reveals_one_is_a_conflict() -> None:
    crew, ann = Team.objects.create(name="crew"), User.objects.create_user("ann")
    crew.members.add(ann)
    key_request = KeyRequest(kind="key", team=crew, requested_by=ann, name="app", reason="x", token="t")
    key_request.expires_in_days = 30
    workflow.ask(key_request)
    workflow.approve(key_request.pk, by=ann, values={}, note="")

    results = concurrently(*[lambda: workflow.reveal(key_request.pk, by=User.objects.get(pk=ann.pk))] * 2)

    assert sorted(isinstance(each, Conflict) for each in results) == [False, True]
    assert APIKey.objects.count() == 1
