"""Audit log: every change has an entry with its actor, and no entry has a secret."""

import os
import pwd
import re
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command
from django.db.models.signals import post_save
from django.test import Client
from django.utils import timezone

from audit import log as audit
from audit.log import history_of
from keys.domain import raw_key
from keys.models import APIKey, Budget, ModelPrice, Team
from messages_api.models import Route, RouteTarget, Upstream
from staff import audit_registry
from staff.models import FailedLogin
from tests.support import ROOT
from tests.support.usage_rows import UsageRecorder

LIST = "/admin/staff/auditentry/"
CURRENT_USER = f"command line ({pwd.getpwuid(os.getuid()).pw_name})"
Issue = Callable[..., tuple[APIKey, str]]


def entries_of(instance: Any) -> list[tuple[str, str, list[str]]]:
    """Return actor, action and changes of each entry, oldest first."""
    return [(entry.actor, entry.action, entry.changes) for entry in reversed(history_of(instance))]


def last_sentences(instance: Any) -> list[str]:
    return history_of(instance)[0].changes


@pytest.fixture
def upstream(db: None) -> Upstream:
    row = Upstream(name="local", dialect="openai", base_url="http://127.0.0.1:9/v1")
    row.set_credential("sk-canary")
    row.save()
    return row


# ---- Actors.


def test_the_actor_of_the_shell_is_the_user_of_the_system(issue: Issue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "another user")
    api_key, _ = issue()

    api_key.disable()

    entry = history_of(api_key)[0]
    assert (entry.actor, entry.action, entry.client_ip) == (CURRENT_USER, "changed", None)
    assert re.fullmatch(r"Disabled at: \d{4}-\d\d-\d\d \d\d:\d\d", entry.changes[0])


def test_the_actor_of_a_command_is_the_user_of_the_system(issue: Issue) -> None:
    api_key, _ = issue()

    call_command("revoke_key", api_key.public_id, note="left the team", stderr=StringIO())

    entry = history_of(api_key)[0]
    assert entry.actor == CURRENT_USER and "Revocation note: left the team" in entry.changes


def test_the_actor_of_a_page_is_the_signed_in_user_with_the_client_ip(
    browser: Client, admin: User, settings: Any
) -> None:
    settings.TRUSTED_PROXIES = ["127.0.0.1"]

    browser.post("/admin/auth/group/add/", {"name": "crew"}, HTTP_X_FORWARDED_FOR="203.0.113.5, 198.51.100.7")

    entry = LogEntry.objects.get(object_repr="crew")
    assert (entry.actor, entry.remote_addr) == (admin, "198.51.100.7")
    assert audit.actor_of(entry) == "root"


def test_the_actor_is_known_after_the_user_was_deleted(browser: Client, admin: User) -> None:
    browser.post("/admin/auth/group/add/", {"name": "crew"})
    entry = LogEntry.objects.get(object_repr="crew")

    admin.delete()

    entry.refresh_from_db()
    assert entry.actor is None and audit.actor_of(entry) == "root"


def test_a_change_after_a_request_is_not_attributed_to_it(browser: Client) -> None:
    browser.get("/admin/")

    team = Team.objects.create(name="crew")

    assert history_of(team)[0].actor == CURRENT_USER


