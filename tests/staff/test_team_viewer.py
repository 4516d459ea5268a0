"""Team viewer: sees the keys and the usage of its teams, and nothing of others by any URL of the admin."""

import io
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from keys.models import APIKey, Budget, KeyRequest, Team, UsageRecord
from tests.support.admin_urls import address_of, admin_patterns
from tests.support.usage_rows import UsageRecorder

CANARY = "canary"
"""Part of every name of the other team. No query of these tests contains it, since pages repeat what they are asked."""

pytestmark = pytest.mark.django_db


def populate(recorder: UsageRecorder, name: str, owner: User) -> dict[str, Any]:
    """Create a team with keys, budgets, usage of every kind and changes, all with a name."""
    team = Team.objects.create(name=f"{name}-team", email=f"{name}@example.test", purpose=f"{name}-purpose")
    api_key, raw = APIKey.objects.issue(
        name=f"{name}-key",
        purpose=f"{name}-aim",
        team=team,
        created_by=owner,
        allowed_models=[f"{name}-model"],
        metadata={"cost_center": f"{name}-center"},
        expires_at=timezone.now() + timedelta(days=3),
    )
    revoked, _ = APIKey.objects.issue(name=f"{name}-revoked", team=team)
    revoked.revoke(note=f"{name}-note")
    personal, _ = APIKey.objects.issue(name=f"{name}-personal", owner=owner)
    budget = Budget.objects.create(api_key=api_key, amount=1)
    Budget.objects.create(team=team, amount=2_000_000)
    common = {"model": f"{name}-model", "upstream_model": f"{name}-served"}
    about = {"session_id": f"{name}-session", "agent_id": f"{name}-agent", "tags": {"job": f"{name}-tag"}}
    about |= {"user_agent": f"{name}-browser", "client_request_id": f"{name}-request"}
    record = recorder.record(as_key=api_key, message_id=f"msg_{name}", **common, **about)
    recorder.record(as_key=api_key, status="failed", error_type=f"{name}_error", http_status=502, **common)
    recorder.record(as_key=api_key, status="started", **about)
    recorder.record(as_key=api_key, status="rejected", model=f"{name}-model")
    recorder.record(as_key=personal, **common)
    asked = KeyRequest(kind="key", name=f"{name}-asked", team=team, reason=f"{name}-reason", token=name)
    asked.requested_by, asked.expires_in_days, asked.note = owner, 30, f"{name}-note"
    asked.save()
    return {
        "keys.keyrequest": asked,
        "keys.apikey": api_key,
        "keys.team": team,
        "keys.budget": budget,
        "keys.usagerecord": record,
        "auth.user": owner,
        "raw": raw,
        "personal": personal,
    }


@pytest.fixture
def other(objects: dict[str, Any], recorder: UsageRecorder) -> dict[str, Any]:
    """Rows of the other team; and of tables without teams, one row each."""
    owner = User.objects.create_user(f"{CANARY}-owner", email=f"{CANARY}-owner@example.test", is_staff=True)
    return objects | populate(recorder, CANARY, owner)


@pytest.fixture
def own(other: dict[str, Any], recorder: UsageRecorder) -> dict[str, Any]:
    owner = User.objects.create_user("own-owner", is_staff=True)
    found = populate(recorder, "own", owner)
    User.objects.create_user("viewer", is_staff=True, email="viewer@example.test").teams.add(found["keys.team"])
    return other | found


def sign_in(settings: Any, *permissions: str) -> Client:
    """Sign in the member of the own team as a team viewer, or with permissions instead of the role."""
    settings.ADMIN_TWO_FACTOR = "optional"
    user = User.objects.get(username="viewer")
    if permissions:
        user.user_permissions.set(Permission.objects.exclude(codename="view_all_teams"))
    else:
        user.groups.add(Group.objects.get(name="Team viewer"))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


@pytest.fixture
def viewer(own: dict[str, Any], settings: Any) -> Client:
    return sign_in(settings)


