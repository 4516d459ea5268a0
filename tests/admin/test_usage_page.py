"""Usage page: one question in the URL; cards, chart, table, filters, saved views and CSV export."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.http import QueryDict
from django.test import Client
from django.utils import timezone

from keys.explore import records
from keys.explore.question import parse
from keys.models import APIKey, ReportingZone, SavedView, Team
from keys.pages import usage
from lib.query_limit import QueryTimeout
from tests.support.usage_rows import UsageRecorder

USAGE = "/admin/usage/"
CSV = "/admin/usage.csv"
VIEWS = "/admin/usage/views/"
NOW = datetime(2026, 7, 15, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def in_july(admin: User, client: Client) -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        client.force_login(admin)
        yield


def texts(page: Any, name: str) -> list[list[str]]:
    """Return the cells of a table of the page, without markup."""
    table = re.search(rf"<table[^>]*>\s*<caption[^>]*>{name}</caption>.*?</table>", page.text, re.DOTALL)
    assert table, name
    rows = re.findall(r"<tr>(.*?)</tr>", table[0], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub(r"<[^>]*>", "", cell).split()) for cell in row] for row in cells]


def cards(page: Any) -> dict[str, str]:
    found = re.findall(r"<dt>(.*?)</dt>\s*<dd[^>]*>(.*?)</dd>", page.text, re.DOTALL)
    return {re.sub(r"<[^>]*>", "", label): re.sub(r"<[^>]*>", "", value) for label, value in found}


@pytest.mark.parametrize(
    "query",
    [
        "measure=nonsense",
        "group=nonsense&group=also",
        "range=nonsense",
        "from=2026-01-02&to=2026-01-01",
        "from=2000-01-01&to=2026-01-01",
        "from=2026-02-30&to=2026-03-01",
        "from=0001-01-01&to=0001-01-02&x=<script>",
        "from=9999-12-31T23:59&to=9999-12-31T23:59:59",
        "model=%00&team=abc&owner=-1&key=%F0%9F%92%A9%ED%A0%80",
        "tag.=x&not_tag.%22%5D=1&not_not_model=1",
        "&".join(f"model={number}" for number in range(450)),
        "&".join(f"session={number}" for number in range(5000)),
        "add=nonsense",
        "sort=-nonsense&compare=7&chart=pie&bucket=second",
    ],
)
def test_what_cannot_be_read_is_named_and_the_page_stays_usable(
    query: str, browser: Client, recorder: UsageRecorder
) -> None:
    recorder.record(created_at=NOW)

    page = browser.get(f"{USAGE}?{query}")

    assert page.status_code == 200
    assert page.context["table"] and "<script>" not in page.text.partition("messagelist")[2]
    assert query == "add=nonsense" or "left out" in page.text or "are used" in page.text or "Shown instead" in page.text


@pytest.mark.parametrize("name", ["measure", "group", "model", "team", "tag.a", "from", "add", "add_value", "sort"])
@pytest.mark.parametrize(
    "text", ["'\"><img src=x onerror=alert(1)>", "%s%%(x)s{{ 7*7 }}", "\u202egnp.exe", "=1+1", "🦊" * 300]
)
def test_hostile_parameters_are_inert(name: str, text: str, browser: Client, recorder: UsageRecorder) -> None:
    page = browser.get(USAGE, {name: text, "to": "2026-07-01", "add": name})

    assert page.status_code == 200 or page.headers["Location"].startswith(USAGE)
    assert "<img src=x" not in page.text and "49" not in re.findall(r"“([^”]*)”", page.text)


def test_the_reporting_time_zone_is_named_and_decides_what_today_is(browser: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"  # twelve hours ahead: the next day

    page = browser.get(f"{USAGE}?range=today")

    assert "Time zone: Pacific/Auckland." in page.text
    assert page.context["controls"]["range"] == "16 Jul 2026"


def test_the_figures_on_the_page(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record(
        created_at=NOW, input_tokens=1000, cache_read_tokens=200, cache_write_5m_tokens=30, output_tokens=4000
    )
    recorder.record(created_at=NOW, status="failed", input_tokens=None, output_tokens=None, usage_source="none")
    recorder.record(created_at=NOW, status="rejected")
    recorder.record(created_at=NOW, status="started", model="slow")

    page = browser.get(f"{USAGE}?range=today&measure=requests&group=model&compare=1")

    shown = cards(page)
    assert shown == {
        "Requests": "3",
        "Cost": "$0.00",
        "Input tokens": "1,230",
        "Output tokens": "4,000",
        "Error rate": "50 %",
        "Rejected": "1",
        "Latency p50": "21 ms",  # the middle of its bucket
        "Latency p95": "21 ms",
        "Time to first token p50": "5 ms",
        "Time to first token p95": "5 ms",
        "Cache hit rate": "16.3 %",
    }
    assert texts(page, "Usage by group") == [
        [
            "Model",
            "Requests",
            "Share",
            "Change",
            "Trend",
            "Cost",
            "Input tokens",
            "Output tokens",
            "Errors",
            "Rejected",
        ],
        ["claude-3", "2", "66.7 %", "new", "", "$0.00", "1,230", "4,000", "1", "1"],
        ["slow", "1", "33.3 %", "new", "", "$0.00", "0", "0", "0", "0"],
        ["Total", "3", "100 %", "new", "", "$0.00", "1,230", "4,000", "1", "1"],
    ]
    assert "Compared with 14 Jul 2026 to 14 Jul 2026 12:00: as much of it as has passed of this range." in page.text


def test_the_chart_has_the_figures_of_its_table(browser: Client, recorder: UsageRecorder) -> None:
    for number in range(9):
        for _ in range(number + 1):
            recorder.record(created_at=NOW, model=f"model-{number}")

    page = browser.get(f"{USAGE}?measure=requests")

    chart = page.context["chart"]
    rows = texts(page, "Requests: 45; 20 % model-8.")
    assert chart["labels"][-1] == "15 Jul" and len(chart["labels"]) == 7
    assert [each["name"] for each in chart["series"]] == [*(f"model-{number}" for number in range(8, 1, -1)), "Other"]
    assert [each["values"][-1] for each in chart["series"]] == [9, 8, 7, 6, 5, 4, 3, 3]
    assert rows[-1] == ["15 Jul", "9", "8", "7", "6", "5", "4", "3", "3", "45"]
    block = re.search(r'<script id="over-time-data" type="application/json">(.*?)</script>', page.text)
    assert block and json.loads(block[1]) == chart


def test_percentiles_have_trends_in_the_rows_of_the_chart_only(browser: Client, recorder: UsageRecorder) -> None:
    for number in range(9):
        for _ in range(number + 1):
            recorder.record(created_at=NOW, model=f"model-{number}")

    page = browser.get(f"{USAGE}?measure=latency_p95")

    series = page.context["chart"]["series"]
    assert [each["name"] for each in series] == [*(f"model-{number}" for number in range(8, 1, -1)), "Other"]
    assert all(each["values"][-1] for each in series)
    trends = {row["names"][0]["label"]: bool(row["trend"]) for row in page.context["table"]["rows"]}
    assert trends == {f"model-{number}": number > 1 for number in range(9)}
    assert "Trends are shown for the 7 rows of the chart" in page.text


def test_every_figure_on_the_page_leads_to_its_records(browser: Client, recorder: UsageRecorder) -> None:
    for number in range(4):
        recorder.record(created_at=NOW, model=f"model-{number % 2}", status="failed" if number else "completed")

    page = browser.get(f"{USAGE}?measure=requests&range=today")

    links = set(re.findall(r'href="(/admin/keys/usagerecord/\?[^"]*)"', page.text))
    cells = re.findall(r'<td[^>]*><a href="(/admin/keys/usagerecord/\?[^"]*)">(\d)</a>', page.text)
    for link, shown in cells:
        question, left_out = parse(QueryDict(link.partition("?")[2].replace("&amp;", "&")))
        if "token" not in link:
            assert left_out == [] and records.matching(question).count() >= int(shown)
    assert len(links) > 6
    statuses = {link: browser.get(link.replace("&amp;", "&")).status_code for link in links}
    assert set(statuses.values()) == {200}, statuses


@pytest.mark.parametrize("sort", ["name", "-name", "change", "share", "-errors", "cost", "latency_p95"])
def test_every_column_sorts(sort: str, browser: Client, recorder: UsageRecorder) -> None:
    for name in ("b", "a", "c"):
        recorder.record(created_at=NOW, model=name, status="failed" if name == "c" else "completed")

    page = browser.get(f"{USAGE}?measure=requests&range=today&compare=1&sort={sort}")

    names = [row[0] for row in texts(page, "Usage by group")[1:-1]]
    expected = {"name": "abc", "-name": "cba"}.get(sort)
    assert expected is None or "".join(names) == expected
    assert sort != "-errors" or names[0] == "c"
    assert sort == "latency_p95" or 'aria-sort="' in page.text


def test_filters_are_chips_that_can_be_added_and_removed(browser: Client, recorder: UsageRecorder) -> None:
    team = Team.objects.create(name="Search <b>")
    api_key = APIKey.objects.issue(name="app", team=team)[0]
    recorder.record(as_key=api_key, created_at=NOW)
    recorder.record(created_at=NOW)

    form = browser.get(f"{USAGE}?measure=requests&group=key&range=today&add=team")
    added = browser.get(
        USAGE,
        {
            **QueryDict("measure=requests&group=key&range=today").dict(),
            "add": "team",
            "add_is": "is",
            "add_value": "search <B>",
        },
        follow=True,
    )
    without = browser.get(added.context["controls"]["chips"][0]["without"].join([f"{USAGE}?", ""]))
    unknown = browser.get(USAGE, {"add": "team", "add_value": "nobody's team"}, follow=True)

    assert f'<option value="{team.pk}">Search &lt;b&gt;</option>' in form.text
    assert f"team={team.pk}" in added.request["QUERY_STRING"]
    assert "Team is Search &lt;b&gt;" in added.text
    assert [row[0] for row in texts(added, "Usage by group")[1:]] == ["app", "Total"]
    assert sorted(row[0] for row in texts(without, "Usage by group")[1:]) == ["Total", "app", "client"]
    assert "This filter has no such value" in unknown.text and unknown.context["question"].filters == ()


def test_a_bucket_that_is_too_short_is_longer_and_the_page_says_so(browser: Client) -> None:
    page = browser.get(f"{USAGE}?range=90d&bucket=minute")

    assert "too many or too few buckets for the chosen length: shown by day." in page.text
    assert len(page.context["chart"]["labels"]) == 90


def test_minutes_are_read_from_records_and_the_page_says_so(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record(created_at=NOW)

    page = browser.get(f"{USAGE}?from=2026-07-15T11:30&to=2026-07-15T12:30&bucket=minute&measure=requests")

    assert "Read from single records, because rollups have no buckets below an hour." in page.text
    assert page.context["chart"]["series"][0]["values"][30] == 1


def test_a_question_that_takes_too_long_is_asked_to_be_narrower(
    browser: Client, recorder: UsageRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_slow(question: Any, **options: Any) -> Any:
        raise QueryTimeout

    monkeypatch.setattr(usage, "answer", too_slow)

    page = browser.get(USAGE)

    assert page.status_code == 200
    assert "This question takes too long. Choose a shorter range" in page.text and "table" not in page.context


def test_a_member_of_a_team_sees_its_requests_only(browser_of: Callable[..., Client], recorder: UsageRecorder) -> None:
    teams = [Team.objects.create(name=name) for name in ("Mine", "Other team")]
    keys = [APIKey.objects.issue(name=f"key of {team}", team=team)[0] for team in teams]
    for api_key in (*keys, recorder.api_key):
        recorder.record(as_key=api_key, created_at=NOW)
    member = browser_of("view_usagerecord")
    user = User.objects.get(pk=member.session["_auth_user_id"])
    user.user_permissions.remove(*user.user_permissions.filter(codename="view_all_teams"))
    teams[0].members.add(user)

    for query in ("group=key", "group=team", f"group=key&team={teams[1].pk}", f"key={keys[1].public_id}&add=key"):
        page = member.get(f"{USAGE}?measure=requests&range=today&{query}")
        assert "Other team" not in page.text and "client" not in str(page.context["table"]["rows"])
        assert page.context["table"]["total"]["cell"]["value"] == ("0" if "&team" in query or "key=" in query else "1")


def test_views_are_saved_shared_and_deleted(browser: Client, browser_of: Callable[..., Client]) -> None:
    query = "measure=requests&group=team&range=last_month&compare=0&chart=stacked"
    reader = browser_of("view_usagerecord")

    saved = browser.post(VIEWS, {"do": "save", "name": "  By  <team> ", "query": query}, follow=True)
    view = SavedView.objects.get()
    hidden = reader.get(USAGE).text
    forbidden = [reader.post(VIEWS, {"do": verb, "view": view.pk}).status_code for verb in ("share", "delete")]
    browser.post(VIEWS, {"do": "share", "view": view.pk})
    shown = reader.get(USAGE).text
    entries = list(LogEntry.objects.filter(content_type__model="savedview").values_list("action", flat=True))
    browser.post(VIEWS, {"do": "delete", "view": view.pk})

    assert (view.name, view.query) == ("By <team>", query)
    assert "The view “By &lt;team&gt;” was saved." in saved.text
    assert "By &lt;team&gt;" not in hidden and forbidden == [404, 404]
    assert "By &lt;team&gt;" in shown and "range=last_month" in shown
    assert sorted(entries) == [LogEntry.Action.CREATE, LogEntry.Action.UPDATE]
    assert not SavedView.objects.exists()
    assert browser.post(VIEWS, {"do": "save", "name": "", "query": "x" * 9000}).status_code == 302
    assert reader.post(VIEWS, {"do": "save", "name": "mine", "query": query}).status_code == 302
    own = SavedView.objects.get(name="mine")
    assert reader.post(VIEWS, {"do": "share", "view": own.pk}).status_code == 403
    assert reader.post(VIEWS, {"do": "delete", "view": "9" * 40}).status_code == 404


def test_a_page_takes_the_same_queries_however_many_rows(
    browser: Client, recorder: UsageRecorder, django_assert_max_num_queries: Any
) -> None:
    for _ in range(5):
        recorder.record(as_key=APIKey.objects.issue(name="app", owner=recorder.api_key.owner)[0], created_at=NOW)

    with django_assert_max_num_queries(24):
        browser.get(f"{USAGE}?group=key&compare=1")


def test_the_export_has_the_same_days(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record(created_at=NOW, model="=1+1")
    recorder.record(created_at=datetime(2026, 6, 30, 12, tzinfo=UTC))

    page = browser.get(f"{USAGE}?from=2026-07-01&to=2026-08-01")
    link = re.search(r'href="(/admin/usage\.csv[^"]*)"', page.text)
    assert link
    export: Any = browser.get(link[1].replace("&amp;", "&"))

    lines = list(csv.DictReader(export.getvalue().decode().splitlines()))
    assert [(line["day"], line["key_name"], line["model"], line["requests"]) for line in lines] == [
        ("2026-07-15", "client", "'=1+1", "1")
    ]
    assert export.streaming
    assert export["Content-Disposition"] == 'attachment; filename="usage_2026-07-01_2026-07-31.csv"'
    assert export["Content-Type"] == "text/csv; charset=utf-8"


def test_reading_and_exporting_need_their_own_permissions(browser_of: Callable[..., Client]) -> None:
    reader = browser_of("view_usagerecord")

    assert reader.get(USAGE).status_code == 200
    assert "usage.csv" not in reader.get(USAGE).text
    assert reader.get(CSV).status_code == 403


@pytest.mark.parametrize("address", [USAGE, CSV])
def test_anonymous_users_are_redirected_and_others_rejected(address: str, browser_of: Callable[..., Client]) -> None:
    assert Client().get(address).headers["Location"].startswith("/admin/login/")
    assert browser_of("view_apikey").get(address).status_code == 403


def test_the_report_is_not_changed_by_a_post(browser: Client) -> None:
    assert browser.post(USAGE).status_code == 405


def test_hostile_texts_are_inert(browser: Client, recorder: UsageRecorder) -> None:
    hostile = '"><script>alert(1)</script>'
    api_key = APIKey.objects.issue(name=hostile, owner=recorder.api_key.owner)[0]
    recorder.record(as_key=api_key, created_at=NOW, model=hostile)

    assert "<script>alert" not in browser.get(USAGE).text


def test_the_overview_shows_today_and_first_steps_until_the_first_request(
    browser: Client, recorder: UsageRecorder
) -> None:
    new = browser.get("/admin/").text
    recorder.record(created_at=NOW)
    in_use = browser.get("/admin/").text

    assert "Get started" in new and "Get started" not in in_use
    assert re.search(r'<dt>Requests</dt>\s*<dd>\s*<a href="[^"]*">1</a>', in_use)


def test_the_overview_without_permission_shows_no_usage(browser_of: Callable[..., Client]) -> None:
    page = browser_of("view_apikey").get("/admin/").text

    assert "Usage report" not in page and 'href="/admin/usage/"' not in page


def test_a_change_of_the_time_zone_is_stated_until_it_is_applied(browser: Client, settings: Any) -> None:
    now = timezone.now()
    row = ReportingZone.objects.create(name="UTC", changed_at=now, confirmed_at=now)
    assert "messagelist" not in browser.get("/admin/usage/").content.decode()

    settings.TIME_ZONE = "Asia/Kathmandu"
    row.rollups_before = datetime(2026, 7, 1, tzinfo=UTC)
    row.save()
    shown = browser.get("/admin/usage/").content.decode()

    assert "REPORTING_TIME_ZONE is Asia/Kathmandu here, but UTC is in effect" in shown
    assert "Totals before 2026-07-01 05:45 are being added up again." in shown
