"""Explorer of usage records: range, filters, chips, columns, histogram, and the URLs of earlier versions."""

import html
import random
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models.expressions import RawSQL
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from keys.admin.usage_records import change_list, columns
from keys.admin.usage_records.model_admin import UsageRecordAdmin
from keys.explore import record_pages
from keys.models import APIKey, ModelPrice, Team, UsageRecord
from keys.pricing.price_book import prices
from tests.support.usage_rows import UsageRecorder

LIST = "/admin/keys/usagerecord/"
WIDE = {"range": "12mo"}


def shown(page: Any) -> list[str]:
    return [record.pk for record in page.context["cl"].result_list]


def text_of(part: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", part)).split())


def chips_of(page: Any) -> dict[str, str]:
    """Return the URLs that remove filters, by the text of the chip."""
    found = page.text.partition('<ul class="filter-chips"')[2].partition("</ul>")[0]
    links = re.findall(r'<a href="([^"]*)" title="Remove this filter">(.*?)</a>', found, re.DOTALL)
    return {text_of(text).rpartition(" \N{MULTIPLICATION SIGN}")[0]: html.unescape(url) for url, text in links}


def sum_line_of(page: Any) -> str:
    return text_of(page.text.partition('<p class="sum-line">')[2].partition("</p>")[0])


def headers_of(page: Any) -> list[str]:
    table = page.text.partition('<table id="result_list">')[2].partition("</thead>")[0]
    return [text_of(each) for each in re.findall(r"<th.*?</th>", table, re.DOTALL)]


@pytest.fixture(autouse=True)
def _no_prices_of_others() -> None:
    prices.clear()


class Sample:
    """Requests that differ in one property each, by name."""

    def __init__(self, recorder: UsageRecorder) -> None:
        team = Team.objects.create(name="Search")
        self.team_key = APIKey.objects.issue(name="of a team", team=team)[0]
        self.team = team
        self.recorder = recorder
        ModelPrice.objects.create(
            model_pattern="dear", input_price=9_000_000, output_price=0, valid_from=timezone.now() - timedelta(days=99)
        )
        prices.book()
        now = timezone.now()
        rows: dict[str, dict[str, Any]] = {
            "plain": {},
            "streamed": {"streamed": True},
            "failed": {"status": "failed", "http_status": 529, "error_type": "overloaded_error"},
            "rejected": {"status": "rejected"},
            "opus": {"model": "claude-3-opus"},
            "team": {"as_key": self.team_key},
            "slow": {"duration_ms": 12_000},
            "dear": {"upstream_model": "dear", "input_tokens": 1_000_000},
            "long": {"output_tokens": 5_000},
            "session": {"session_id": "s1", "agent_id": "a1", "tags": {"project": "x"}},
            "estimated": {"usage_source": "estimated"},
            "ids": {"message_id": "msg_1", "upstream_request_id": "req_theirs", "client_request_id": "mine"},
            "yesterday": {"created_at": now - timedelta(hours=30)},
            "last year": {"created_at": now - timedelta(days=200)},
        }
        self.records = {name: recorder.record(**fields) for name, fields in rows.items()}
        self.names = {record.pk: name for name, record in self.records.items()}
        self.recent = set(rows) - {"yesterday", "last year"}


@pytest.fixture
def sample(recorder: UsageRecorder) -> Sample:
    return Sample(recorder)


@pytest.fixture
def found(sample: Sample, browser: Client) -> Callable[..., set[str]]:
    def search(**query: Any) -> set[str]:
        page = browser.get(LIST, query, follow=True)
        assert page.status_code == 200
        return {sample.names[id] for id in shown(page)}

    return search


# ---- range and filters


def test_the_range_is_a_preset_or_any_two_moments(sample: Sample, found: Callable[..., set[str]]) -> None:
    def moment(**ago: float) -> str:
        return f"{timezone.localtime(timezone.now() - timedelta(**ago)):%Y-%m-%dT%H:%M}"

    assert found() == sample.recent
    assert found(range="7d") == sample.recent | {"yesterday"}
    assert found(range="12mo") == sample.recent | {"yesterday", "last year"}
    assert found(**{"from": moment(hours=31), "to": moment(hours=29)}) == {"yesterday"}
    assert found(**{"from": moment(days=201), "to": moment(days=199)}) == {"last year"}


def test_filters(sample: Sample, found: Callable[..., set[str]]) -> None:
    assert found(outcome="failed") == {"failed"}
    assert found(outcome=["failed", "rejected"]) == {"failed", "rejected"}
    assert found(not_outcome=["completed"]) == {"failed", "rejected"}
    assert found(error_type="overloaded_error") == {"failed"}
    assert found(model="claude-3-opus") == {"opus"}
    assert found(key=sample.team_key.public_id) == {"team"}
    assert found(key="key_of_none") == set()
    assert found(team=str(sample.team.pk)) == {"team"}
    assert found(team="0") == sample.recent - {"team"}
    assert found(usage_source="estimated") == {"estimated"}
    assert found(session="s1") == found(agent="a1") == found(**{"tag.project": "x"}) == {"session"}
    assert found(http="529") == found(http="5xx") == {"failed"}
    assert found(http=["529", "403"]) == {"failed", "rejected"}
    assert found(streamed="1") == {"streamed"}
    assert found(streamed="0") == sample.recent - {"streamed"}
    assert found(min_latency="12000") == {"slow"} and found(min_latency="12001") == set()
    assert found(min_cost="9") == {"dear"} and found(min_cost="9.000001") == set()
    assert found(min_tokens="5009") == {"long", "dear"}
    assert found(model_prefix="claude-3-") == {"opus"}
    assert found(min_latency="10000", outcome="failed") == set()


def test_a_request_id_is_found_at_any_time_and_other_ids_within_the_range(
    sample: Sample, found: Callable[..., set[str]], browser: Client
) -> None:
    assert found(id=sample.records["last year"].pk) == {"last year"}
    assert found(id=sample.records["last year"].pk, outcome="failed") == {"last year"}
    for id in ("msg_1", "req_theirs", "mine"):
        assert found(id=id) == {"ids"}
        assert found(id=id, **{"from": "2020-01-01", "to": "2020-01-02"}) == set()
    assert found(id="req_of_none") == set()
    links = browser.get(LIST, {"id": "s1"}).context["cl"].suggestions
    assert [label for label, _ in links] == [
        "Search 7 days",
        "Search 90 days",
        "Search 12 months",
        "Search it as session ID",
        "Search it as agent ID",
    ]
    assert [sample.names[id] for id in shown(browser.get(LIST + links[3][1]))] == ["session"]


def test_each_filter_is_a_chip_that_removes_it_alone(sample: Sample, browser: Client) -> None:
    query = {
        "range": "7d",
        "key": sample.team_key.public_id,
        "model": ["claude-3", "claude-3-opus"],
        "not_outcome": "rejected",
        "min_cost": "0.5",
        "min_latency": "1500",
        "http": ["200", "5xx"],
        "streamed": "0",
    }

    page = browser.get(LIST, query)
    chips = chips_of(page)

    assert set(chips) == {
        "Key: of a team",
        "Model: claude-3",
        "Model: claude-3-opus",
        "Outcome is not: Rejected",
        "HTTP status: 200",
        "HTTP status: 5xx",
        "Minimum latency: 1,500 ms",
        "Minimum cost: $0.50",
        "Streamed: No",
    }
    for text, url in chips.items():
        rest = browser.get(LIST + url)
        assert set(chips_of(rest)) == set(chips) - {text}
        assert rest.context["cl"].selection.question.interval.preset == "7d"
    cleared = browser.get(LIST + page.context["cl"].selection.cleared.url())
    assert chips_of(cleared) == {} and cleared.context["cl"].selection.question.interval.preset == "7d"


def test_the_form_adds_to_the_url_and_empty_fields_change_nothing(sample: Sample, browser: Client) -> None:
    fields = {
        "range": "7d",
        "model": "claude-3",
        "set_model": " claude-3-opus ",
        "set_outcome": "",
        "set_http": "429, 5xx",
        "set_min_latency": "1.5 s",
        "set_min_cost": "$0.50",
        "set_tag": "project=x",
        "set_key": sample.team_key.public_id,
        "before": "1.req_1",
    }

    page = browser.get(LIST, fields, follow=True)

    (url, status) = page.redirect_chain[0]
    assert len(page.redirect_chain) == 1 and status == 302
    assert parse_qs(url.partition("?")[2]) == {
        "range": ["7d"],
        "model": ["claude-3", "claude-3-opus"],
        "http": ["429", "5xx"],
        "min_latency": ["1500"],
        "min_cost": ["$0.50"],
        "tag.project": ["x"],
        "key": [sample.team_key.public_id],
    }
    assert page.context["cl"].selection.notes == []
    moments = browser.get(LIST, {"range": "7d", "set_from": "2026-01-02T03:04", "set_to": "2026-02-01T00:00"})
    assert parse_qs(moments["Location"].partition("?")[2]) == {"from": ["2026-01-02T03:04"], "to": ["2026-02-01T00:00"]}


def test_urls_of_earlier_versions_lead_to_the_same_records(
    sample: Sample, found: Callable[..., set[str]], browser: Client
) -> None:
    assert found(status__exact="failed") == {"failed"}
    assert found(usage_source__exact="estimated", time="day") == {"estimated"}
    assert found(streamed__exact="1") == {"streamed"}
    assert found(time="hour") == sample.recent
    assert found(time="week") == sample.recent | {"yesterday"}
    assert found(time="all") == set(sample.records)
    assert found(api_key__public_id=sample.team_key.public_id, time="month") == {"team"}
    assert found(model="claude-3-*", time="day") == found(model="claude-3-*") == {"opus"}
    assert found(q="msg_1") == {"ids"} and found(q="project=x") == {"session"}
    assert found(q=sample.records["last year"].pk) == {"last year"}
    old = {"status__exact": "failed", "time": "day"}
    assert browser.get(LIST, old)["Location"] == f"{LIST}?{urlencode({'outcome': 'failed', 'range': '24h'})}"


# ---- pages


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page compare 20 records."""
    monkeypatch.setattr(record_pages, "SCANNED", 20)


def walk(browser: Client, query: dict[str, Any]) -> list[list[str]]:
    """Return the records of all pages, from the newest."""
    pages, page = [], browser.get(LIST, query)
    while True:
        pages.append(shown(page))
        if not page.context["cl"].older_link:
            return pages
        page = browser.get(LIST + page.context["cl"].older_link)
        assert len(pages) < 100


FILTERS: list[dict[str, Any]] = [
    {},
    {"model": "claude-3"},
    {"outcome": "failed"},
    {"not_outcome": "completed", "usage_source": "reported"},
    {"team": "0"},
    {"key": "KEY"},
    {"key": "KEY", "min_latency": "50"},
    {"min_latency": "50"},
    {"http": "5xx", "model": "claude-3"},
    {"session": "s1"},
    {"session": "s1", "key": "KEY"},
    {"tag.project": "x"},
    {"id": "msg_1"},
    {"min_tokens": "1", "streamed": "0"},
]


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("query", FILTERS, ids=lambda query: urlencode(query))
def test_older_and_newer_pages_hold_every_match_once(
    query: dict[str, Any], browser: Client, recorder: UsageRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UsageRecordAdmin, "list_per_page", 7)
    query = {**query, "range": "30d"}
    if "key" in query:
        query["key"] = recorder.api_key.public_id
    randomly = random.Random(7)
    other_key = APIKey.objects.issue(name="other", owner=recorder.api_key.owner)[0]
    now = timezone.now() - timedelta(minutes=1)
    for number in range(60):
        # Some share their time, and they lie in many hours.
        at = now - timedelta(hours=number // 20 * 30, minutes=number // 4)
        recorder.record(
            created_at=at,
            as_key=randomly.choice([recorder.api_key, other_key]),
            status=randomly.choice(["completed", "completed", "failed", "started"]),
            http_status=randomly.choice([200, 500]),
            model=randomly.choice(["claude-3", "smol"]),
            duration_ms=randomly.choice([10, 60]),
            session_id=randomly.choice(["", "s1"]),
            tags=randomly.choice([None, {"project": "x"}]),
            message_id=randomly.choice(["", "msg_1"]),
        )
    selection = browser.get(LIST, query).context["cl"].selection
    expected = record_pages.listed(selection.question, selection.filters).order_by("-created_at", "-pk")
    everything = list(expected.values_list("pk", flat=True))
    assert everything

    pages = walk(browser, query)

    assert [id for page in pages for id in page] == everything
    page = browser.get(LIST, {**query, "before": f"{10**15}.req_0"})  # before all of them
    back: list[str] = []
    while (newer := page.context["cl"].newer_link) and len(back) < 200:
        page = browser.get(LIST + newer)
        back = shown(page) + back
    assert back == everything


@pytest.mark.usefixtures("small_pages")
def test_pages_stay_equal_while_requests_are_recorded(browser: Client, recorder: UsageRecorder) -> None:
    made = [recorder.record(http_status=500).pk for _ in range(120)]
    query = {"http": "5xx"}
    page, pages = browser.get(LIST, query), []
    while True:
        pages.append(shown(page))
        if not page.context["cl"].older_link:
            break
        recorder.record(http_status=500)
        page = browser.get(LIST + page.context["cl"].older_link)

    assert sorted(id for each in pages for id in each) == sorted(made)


@pytest.mark.usefixtures("small_pages")
def test_a_page_that_compares_too_many_records_says_how_far_it_searched(
    browser: Client, recorder: UsageRecorder
) -> None:
    now = timezone.now()
    match = recorder.record(created_at=now - timedelta(minutes=90), duration_ms=99_000)
    for number in range(50):
        recorder.record(created_at=now - timedelta(minutes=number))

    first = browser.get(LIST, {"min_latency": "99000"})
    second = browser.get(LIST + first.context["cl"].older_link)
    third = browser.get(LIST + second.context["cl"].older_link)

    assert shown(first) == shown(second) == [] and shown(third) == [match.pk]
    assert "No match among the requests back to" in first.text and "No histogram and no sums" in first.text
    assert third.context["cl"].older_link is None and "Searched back to" not in third.text


@pytest.mark.parametrize("query", [{"outcome": "failed"}, {"model": "rare", "team": "0"}])
@pytest.mark.usefixtures("small_pages")
def test_filters_that_rollups_have_find_an_old_match_on_the_first_page(
    query: dict[str, str], browser: Client, recorder: UsageRecorder
) -> None:
    now = timezone.now()
    match = recorder.record(created_at=now - timedelta(days=20), status="failed", model="rare")
    for number in range(60):
        recorder.record(created_at=now - timedelta(hours=number))

    page = browser.get(LIST, {**query, "range": "30d"})

    assert shown(page) == [match.pk] and page.context["cl"].older_link is None


# ---- histogram and sums


def test_each_bar_leads_to_its_part_of_the_range(sample: Sample, browser: Client) -> None:
    page = browser.get(LIST, {"range": "7d", "outcome": ["completed", "failed"]})
    drawing = page.context["cl"].drawing

    assert drawing.requests == len(sample.recent | {"yesterday"}) - 1
    assert sum(bar.requests for bar in drawing.bars) == drawing.requests
    for bar in drawing.bars:
        part = browser.get(LIST + bar.url)
        assert part.context["cl"].drawing.requests == len(shown(part)) == bar.requests
        assert part.context["cl"].selection.question.filters == page.context["cl"].selection.question.filters
    assert page.text.count('<rect class="whole"') == len(drawing.bars) == 7
    assert "<caption" in page.text.partition('class="chart histogram"')[2]


@pytest.mark.parametrize(
    "query", [{}, {"outcome": "failed"}, {"session": "s1"}, {"min_latency": "10"}, {"http": "200", "team": "0"}]
)
def test_the_sums_are_those_of_the_records(query: dict[str, str], sample: Sample, browser: Client) -> None:
    sample.recorder.record(status="started")
    page = browser.get(LIST, {"range": "30d", **query})

    selection = page.context["cl"].selection
    rows = list(record_pages.listed(selection.question, selection.filters))
    totals = page.context["cl"].drawing.totals
    assert page.context["cl"].drawing.requests == len(rows) > 0
    assert totals.cost_picos == sum(row.cost_usd_picos or 0 for row in rows)
    assert totals.output_tokens == sum(row.output_tokens or 0 for row in rows)
    assert totals.in_flight == sum(row.status == "started" for row in rows)


def test_the_sum_line_is_in_words(sample: Sample, browser: Client) -> None:
    page = browser.get(LIST, {"model": "claude-3", "outcome": "failed"})

    assert sum_line_of(page) == "1 request · unpriced · 21 tokens · 1 error · 0 rejected"


# ---- columns


def test_the_default_columns_have_names_cost_and_latency(sample: Sample, browser: Client) -> None:
    page = browser.get(LIST, {"key": sample.team_key.public_id})

    assert headers_of(page) == [
        "Time",
        "Status",
        "Model",
        "Key",
        "Input tokens",
        "Output tokens",
        "Cost",
        "Time to first token",
        "Latency",
    ]
    assert ">of a team</a>" in page.text


def test_columns_are_chosen_in_the_url_and_remembered(sample: Sample, browser: Client) -> None:
    chosen = browser.get(LIST, {"range": "7d", "set_col": ["team_name", "owner_name", "id"]}, follow=True)
    later = browser.get(LIST)
    other = browser.get(LIST, {"cols": "http"})
    again = browser.get(LIST, {"cols": "default"})

    assert chosen.redirect_chain[0][0].endswith("cols=team_name%2Cowner_name%2Cid")
    assert headers_of(chosen) == headers_of(later) == ["Time", "Team", "Owner", "Request ID"]
    assert headers_of(other) == ["Time", "HTTP"]
    assert len(headers_of(again)) == len(headers_of(browser.get(LIST))) == 1 + len(columns.DEFAULT)
    assert "cols=team_name" in chosen.text.partition('class="segments"')[2].partition("</nav>")[0]


def test_every_column_can_be_shown_and_deleted_teams_and_owners_have_a_text(sample: Sample, browser: Client) -> None:
    UsageRecord.objects.update(team_id=10**6, owner_id=10**6)

    page = browser.get(LIST, {"cols": ",".join(columns.COLUMNS)})
    detail = browser.get(f"{LIST}{sample.records['plain'].pk}/change/")

    assert len(headers_of(page)) == 1 + len(columns.COLUMNS)
    for text in ("Deleted team 1000000", "Deleted owner 1000000"):
        assert text in page.text and text in detail.text


def test_an_unknown_choice_of_columns_is_the_default(browser: Client, db: None) -> None:
    browser.cookies[columns.COOKIE] = "x" * 5000

    for text in ("", "nonsense", "," * 500, "created"):
        assert len(browser.get(LIST, {"cols": text}).context["cl"].list_display) == 1 + len(columns.DEFAULT)


# ---- scope


def test_a_user_with_a_scope_sees_its_teams_alone(sample: Sample) -> None:
    user = User.objects.create_user("member", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_usagerecord"))
    sample.team.members.add(user)
    member = Client()
    member.force_login(user)

    page = member.get(LIST, WIDE)
    assert [sample.names[id] for id in shown(page)] == ["team"]
    assert page.context["cl"].drawing.requests == 1
    plain = sample.records["plain"]
    for query in ({"id": plain.pk}, {"team": "0"}, {"key": sample.recorder.api_key.public_id}, {"min_latency": "0"}):
        found = [sample.names[id] for id in shown(member.get(LIST, {**WIDE, **query}))]
        assert found == (["team"] if query == {"min_latency": "0"} else [])
    assert member.get(f"{LIST}{plain.pk}/change/").status_code == 302
    public_id = sample.recorder.api_key.public_id
    assert list(chips_of(member.get(LIST, {"key": public_id}))) == [f"Key: {public_id}"]


# ---- hostile URLs

SLOW = {
    "sqlite": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n)",
    "postgresql": "(SELECT pg_sleep(60)::text)",
}
"""Expressions that take forever."""

VALUES = [
    "",
    "0",
    "-1",
    "9" * 40,
    "\0",
    "%00",
    "'\"><script>alert(1)</script>",
    "2026-13-45",
    "9999-12-31T23:59:59+14:00",
    "0001-01-01",
    "a" * 9000,
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "\u202e",
    "x,y;z",
    "1e309",
    "*",
    "\N{ARABIC-INDIC DIGIT FIVE}",
]
NAMES = [
    *("range", "from", "to", "key", "team", "owner", "model", "not_model", "outcome", "tag.x", "tag.", "session", "id"),
    *("http", "min_latency", "min_cost", "min_tokens", "streamed", "model_prefix", "cols", "before", "after", "bucket"),
    *("group", "sort", "measure", "q", "time", "p", "o", "all", "e", "status__exact", "api_key__public_id"),
    *("set_model", "set_min_latency", "set_from", "set_tag", "set_col", "set_http", "set_", "created_at__year"),
    *("secret__digest__startswith", "nonsense"),
]


@pytest.mark.parametrize("name", NAMES)
def test_no_parameter_fails_the_page(name: str, browser: Client, recorder: UsageRecorder) -> None:
    recorder.record()
    for value in VALUES:
        page = browser.get(LIST, {name: value}, follow=True)
        assert page.status_code == 200, (name, value)
        assert "<script>alert" not in page.text


def test_no_combination_of_parameters_fails_the_page(browser: Client, sample: Sample) -> None:
    randomly = random.Random(11)
    good = ["1", "failed", "5xx", "7d", "12mo", "2026-01-01", "claude-3", "s1", sample.team_key.public_id]
    for _ in range(150):
        names = randomly.sample(NAMES, randomly.randint(2, 7))
        query = {name: [randomly.choice([*VALUES, *good]) for _ in range(randomly.randint(1, 3))] for name in names}
        assert browser.get(LIST, query, follow=True).status_code == 200, query


def test_the_page_names_the_parameters_that_it_ignores(browser: Client, db: None) -> None:
    page = browser.get(
        LIST, {"http": "999", "min_cost": "x", "nonsense": "1", "from": "2026-02-30", "to": "2026-03-01"}
    )

    notes = page.context["cl"].selection.notes
    assert len(notes) == 4 and all(html.escape(note) in page.text for note in notes)


def test_a_search_that_takes_too_long_gets_a_sentence(
    browser: Client, recorder: UsageRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.record()
    slow = RawSQL(SLOW[connection.vendor], [])
    listed = record_pages.listed
    monkeypatch.setattr(change_list, "listed", lambda *parts: listed(*parts).annotate(slow=slow))
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 200")

    page = browser.get(LIST)

    assert page.status_code == 200 and "Choose a shorter range" in page.text and shown(page) == []


@pytest.mark.parametrize("query", FILTERS, ids=lambda query: urlencode(query))
def test_every_query_reads_the_records_by_an_index(query: dict[str, Any], browser: Client, sample: Sample) -> None:
    is_postgresql = connection.vendor == "postgresql"
    query = {**query, "key": sample.team_key.public_id} if "key" in query else query
    older = {"before": f"{int(timezone.now().timestamp() * 1_000_000)}.req_1"}
    with CaptureQueriesContext(connection) as captured:
        for position in ({}, older):
            browser.get(LIST, {"range": "7d", **query, **position})

    read = [
        each["sql"] for each in captured if '"keys_usagerecord"' in each["sql"] and each["sql"].startswith("SELECT")
    ]
    assert len(read) >= 2
    with connection.cursor() as cursor:
        if is_postgresql:
            cursor.execute("SET LOCAL enable_seqscan = off")  # it reads a table of fifteen rows as a whole otherwise
        for sql in read:
            cursor.execute(f"EXPLAIN {sql}" if is_postgresql else f"EXPLAIN QUERY PLAN {sql}")
            plan = [str(row[-1]) for row in cursor.fetchall()]
            whole = [step for step in plan if re.search(r"Seq Scan on keys_usagerecord|SCAN keys_usagerecord$", step)]
            assert not whole, plan
