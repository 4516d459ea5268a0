"""CSV import of API keys: validated by row, issued all or none, shown once."""

import csv
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models.signals import post_save
from django.test import Client

from keys.domain import raw_key
from keys.forms import csv_import
from keys.models import APIKey, Budget, KeySecret, Team

IMPORT = "/admin/keys/apikey/import/"
RAW_KEY = re.compile(r"mgw_[0-9A-Za-z]{46}")
NOW = datetime(2026, 7, 15, 12, tzinfo=UTC)
GOOD = """name,owner,team,purpose,expires,no_expiry_reason,models,rpm,tpm,concurrent_requests,budget,period,unit,\
allowed_ips
Support bot,root,,Answers,90d,,claude-3 llama-*,60,1000,5,25.00,,,10.0.0.0/8 192.0.2.7
Nightly,,Search,,never,no clock,,,,,5000,day,tokens,
"""


@pytest.fixture(autouse=True)
def team(admin: User) -> Team:
    return Team.objects.create(name="Search")


def upload(browser: Client, text: str | bytes, name: str = "keys.csv") -> Any:
    content = text if isinstance(text, bytes) else text.encode()
    return browser.post(IMPORT, {"file": SimpleUploadedFile(name, content, content_type="text/csv")})


def confirmed(preview: Any, **fields: str) -> dict[str, str]:
    """Return the data that the form of a preview sends."""
    form = preview.context["form"]
    return {"content": form["content"].value(), "token": form["token"].value(), "output": "page"} | fields


def verdicts(text: str) -> list[dict[str, list[str]]]:
    return [row.errors for row in csv_import.read(text)]


def row(**cells: str) -> str:
    """Return a file with one row, valid except for the given cells."""
    values = {"name": "app", "owner": "root", "expires": "90d"} | cells
    quoted = ('"' + value.replace('"', '""') + '"' for value in values.values())
    return ",".join(values) + "\n" + ",".join(quoted) + "\n"


def test_a_file_is_previewed_and_nothing_is_issued(browser: Client) -> None:
    with time_machine.travel(NOW, tick=False):
        browser.force_login(User.objects.get(username="root"))
        preview = upload(browser, GOOD)

    assert not APIKey.objects.exists()
    assert "All rows are valid: 2 keys can be issued." in preview.text
    for said in (
        "2026-10-13 12:00",
        "60 RPM, 1000 TPM, 5 concurrent",
        "$25.00 per month",
        "5,000 tokens per day",
    ):
        assert said in preview.text
    assert "no-store" in preview["Cache-Control"]


def test_keys_are_issued_with_all_columns(browser: Client, admin: User, team: Team) -> None:
    preview = upload(browser, GOOD)

    answer = browser.post(IMPORT, confirmed(preview))

    bot, nightly = APIKey.objects.order_by("pk")
    assert (bot.name, bot.owner, bot.team, bot.purpose) == ("Support bot", admin, None, "Answers")
    assert (bot.requests_per_minute, bot.tokens_per_minute, bot.concurrent_requests) == (60, 1000, 5)
    assert (bot.allowed_models, bot.allowed_ips) == (["claude-3", "llama-*"], ["10.0.0.0/8", "192.0.2.7"])
    assert bot.expires_at is not None and bot.created_by == admin
    assert (nightly.owner, nightly.team, nightly.expires_at) == (None, team, None)
    budgets = Budget.objects.order_by("pk").values_list(
        "api_key__name", "amount", "period", "unit", "alert_threshold_percent"
    )
    assert list(budgets) == [("Support bot", 25_000_000, "month", "usd", 80), ("Nightly", 5000, "day", "tokens", 80)]
    assert len(RAW_KEY.findall(answer.text)) == 2
    assert LogEntry.objects.filter(object_id__in=[str(bot.pk), str(nightly.pk)]).count() == 2


def test_the_raw_keys_are_in_the_response_and_nowhere_else(browser: Client, caplog: pytest.LogCaptureFixture) -> None:
    answer = browser.post(IMPORT, confirmed(upload(browser, GOOD)))

    raw_keys = RAW_KEY.findall(answer.text)
    assert [APIKey.objects.with_raw_key(raw).get().name for raw in raw_keys] == ["Support bot", "Nightly"]
    assert "no-store" in answer["Cache-Control"] and answer["Referrer-Policy"] == "no-referrer"
    tables = repr([list(model._base_manager.values_list()) for model in apps.get_models()])
    pages = "".join(browser.get(address).text for address in ("/admin/", "/admin/keys/apikey/", IMPORT))
    assert not [raw for raw in raw_keys if raw in tables + pages + caplog.text + str(browser.cookies)]