def text_of(answer: Any) -> str:
    """Return what a response says: its headers, and its body, unpacked if it is a spreadsheet."""
    body = b"".join(answer) if answer.streaming else answer.content
    if body.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(body)) as parts:
            body = b"".join(parts.read(name) for name in parts.namelist())
    return f"{dict(answer.headers)} {body.decode(errors='replace')}"


def addresses(rows: dict[str, Any]) -> Iterator[str]:
    """Yield every URL of the admin, with the rows in its path."""
    for name in sorted({name for _, name in admin_patterns() if name} - {"logout", "app_list"}):
        yield address_of(name, rows)
    for app_label in {model._meta.app_label for model in django_admin.site._registry}:
        yield f"/admin/{app_label}/"


def questions(rows: dict[str, Any]) -> list[str]:
    """Return queries that name the rows of the other team by their IDs, and its texts by parts of them."""
    api_key, team, owner, record = rows["keys.apikey"], rows["keys.team"], rows["auth.user"], rows["keys.usagerecord"]
    hint = api_key.secrets.get().hint
    ranged = "range=7d&from=2026-01-01&to=2036-01-01&time=month&period=7d"
    groups = [f"group={a}&group={b}" for a, b in (("team", "key"), ("owner", "model"), ("session", "agent"))]
    groups += ["group=error_type", "group=tag.job", "group=upstream_model", "group=outcome&compare=1"]
    return [
        "",
        *(f"{ranged}&{group}" for group in groups),
        f"{ranged}&team={team.pk}&group=key",
        f"{ranged}&team={team.pk}&team=0&not_team=1&group=team",
        f"{ranged}&key={api_key.public_id}&group=key",
        f"{ranged}&owner={owner.pk}&group=owner",
        f"{ranged}&id={record.pk}",
        f"api_key__public_id={api_key.public_id}&time=month",
        f"api_key__id__exact={api_key.pk}",
        f"team__id__exact={team.pk}",
        f"owner__id__exact={owner.pk}",
        f"q={record.pk}",
        f"q=mgw_{hint}",
        "q=anary",
        "team=anary-team",
        "model=anary*",
        "_facets=True",
        f"_to_field=id&_popup=1&object={team.pk}",
        f"app_label=keys&model_name=apikey&field_name=team&term={CANARY[:5]}",
        f"app_label=keys&model_name=apikey&field_name=owner&term={CANARY[:5]}",
        f"app_label=keys&model_name=usagerecord&field_name=api_key&term={CANARY[:5]}",
        f"app_label=keys&model_name=team&field_name=members&term={CANARY[:5]}",
    ]


def disclosures(client: Client, rows: dict[str, Any]) -> list[str]:
    """Return the URLs that disclose a text of the other team, or fail. Pages that open are asked every question."""
    found = []
    for address in addresses(rows):
        for query in questions(rows):
            answer = client.get(f"{address}?{query}")
            if CANARY in text_of(answer) or answer.status_code >= 500:
                found.append(f"{answer.status_code} {address}?{query}")
            if answer.status_code in (403, 404, 405):
                break
    return found


def test_no_url_discloses_another_team(viewer: Client, other: dict[str, Any]) -> None:
    assert disclosures(viewer, other) == []


def test_no_url_with_rows_of_the_own_team_discloses_another_team(viewer: Client, own: dict[str, Any]) -> None:
    rows = own | {"keys.usagerecord": UsageRecord.objects.filter(team=own["keys.team"], error_type="own_error").get()}

    assert [each for address in addresses(rows) if CANARY in (each := text_of(viewer.get(address)))] == []


def test_a_user_with_every_other_permission_sees_no_other_team_either(
    own: dict[str, Any], other: dict[str, Any], settings: Any
) -> None:
    assert disclosures(sign_in(settings, "all but all teams"), other) == []