def test_api_requests_skip_the_audit_middleware_and_its_queries(
    client: Client, db: None, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        client.post("/api/v1/messages", "{}", content_type="application/json", headers={"x-api-key": "garbage"})


# ---- Changes.


def test_the_history_of_a_key_includes_its_secrets_and_budgets(issue: Issue, admin: User) -> None:
    api_key, raw = issue(name="app", allowed_models=["claude-*"])
    budget = Budget.objects.create(api_key=api_key, amount=20_000_000)
    api_key.rotate(overlap=timedelta(hours=1))
    budget.amount = 50_000_000
    budget.save()
    budget.delete()
    team = Team.objects.create(name="crew")
    api_key.name, api_key.allowed_models, api_key.owner, api_key.team = "robot", [], None, team
    api_key.save()
    api_key.revoke(reason="compromised", note="found")

    subjects = [entry.subject for entry in reversed(history_of(api_key))]
    sentences = [entry.changes for entry in reversed(history_of(api_key))]
    first, second = (str(secret) for secret in api_key.secrets.all())
    assert subjects == [
        f"API key app ({api_key.public_id})",
        f"key secret {first}",
        "budget US dollars per month",
        f"key secret {first}",
        f"key secret {second}",
        "budget US dollars per month",
        "budget US dollars per month",
        f"API key robot ({api_key.public_id})",
        f"API key robot ({api_key.public_id})",
    ]
    assert sentences[0] == ["Allowed models: claude-*", "Name: app", "Owner: root"]
    assert sentences[3][0].startswith("Expires at: 20")
    assert sentences[5] == ["Amount: 20,000,000 → 50,000,000"]
    assert "Amount: 50,000,000 → none" in sentences[6]
    assert sentences[7] == ["Allowed models: claude-* → none", "Name: app → robot", "Owner: root → none", "Team: crew"]
    assert sentences[8][1] == "Revocation reason: compromised"
    assert raw_key.hint(raw) in first


def test_the_history_of_a_key_has_no_entries_of_another(issue: Issue) -> None:
    mine, _ = issue(name="mine")
    issue(name="other")

    assert {entry.subject.split(" (")[0] for entry in history_of(mine)} == {
        "API key mine",
        f"key secret {mine.secrets.get()}",
    }


def test_the_history_of_a_team_includes_its_budgets(db: None) -> None:
    team = Team.objects.create(name="crew")

    Budget.objects.create(team=team, amount=1, unit="tokens", period="day")

    assert [entry.subject for entry in history_of(team)] == ["budget tokens per day", "team crew"]


def test_the_history_of_a_route_includes_its_targets(upstream: Upstream) -> None:
    route = Route.objects.create(pattern="claude-*")
    target = RouteTarget.objects.create(route=route, upstream=upstream)
    target.weight = 3
    target.save()
    target.delete()

    assert [(entry.action, entry.subject) for entry in history_of(route)] == [
        ("deleted", "route target local"),
        ("changed", "route target local"),
        ("created", "route target local"),
        ("created", "route claude-*"),
    ]
    assert history_of(route)[1].changes == ["Weight: 1 → 3"]


def test_the_entry_of_a_price_has_its_amounts(db: None) -> None:
    price = ModelPrice.objects.create(model_pattern="claude-*", input_price=3_000_000, output_price=15_000_000)

    assert {"Input price: 3,000,000", "Output price: 15,000,000", "Model pattern: claude-*"} <= set(
        last_sentences(price)
    )


@pytest.mark.parametrize(
    "before, after, told",
    [
        ("", "sk-new", ["Credential: set"]),
        ("sk-canary", "sk-new", ["Credential: changed"]),
        ("sk-canary", "", ["Credential: set → none"]),
    ],
)
def test_a_changed_credential_is_recorded_without_its_value(
    before: str, after: str, told: list[str], upstream: Upstream
) -> None:
    upstream.set_credential(before)
    upstream.save()

    upstream.set_credential(after)
    upstream.save()

    assert last_sentences(upstream) == told


def test_a_changed_password_is_recorded_without_its_value(owner: User) -> None:
    owner.set_password("another good password")
    owner.save()

    assert last_sentences(owner) == ["Password: changed"]


def test_a_login_is_not_recorded_as_a_change_of_the_user(owner: User, client: Client) -> None:
    client.force_login(owner)

    assert [entry.action for entry in history_of(owner)] == ["created"]


def test_a_usage_export_is_recorded(browser: Client, admin: User) -> None:
    browser.get("/admin/usage.csv?period=custom&start=2026-11-01&end=2026-11-07")

    entry = audit.entry_of(LogEntry.objects.latest("pk"))
    assert (entry.actor, entry.action, entry.subject) == ("root", "exported", "usage record 2026-11-01 to 2026-11-07")
    assert "exported" in browser.get(LIST).text


# ---- Memberships.


def test_a_key_export_is_recorded(browser: Client, issue: Issue) -> None:
    api_key, _ = issue()

    browser.post("/admin/keys/apikey/", {"action": "export_selected", "_selected_action": [api_key.pk]})

    entry = LogEntry.objects.filter(action=LogEntry.Action.ACCESS).get()
    assert (entry.object_repr, entry.content_type.model) == ("1 of the list", "apikey")


def test_memberships_are_recorded_from_either_side(owner: User) -> None:
    crew, other = Group.objects.create(name="crew"), Group.objects.create(name="other")

    owner.groups.add(crew)
    other.user_set.add(owner)
    owner.groups.set([other])
    other.user_set.clear()

    assert [changes for _, _, changes in entries_of(owner)[1:]] == [
        ["Groups: added crew"],
        ["Groups: added other"],
        ["Groups: removed crew"],
        ["Groups: removed other"],
    ]


def test_clearing_records_the_removed_members_only(owner: User) -> None:
    permission = Permission.objects.get(codename="view_team")
    owner.user_permissions.add(permission)

    owner.user_permissions.clear()

    assert last_sentences(owner) == [f"User permissions: removed {permission}"]


def test_permissions_of_a_group_are_recorded(browser: Client) -> None:
    group = Group.objects.create(name="crew")
    permission = Permission.objects.get(codename="view_team")

    browser.post(f"/admin/auth/group/{group.pk}/change/", {"name": "crew", "permissions": [permission.pk]})

    assert entries_of(group)[-1] == ("root", "changed", [f"Permissions: added {permission}"])


# ---- Excluded data.


def test_no_secret_enters_the_log(issue: Issue, upstream: Upstream, owner: User) -> None:
    api_key, raw = issue()
    secret, rotated = api_key.rotate(overlap=timedelta(0), idempotency_key="canary-issue-token-0123456789")
    api_key.delete()
    upstream.delete()
    password = owner.password
    owner.delete()

    log = repr(list(LogEntry.objects.values()))
    for text in (raw, rotated, "canary", password, upstream.credential_ciphertext, secret.pepper_id):
        assert text not in log
    for digest in (secret.digest, bytes(secret.digest)):
        assert repr(digest) not in log and bytes(digest).hex() not in log


def test_every_field_of_an_audited_model_is_recorded_or_excluded_by_name() -> None:
    for label, left_out in audit_registry.EXCLUDED_FIELDS.items():
        model = apps.get_model(label)
        fields = {field.name for field in model._meta.concrete_fields}
        recorded = set(auditlog.get_model_fields(model)["include_fields"])
        assert left_out <= fields, label
        assert recorded == fields - left_out - audit_registry.ALWAYS_EXCLUDED, label
        for name in recorded - set(audit_registry.MASKED_FIELDS.get(label, [])):
            field = model._meta.get_field(name)
            assert field.get_internal_type() != "BinaryField", name
            assert not re.search(r"digest|pepper|password|secret|token$|credential", name), name


def test_api_requests_leave_no_entries(recorder: UsageRecorder) -> None:
    before = LogEntry.objects.count()

    recorder.record()

    assert LogEntry.objects.count() == before


def test_login_tables_are_not_audited() -> None:
    assert not {model for model in auditlog.get_models() if model._meta.app_label in ("axes", "staff", "sessions")}
    assert not post_save.has_listeners(apps.get_model("keys.UsageRecord"))


def test_audited_models_are_not_changed_without_signals() -> None:
    """`update()` and bulk methods send no signals. Last-used times are excluded: requests set them."""
    changes = re.compile(r"(\w+)\.objects.*\.(update|bulk_create|bulk_update|update_or_create)\(")
    audit_registry = {model.__name__ for model in auditlog.get_models()}
    places = [
        (str(path.relative_to(ROOT)), found[1])
        for package in ("audit", "keys", "lib", "messages_api", "project", "staff")
        for path in sorted((ROOT / package).rglob("*.py"))
        if "migrations" not in path.parts
        for line in path.read_text().splitlines()
        if (found := changes.search(line)) and found[1] in audit_registry
    ]

    assert set(places) <= {(f"keys/{name}.py", "KeySecret") for name in ("usage/statements", "access/rejected_uses")}


# ---- Pages.


def test_the_list_shows_actors_objects_and_changes(browser: Client, issue: Issue) -> None:
    api_key, _ = issue(name="app")
    browser.post("/admin/auth/group/add/", {"name": "crew"})

    page = browser.get(LIST).text

    for text in (
        "API key app",
        CURRENT_USER,
        "root",
        "Name: crew",
        "127.0.0.1",
        f"/admin/keys/apikey/{api_key.pk}/change/",
    ):
        assert text in page


@pytest.mark.parametrize(
    "query, names",
    [
        ("actor=root", {"crew"}),
        ("actor=command line", {"app", "other", "root", "client's secret"}),
        ("object=other", {"other"}),
        ("type=auth.group", {"crew"}),
        ("action__exact=2", set()),
        ("time=hour", {"crew", "app", "other", "root", "client's secret"}),
    ],
)
def test_filters(query: str, names: set[str], browser: Client, issue: Issue) -> None:
    issue(name="app")
    issue(name="other")
    browser.post("/admin/auth/group/add/", {"name": "crew"})

    found = browser.get(f"{LIST}?{query}").context["cl"].result_list

    kinds = {row.object_repr.split(" (")[0] for row in found}
    assert {"client's secret" if name.startswith("mgw_") else name for name in kinds} == names


def test_the_history_of_one_object_can_be_linked(browser: Client, issue: Issue) -> None:
    api_key, _ = issue(name="app")
    issue(name="other")

    found = browser.get(f"{LIST}?object=keys.apikey/{api_key.pk}&time=all").context["cl"].result_list

    assert len(found) == 2


def test_an_entry_has_a_page_and_cannot_be_changed(browser: Client, issue: Issue) -> None:
    issue(name="app")
    entry = LogEntry.objects.filter(object_repr__startswith="app").get()

    page = browser.get(f"{LIST}{entry.pk}/change/")
    assert "Name: app" in page.text and 'type="submit"' not in page.text.split('id="content"')[1]
    for address in (f"{LIST}{entry.pk}/change/", f"{LIST}{entry.pk}/delete/", f"{LIST}add/"):
        assert browser.post(address, {"object_repr": "forged"}).status_code == 403
    entry.refresh_from_db()
    assert entry.object_repr.startswith("app")


def test_the_history_page_of_an_object_shows_its_changes(browser: Client, issue: Issue) -> None:
    api_key, _ = issue(name="app")
    api_key.name = "<b>robot</b>"
    api_key.save()

    page = browser.get(f"/admin/keys/apikey/{api_key.pk}/history/").text

    assert "Name: app → &lt;b&gt;robot&lt;/b&gt;" in page and CURRENT_USER in page


def test_the_list_pages_through_many_entries_without_counting(browser: Client, django_assert_num_queries: Any) -> None:
    for number in range(120):
        Team.objects.create(name=f"team {number:03}")
    seen: list[str] = []
    address = f"{LIST}?type=keys.team"
    while address:
        with django_assert_num_queries(3):  # session, user, the rows
            changelist = browser.get(address).context["cl"]
        seen += [row.object_repr for row in changelist.result_list]
        address = LIST + changelist.older_link if changelist.older_link else ""

    assert seen == [f"team {number:03}" for number in reversed(range(120))]


@pytest.mark.parametrize("edge", ["x", "1.x", f"{10**30}.1", "\0", "1.99999999999999999999999"])
def test_an_invalid_cursor_redirects_to_the_list(edge: str, browser: Client) -> None:
    assert browser.get(LIST, {"before": edge}, follow=True).status_code == 200


# ---- Retention.


def test_old_entries_and_logins_are_purged_in_batches(browser: Client, admin: User) -> None:
    for number in range(25):
        Team.objects.create(name=f"team {number}")
    LogEntry.objects.filter(object_repr__startswith="team 1").update(timestamp=timezone.now() - timedelta(days=366))
    old = LogEntry.objects.filter(timestamp__lt=timezone.now() - timedelta(days=365)).count()
    apps.get_model("axes.AccessLog").objects.update(attempt_time=timezone.now() - timedelta(days=366))
    said = StringIO()

    call_command("purge_audit", older_than="365d", batch=4, stderr=said)
    call_command("purge_audit", older_than="365d", stderr=said)

    assert said.getvalue().splitlines() == [
        f"Deleted {old} changes and 1 login older than 365 days.",
        "Deleted 0 changes and 0 logins older than 365 days.",
    ]
    assert old == 11 and not LogEntry.objects.filter(object_repr="team 1").exists()
    assert LogEntry.objects.filter(object_repr="team 2").exists()


@pytest.mark.parametrize("age", ["", "365", "0d", "-1d", "1y", "9999999999d"])
def test_an_invalid_age_is_rejected(age: str, db: None) -> None:
    with pytest.raises(CommandError, match="--older-than"):
        call_command("purge_audit", older_than=age)


def test_a_history_is_found_by_an_index() -> None:
    assert LogEntry._meta.get_field("cid").db_index


def test_a_failed_login_has_a_readable_name() -> None:
    assert str(FailedLogin(username="ada", ip_address="192.0.2.1")) == "ada from 192.0.2.1"