def test_the_keys_can_be_downloaded(browser: Client) -> None:
    answer = browser.post(IMPORT, confirmed(upload(browser, GOOD.replace("Nightly", "=Nightly")), output="csv"))

    lines = list(csv.DictReader(answer.content.decode().splitlines()))
    assert [(line["name"], line["owner"]) for line in lines] == [("Support bot", "root"), ("'=Nightly", "Search")]
    assert all(APIKey.objects.with_raw_key(line["api_key"]).get().public_id == line["key"] for line in lines)
    assert answer["Content-Disposition"].startswith('attachment; filename="issued-keys_')
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("again", ["page", "csv"])
def test_a_form_that_is_sent_twice_issues_once(again: str, browser: Client) -> None:
    form = confirmed(upload(browser, GOOD))
    browser.post(IMPORT, form)

    answer = browser.post(IMPORT, form | {"output": again})

    assert answer.status_code == 409 and "These keys have already been issued." in answer.text
    assert not RAW_KEY.search(answer.text)
    assert APIKey.objects.count() == KeySecret.objects.count() == 2


MIXED = GOOD + "Broken,nobody,Search,,soon,,a*b,0,,x,1e3,year,euros,300.1.1.1\n"


def test_nothing_is_issued_while_a_row_is_invalid(browser: Client) -> None:
    preview = upload(browser, MIXED)
    assert "1 of 3 rows is invalid; 2 can be issued." in preview.text

    answer = browser.post(IMPORT, confirmed(preview))

    assert "No keys were issued: some rows are invalid." in answer.text
    assert not APIKey.objects.exists()


def test_valid_rows_are_issued_if_the_admin_skips_the_others(browser: Client) -> None:
    answer = browser.post(IMPORT, confirmed(upload(browser, MIXED), only_valid="yes"))

    assert len(RAW_KEY.findall(answer.text)) == 2
    assert sorted(APIKey.objects.values_list("name", flat=True)) == ["Nightly", "Support bot"]


def test_errors_are_shown_by_row_and_column(browser: Client) -> None:
    *_, errors = verdicts(MIXED)

    assert list(errors) == [
        "owner",
        "expires",
        "models",
        "rpm",
        "concurrent_requests",
        "period",
        "unit",
        "allowed_ips",
        "budget",
    ]
    page = upload(browser, MIXED).text
    assert "<code>owner</code>: No active user has this name." in page
    assert "<code>allowed_ips</code>: Not an IP address or CIDR range: 300.1.1.1" in page


@pytest.mark.parametrize(
    "cells, column, said",
    [
        ({"name": ""}, "name", "required"),
        ({"name": "x" * 101}, "name", "at most 100"),
        ({"owner": ""}, "owner", "Enter either an owner or a team"),
        ({"team": "Search"}, "owner", "either an owner or a team"),
        ({"owner": "gone"}, "owner", "No active user"),
        ({"owner": "", "team": "closed"}, "team", "This team is disabled"),
        ({"owner": "", "team": "nobody"}, "team", "No team has this name"),
        ({"expires": ""}, "expires", "required"),
        ({"expires": "2020-01-01"}, "expires", "in the past"),
        ({"expires": "0d"}, "expires", "in the past"),
        ({"expires": "9999-12-31"}, "expires", "Enter 90d"),
        ({"expires": "999999999d"}, "expires", "Enter 90d"),
        ({"expires": "tomorrow"}, "expires", "Enter 90d"),
        ({"expires": "never"}, "no_expiry_reason", "Enter why"),
        ({"no_expiry_reason": "no clock"}, "no_expiry_reason", "Leave this empty"),
        ({"name": raw_key.generate()}, "name", "Remove the API key"),
        ({"purpose": f"was {raw_key.generate()}"}, "purpose", "Remove the API key"),
        ({"allowed_ips": "10.0.0.1 0.0.0.0/0"}, "allowed_ips", "cover all IP addresses"),
        ({"models": "a*b"}, "models", "end of a model name"),
        ({"models": "x" * 257}, "models", "one model name"),
        ({"rpm": "-1"}, "rpm", "greater than or equal to 1"),
        ({"rpm": "2147483648"}, "rpm", "less than or equal"),
        ({"tpm": "1.5"}, "tpm", "whole number"),
        ({"concurrent_requests": "many"}, "concurrent_requests", "whole number"),
        ({"budget": "-1"}, "budget", "such as 12.50"),
        ({"budget": "0.0000001"}, "budget", "six decimals"),
        ({"budget": "1.5", "unit": "tokens"}, "budget", "number of tokens"),
        ({"budget": "9" * 5000, "unit": "tokens"}, "budget", "at most"),
        ({"budget": "1", "period": "year"}, "period", "valid choice"),
        ({"budget": "1", "unit": "euros"}, "unit", "valid choice"),
        ({"allowed_ips": "10.0.0.0/8 nowhere"}, "allowed_ips", "nowhere"),
    ],
)
def test_an_invalid_row(cells: dict[str, str], column: str, said: str) -> None:
    User.objects.create_user("gone", is_active=False)
    Team.objects.create(name="closed", disabled_at=NOW)

    (errors,) = verdicts(row(**cells))

    assert list(errors) == [column] and said in errors[column][0]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(GOOD.replace("\n", "\r\n"), id="lines of Windows"),
        pytest.param(GOOD.replace(",", ";"), id="semicolons"),
        pytest.param(GOOD.replace(",", "\t"), id="tabs"),
        pytest.param("\n".join([*GOOD.splitlines(), "", ",,,", ""]), id="empty lines"),
        pytest.param(GOOD.replace("name,owner", "Name, OWNER "), id="another spelling of the header"),
        pytest.param(GOOD.replace("Answers", '"Answers, \n""kindly"" \N{LINE SEPARATOR}"'), id="quoted"),
    ],
)
def test_a_readable_file(text: str) -> None:
    rows = csv_import.read(text)

    assert [each.errors for each in rows] == [{}, {}]
    assert [each.key["name"] for each in rows] == ["Support bot", "Nightly"]