def test_no_form_discloses_or_changes_another_team(viewer: Client, other: dict[str, Any]) -> None:
    api_key, team = other["keys.apikey"], other["keys.team"]
    fields = {
        "_selected_action": [api_key.pk, team.pk, other["personal"].pk],
        "select_across": "1",
        "raw_key": other["raw"],
        "confirmed": "yes",
        "post": "yes",
        "owner_choice": f"team-{team.pk}",
        "name": "forged",
    }
    for address in addresses(other):
        for action in ("export_selected", "revoke_selected", "disable_selected", "delete_selected"):
            for selection in ({}, {"select_across": "0"}):
                answer = viewer.post(address, fields | {"action": action} | selection)
                assert CANARY not in text_of(answer), (address, action)
                assert answer.status_code < 500, (address, action)

    api_key.refresh_from_db()
    team.refresh_from_db()
    assert api_key.state == "active" and team.state == "active"


def test_the_own_team_is_shown(viewer: Client, own: dict[str, Any]) -> None:
    api_key, record = own["keys.apikey"], own["keys.usagerecord"]
    pages = {
        "/admin/": "own_error",
        "/admin/hygiene/": "own-key",
        "/admin/keys/apikey/": f"mgw_{api_key.secrets.get().hint}",
        reverse("admin:keys_apikey_change", args=[api_key.pk]): "own-center",
        "/admin/keys/team/": "own-team",
        reverse("admin:keys_team_usage", args=[own["keys.team"].pk]): "own-model",
        "/admin/keys/keyrequest/": "own-asked",
        reverse("admin:keys_keyrequest_change", args=[own["keys.keyrequest"].pk]): "own-reason",
        "/admin/keys/keyrequest/add/": "own-team",
        reverse("admin:keys_team_change", args=[own["keys.team"].pk]): "own-purpose",
        "/admin/keys/usagerecord/": f"/{quote(record.pk)}/change/",
        reverse("admin:keys_usagerecord_change", args=[record.pk]): "own-session",
    }

    for address, text in pages.items():
        assert text in viewer.get(address).text, address


def test_an_exported_list_has_the_keys_of_the_own_team(viewer: Client, own: dict[str, Any]) -> None:
    ids = list(APIKey.objects.values_list("pk", flat=True))

    exported = text_of(viewer.post("/admin/keys/apikey/", {"action": "export_selected", "_selected_action": ids}))

    assert "own-key" in exported and "own-revoked" in exported and "own-personal" not in exported


def test_a_page_of_a_key_has_no_buttons_and_no_history(viewer: Client, own: dict[str, Any]) -> None:
    page = viewer.get(reverse("admin:keys_apikey_change", args=[own["keys.apikey"].pk])).text

    for text in ('id="changes"', "Rotate …", "Revoke …", "Edit key", "/history/"):
        assert text not in page, text


def test_a_key_that_moved_leaves_its_usage_behind(viewer: Client, own: dict[str, Any], other: dict[str, Any]) -> None:
    """The usage in the other team is neither on the page of the key nor in the list, and its history is hidden."""
    moved = other["keys.apikey"]
    moved.team, moved.name, moved.purpose, moved.metadata, moved.allowed_models = own["keys.team"], "moved", "", {}, []
    moved.save()

    page = viewer.get(reverse("admin:keys_apikey_change", args=[moved.pk])).text
    listed = viewer.get("/admin/keys/apikey/?q=moved").text

    assert CANARY not in f"{page} {listed}".replace(f"{CANARY}-owner", "")  # who issued the key
    assert "Requests per day, today last: 0, 0, 0, 0, 0, 0, 0" in listed


def test_a_former_member_sees_nothing(viewer: Client, own: dict[str, Any]) -> None:
    own["keys.team"].members.clear()

    assert viewer.get(reverse("admin:keys_apikey_change", args=[own["keys.apikey"].pk])).status_code == 404
    assert "own-" not in viewer.get("/admin/keys/apikey/").text


def test_a_full_key_of_another_team_is_not_found(viewer: Client, own: dict[str, Any], other: dict[str, Any]) -> None:
    def find(raw: str) -> str:
        return str(viewer.post("/admin/keys/apikey/find/", {"raw_key": raw})["Location"])

    assert "?q=" in find(own["raw"])
    assert "?q=" not in find(other["raw"])
