"""Downloads of usage: the figures of the page, in the scope of the user, noted in the audit log."""

import csv
import io
import json
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from openpyxl import load_workbook

from keys.models import APIKey, Team, UsageRecord
from tests.support.usage_rows import UsageRecorder


@pytest.fixture
def recorded(quiet_ledger: None, owner: User) -> list[UsageRecord]:
    team = Team.objects.create(name="search")
    of_team = APIKey.objects.issue(name="=of team", team=team, metadata={"cost_center": "4711"})[0]
    own = APIKey.objects.issue(name="own", owner=owner, metadata={"secret_project": "x"})[0]
    record = UsageRecorder(own).record_rated
    now = timezone.now()
    return [
        record(as_key=of_team, created_at=now, model="claude-3", input_tokens=10),
        record(as_key=of_team, created_at=now, model="claude-4", input_tokens=20),
        record(as_key=own, created_at=now, model="claude-3", input_tokens=40),
    ]


def export(client: Client, **parameters: Any) -> Any:
    response = client.get(reverse("admin:usage_export"), {"range": "24h", **parameters})
    return response, b"".join(response) if response.streaming else response.content


def json_rows(client: Client, **parameters: Any) -> list[dict[str, Any]]:
    response, content = export(client, format="json", **parameters)
    assert response.status_code == 200
    return json.loads(content)["rows"]


def test_the_table_has_a_row_for_each_group(admin_client: Client, recorded: list[UsageRecord]) -> None:
    rows = json_rows(admin_client, group="model", measure="tokens")

    assert {row["model"]: (row["requests"], row["input_tokens"]) for row in rows} == {
        "claude-3": (2, 50),
        "claude-4": (1, 20),
    }


def test_the_table_by_key_has_the_metadata_of_keys(admin_client: Client, recorded: list[UsageRecord]) -> None:
    rows = json_rows(admin_client, group="key")

    assert {row["key_name"]: row["metadata.cost_center"] for row in rows} == {"=of team": "4711", "own": ""}


def test_the_chart_adds_up_to_the_table(admin_client: Client, recorded: list[UsageRecord]) -> None:
    rows = json_rows(admin_client, export="chart", group="model", measure="requests")

    assert sum(row["requests"] for row in rows) == 3
    assert {row["model"] for row in rows} == {"claude-3", "claude-4"}


@pytest.mark.parametrize("format", ["csv", "xlsx", "json"])
@pytest.mark.parametrize("what", ["table", "chart", "requests", "focus"])
def test_every_export_has_every_format(
    admin_client: Client, recorded: list[UsageRecord], what: str, format: str
) -> None:
    response, content = export(admin_client, export=what, format=format)

    assert response.status_code == 200
    assert response["Content-Disposition"].endswith(f'.{format}"')
    if format == "csv":
        rows = list(csv.reader(io.StringIO(content.decode(), newline="")))[1:]
    elif format == "xlsx":
        rows = list(load_workbook(io.BytesIO(content))["Usage"].iter_rows(min_row=2, values_only=True))
    else:
        rows = json.loads(content)["rows"]
    assert rows


def test_formulas_are_inert(admin_client: Client, recorded: list[UsageRecord]) -> None:
    _, content = export(admin_client, export="requests")

    assert "'=of team" in content.decode()
    assert ",=of team" not in content.decode()


def test_an_export_is_in_the_audit_log(admin_client: Client, recorded: list[UsageRecord]) -> None:
    export(admin_client, export="focus", model="claude-3")

    entry = LogEntry.objects.latest("pk")
    assert "FOCUS" in str(entry.changes) + str(entry.additional_data) + str(entry.object_repr)
    assert "claude-3" in str(entry.changes) + str(entry.additional_data) + str(entry.object_repr)


@pytest.mark.parametrize("what", ["table", "chart", "requests", "focus"])
def test_a_member_of_a_team_exports_only_its_usage(recorded: list[UsageRecord], what: str) -> None:
    member = User.objects.create_user("member", is_staff=True)
    member.user_permissions.add(Permission.objects.get(codename="export_usage"))
    member.user_permissions.add(Permission.objects.get(codename="view_usagerecord"))
    Team.objects.get(name="search").members.add(member)
    client = Client()
    client.force_login(member)

    _, content = export(client, export=what, format="json", group="key")

    assert "=of team" in content.decode()
    for foreign in ("own", "secret_project", recorded[2].id):
        assert f'"{foreign}"' not in content.decode()
        assert "secret_project" not in content.decode()


def test_without_the_permission_nothing_is_exported(recorded: list[UsageRecord]) -> None:
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_usagerecord"))
    client = Client()
    client.force_login(reader)

    response, _ = export(client)

    assert response.status_code == 403


@pytest.mark.parametrize("parameters", [{"format": "pdf"}, {"export": "all"}, {"format": "\0"}])
def test_an_unknown_export_is_rejected_with_the_choices(admin_client: Client, parameters: dict[str, str]) -> None:
    response, content = export(admin_client, **parameters)

    assert response.status_code == 400
    assert b"export=table, chart, requests, focus" in content


# ---- the command


def test_the_command_shows_the_figures_of_the_page(recorded: list[UsageRecord], capsys: Any) -> None:
    call_command("usage_report", "--range", "24h", "--by", "model", "--filter", "not_model=claude-4")

    text = capsys.readouterr().out
    assert "MODEL" in text
    assert "claude-3" in text
    assert "claude-4" not in text


@pytest.mark.parametrize("format", ["csv", "json"])
def test_the_command_writes_files(recorded: list[UsageRecord], capsys: Any, format: str) -> None:
    call_command("usage_report", "--range", "24h", "--by", "team", "--by", "model", "--format", format)

    text = capsys.readouterr().out
    rows = json.loads(text)["rows"] if format == "json" else list(csv.DictReader(io.StringIO(text, newline="")))
    assert sorted((row["team_name"], row["model"]) for row in rows) == [
        ("No team", "claude-3"),
        ("search", "claude-3"),
        ("search", "claude-4"),
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--by", "color"], "Unknown group"),
        (["--filter", "model"], "NAME=VALUE"),
        (["--filter", "color=red"], "Unknown parameter"),
        (["--from", "soon"], "no date"),
    ],
)
def test_the_command_names_what_it_does_not_know(db: None, arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("usage_report", *arguments)