@pytest.mark.parametrize(
    "text, said",
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param("\n\n", "is empty", id="empty lines"),
        pytest.param("name,owner,expires\n", "no rows", id="header alone"),
        pytest.param("name,owner,expires,digest\na,root,90d,x\n", "Unknown column", id="unknown column"),
        pytest.param("Support bot,root,90d\n", "Unknown column", id="no header"),
        pytest.param("name,owner\na,root\n", "Missing column: expires", id="missing column"),
        pytest.param("name,expires\na,90d\n", "Missing column: owner or team", id="nobody to belong to"),
        pytest.param("name,name,owner,expires\na,a,root,90d\n", "Duplicate column: name", id="repeated column"),
        pytest.param('name,owner,expires\n"a"b,root,90d\n', "Line 2 cannot be read", id="bad quotes"),
        pytest.param('name,owner,expires\n"a,root,90d\n', "cannot be read as CSV", id="open quotes"),
        pytest.param("name,owner,expires\na\0,root,90d\n", "not a text file", id="NUL"),
        pytest.param("name,owner,expires\n" + "a,root,90d\n" * 501, "more than 500 rows", id="too long"),
        pytest.param("name,owner,expires\n" + "a" * 200_000 + ",root,90d\n", "cannot be read", id="a huge cell"),
    ],
)
def test_an_unreadable_file(text: str, said: str, browser: Client) -> None:
    answer = upload(browser, text or "\n")

    assert said in answer.text and "errorlist" in answer.text
    assert answer.context["form"].errors


@pytest.mark.parametrize(
    "content, said",
    [
        (b"name,owner,expires\ncaf\xe9,root,90d\n", "not UTF-8"),
        (b"\xff\xfen\x00a\x00m\x00e\x00", "not UTF-8"),
        (b"name,owner,expires\n" + b"a,root,90d\n" * 25_000, "larger than 256 KiB"),
        (b"", "empty"),
    ],
)
def test_a_file_that_is_not_utf8_text_is_rejected(content: bytes, said: str, browser: Client) -> None:
    assert said in upload(browser, content).text


def test_a_byte_order_mark_is_no_part_of_the_first_column(browser: Client) -> None:
    preview = upload(browser, b"\xef\xbb\xbf" + GOOD.encode())

    assert "All rows are valid" in preview.text


def test_a_row_with_more_cells_than_columns_is_invalid() -> None:
    assert verdicts("name,owner,expires\na,root,90d,x\n") == [
        {"row": ["The row has more cells than the header has columns."]}
    ]


def test_a_duplicate_name_is_a_warning(admin: User) -> None:
    APIKey.objects.issue(name="app", owner=admin)

    rows = csv_import.read("name,owner,expires\napp,root,90d\nnew,root,90d\nnew,root,90d\n")

    assert [bool(each.note) for each in rows] == [True, False, True]
    assert verdicts(row()) == [{}]


@pytest.mark.parametrize(
    "cells, column",
    [({"rpm": "11"}, "rpm"), ({"models": "b"}, "models"), ({"budget": "25"}, "budget"), ({}, "")],
)
def test_no_row_exceeds_its_team(cells: dict[str, str], column: str, team: Team) -> None:
    Team.objects.update(requests_per_minute=10, allowed_models=["a"])
    Budget.objects.create(team=team, amount=20_000_000)

    (errors,) = verdicts(row(owner="", team="Search", **cells))

    assert list(errors) == ([column] if column else [])
    assert all("The team Search" in said for said in errors.get(column, []))


def test_no_limit_is_imported_that_several_workers_could_not_keep(settings: Any) -> None:
    settings.WEB_CONCURRENCY, settings.REDIS_URL = 2, ""

    assert "Set REDIS_URL first" in verdicts(row(rpm="60"))[0]["row"][0]
    assert verdicts(row()) == [{}]


def test_reading_takes_four_queries_however_many_rows(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(4):  # users, teams and their budgets, names of keys
        assert len(csv_import.read("name,owner,expires\n" + "a,root,90d\n" * 200)) == 200


def test_an_error_in_the_middle_issues_none(browser: Client) -> None:
    def fail(**kwargs: Any) -> None:
        raise RuntimeError("the disk is full")

    form = confirmed(upload(browser, GOOD))
    post_save.connect(fail, sender=Budget)
    try:
        answer = browser.post(IMPORT, form)
    finally:
        post_save.disconnect(fail, sender=Budget)

    assert answer.status_code == 500
    assert not APIKey.objects.exists()
    assert len(RAW_KEY.findall(browser.post(IMPORT, form).text)) == 2


@pytest.mark.parametrize("token", ["", "short"])
def test_a_form_without_its_token_issues_nothing(token: str, browser: Client) -> None:
    answer = browser.post(IMPORT, confirmed(upload(browser, GOOD)) | {"token": token})

    assert "CSV file" in answer.text and not APIKey.objects.exists()


def file_of(size: int) -> str:
    """Return a valid file of this many bytes with line feeds."""
    head, rows = "name,owner,expires,purpose\n", 150
    lengths = [(size - len(head)) // rows] * rows
    lengths[-1] += size - len(head) - sum(lengths)
    return head + "".join(f"app {n:03},root,90d,{'x' * (length - 18)}\n" for n, length in enumerate(lengths))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("size", [261_897, csv_import.MAX_BYTES - 151])
def test_a_file_at_the_limit_is_issued_with_the_line_ends_of_a_browser(
    size: int, line_end: str, browser: Client
) -> None:
    text = file_of(size).replace("\n", line_end)
    preview = upload(browser, text)
    form = confirmed(preview)
    form["content"] = form["content"].replace("\r\n", "\n").replace("\n", "\r\n")

    issued = browser.post(IMPORT, form)

    assert issued.status_code == 200 and APIKey.objects.count() == 150


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"content": "x" * (csv_import.MAX_BYTES + 1)}, id="too long"),
        pytest.param({"content": ""}, id="empty"),
        pytest.param({"content": "no columns"}, id="unreadable"),
        pytest.param({"content": "a\0b"}, id="NUL"),
        pytest.param({"token": "short"}, id="token"),
        pytest.param({"output": "fax"}, id="output"),
    ],
)
def test_a_preview_that_arrives_changed_says_so(changes: dict[str, str], browser: Client) -> None:
    response = browser.post(IMPORT, confirmed(upload(browser, GOOD)) | changes)

    assert "No keys were issued: the file did not arrive as it was previewed." in response.text
    assert APIKey.objects.count() == 0


def test_importing_needs_the_permission_to_issue(browser_of: Callable[..., Client], browser: Client) -> None:
    form = confirmed(upload(browser, GOOD))
    clerk = browser_of("view_apikey", "change_apikey", "add_apikey")

    assert clerk.get(IMPORT).status_code == 403 and clerk.post(IMPORT, form).status_code == 403
    assert "Import keys" not in clerk.get("/admin/keys/apikey/").text
    assert not APIKey.objects.exists()


def test_hostile_cells_are_inert(browser: Client) -> None:
    hostile = '"><script>alert(1)</script>{{ 7|add:7 }}'
    text = row(name=hostile, owner=hostile, models=hostile, allowed_ips=hostile)

    preview = upload(browser, text)
    issued = browser.post(IMPORT, confirmed(upload(browser, row(name=hostile, purpose=hostile))))

    assert "<script>alert" not in preview.text + issued.text
    assert RAW_KEY.search(issued.text)
