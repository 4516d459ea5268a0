"""List of API keys: columns, badges, filters with counts, search and row actions."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from keys.models import APIKey, Budget, BudgetPeriod, KeySecret, ModelPrice, Team
from keys.pricing.price_book import prices
from lib import periods
from lib.admin.cells import sparkline
from tests.support.usage_rows import UsageRecorder

LIST = "/admin/keys/apikey/"
Issue = Callable[..., tuple[APIKey, str]]


def shown(answer: Any) -> list[str]:
    return sorted(api_key.name for api_key in answer.context["cl"].result_list)


def cells_of(answer: Any, column: str) -> list[str]:
    """Return the cells of a column as text."""
    found = re.findall(rf'<t[dh][^>]* class="field-{column}[^"]*"[^>]*>(.*?)</t[dh]>', answer.text, re.DOTALL)
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", cell)).strip() for cell in found]


def row_links(answer: Any) -> dict[str, dict[str, str]]:
    """Return the links of each row, by the name of its key: their texts and URLs."""
    found: dict[str, dict[str, str]] = {name: {} for name in shown(answer)}
    links = re.findall(r'<a href="([^"]*)" aria-label="(?:\w+) ([^"]*)">(\w+)</a>', answer.text)
    for address, name, verb in links:
        found[name][verb] = urljoin(LIST, address)
    return found


def choices(answer: Any) -> dict[str, int]:
    """Return the choices of all filters with their counts."""
    sidebar = answer.text.partition('id="changelist-filter"')[2]
    return {
        name.strip(): int(count.replace(",", "")) for name, count in re.findall(r">([^<>(]+) \(([\d,]+)\)</a>", sidebar)
    }


@pytest.fixture
def team(db: None) -> Team:
    return Team.objects.create(name="Search", allowed_models=["claude-*"])


@pytest.fixture
def every_kind(issue: Issue, team: Team) -> None:
    """Create one key per condition, named after it, and otherwise active without findings."""
    now = timezone.now()
    in_time = {"expires_at": now + timedelta(days=100), "requests_per_minute": 60}
    gone = User.objects.create_user("gone", is_active=False)
    closed = Team.objects.create(name="closed", disabled_at=now)
    issue(name="good", **in_time)
    issue(name="expiring", **(in_time | {"expires_at": now + timedelta(days=13)}))
    issue(name="endless", **(in_time | {"expires_at": None}))
    issue(name="expired", **(in_time | {"expires_at": now - timedelta(days=1)}))
    issue(name="unlimited", **(in_time | {"requests_per_minute": None}))
    issue(name="limits that only count", **in_time, shadow_mode=True)
    issue(name="its team is limited", **(in_time | {"owner": None, "team": team, "requests_per_minute": None}))
    Budget.objects.create(team=team, amount=1_000_000)
    issue(name="ownerless", **(in_time | {"owner": gone}))
    issue(name="team-disabled", **(in_time | {"owner": None, "team": closed}))
    issue(name="disabled", **(in_time | {"expires_at": now - timedelta(days=1)}))[0].disable()
    issue(name="revoked", **in_time)[0].revoke(note="test")
    issue(name="rotating", **in_time)[0].rotate(overlap=timedelta(days=1))
    issue(name="idle", **in_time)
    issue(name="unused", **in_time)
    KeySecret.objects.exclude(api_key__name="unused").update(last_used_at=now - timedelta(days=1))
    KeySecret.objects.filter(api_key__name="idle").update(last_used_at=now - timedelta(days=91))
    APIKey.objects.filter(name="idle").update(created_at=now - timedelta(days=200))


ACTIVE = ["endless", "expiring", "good", "idle", "its team is limited", "limits that only count", "rotating"]
ACTIVE += ["unlimited", "unused"]


@pytest.mark.usefixtures("every_kind")
@pytest.mark.parametrize(
    "query, names",
    [
        ("state=active", ACTIVE),
        ("state=expired", ["expired"]),
        ("state=disabled", ["disabled"]),
        ("state=revoked", ["revoked"]),
        ("state=owner-inactive", ["ownerless"]),
        ("state=team-disabled", ["team-disabled"]),
        ("finding=expiring", ["expiring"]),
        ("finding=no-expiry", ["endless"]),
        ("finding=idle", ["idle"]),
        ("finding=never-used", ["unused"]),
        ("finding=rotating", ["rotating"]),
        ("finding=unlimited", ["limits that only count", "unlimited"]),
        ("state=active&finding=idle", ["idle"]),
        ("state=revoked&finding=idle", []),
        ("state=nonsense", sorted([*ACTIVE, "disabled", "expired", "ownerless", "revoked", "team-disabled"])),
    ],
)
def test_a_filter_shows_the_matching_keys(query: str, names: list[str], browser: Client) -> None:
    assert shown(browser.get(f"{LIST}?{query}")) == names


@pytest.mark.usefixtures("every_kind")
def test_a_filter_counts_what_each_choice_would_leave(browser: Client) -> None:
    everything = choices(browser.get(LIST))
    of_active = choices(browser.get(f"{LIST}?finding=unlimited"))

    states = {"Active": 9, "Expired": 1, "Disabled": 1, "Revoked": 1, "Owner inactive": 1, "Team disabled": 1}
    traits = {
        "No expiry, no reason given": 1,
        "No limit and no budget": 2,
        "Expires within 14 days": 1,
        "Never used": 1,
    }
    assert states.items() <= everything.items() and traits.items() <= everything.items()
    assert of_active["Active"] == 2 and of_active["Revoked"] == 0
    assert (
        of_active["No limit and no budget"] == 2 and of_active["No expiry, no reason given"] == 1
    )  # a filter ignores its own choice


@pytest.mark.usefixtures("every_kind")
def test_a_row_has_badges_for_the_conditions_of_its_key(browser: Client) -> None:
    answer = browser.get(LIST)

    names = [cell.split(" mgw_")[0] for cell in cells_of(answer, "key")]
    said = dict(zip(names, cells_of(answer, "status"), strict=True))
    assert said == {
        "good": "Active",
        "expiring": "Active Expires soon",
        "endless": "Active No expiry",
        "expired": "Expired",
        "unlimited": "Active No limit",
        "limits that only count": "Active No limit",
        "its team is limited": "Active",
        "ownerless": "Owner inactive",
        "team-disabled": "Team disabled",
        "disabled": "Disabled",
        "revoked": "Revoked",
        "rotating": "Active Rotating",
        "idle": "Active Idle",
        "unused": "Active Never used",
    }


@pytest.mark.parametrize(
    "query, names",
    [
        ("owner=root", ["any model", "claude", "one model"]),
        ("team=Search", ["any of its team's", "one of its team's"]),
        ("owner=nobody", []),
        ("created_by=root", ["claude"]),
        ("model=claude-3", ["any model", "any of its team's", "claude", "one of its team's"]),
        ("model=claude-*", ["any model", "any of its team's", "claude"]),
        ("model=llama", ["any model", "one model"]),
        ("model=*", ["any model"]),
        ("model=%00", ["any model", "any of its team's", "claude", "one model", "one of its team's"]),
    ],
)
def test_keys_are_filtered_by_owner_team_and_allowed_model(
    query: str, names: list[str], browser: Client, issue: Issue, team: Team, admin: User
) -> None:
    issue(name="any model")
    issue(name="one model", allowed_models=["llama"])
    issue(name="claude", allowed_models=["llam", "cla*"], created_by=admin)
    issue(name="any of its team's", owner=None, team=team)
    issue(name="one of its team's", owner=None, team=team, allowed_models=["llama", "claude-3"])

    answer = browser.get(f"{LIST}?{query}")

    assert shown(answer) == names


def test_owners_teams_and_models_are_offered_with_their_counts(browser: Client, issue: Issue, team: Team) -> None:
    issue(name="a")
    issue(name="b", allowed_models=["llama", "claude-3"])
    issue(name="c", owner=None, team=team, allowed_models=["llama"])

    offered = choices(browser.get(LIST))
    of_the_team = choices(browser.get(f"{LIST}?team=Search"))

    assert {"root": 2, "Search": 1, "claude-3": 2, "llama": 2, "claude-*": 1}.items() <= offered.items()
    assert {"Search": 1, "claude-*": 0, "llama": 0}.items() <= of_the_team.items() and "root" not in of_the_team


@pytest.mark.parametrize("term", ["Search", "search team"])
def test_search_finds_the_keys_of_a_team(term: str, browser: Client, issue: Issue, team: Team) -> None:
    issue(name="other")
    issue(name="the team app", owner=None, team=team)

    assert shown(browser.get(LIST, {"q": term})) == ["the team app"]


def test_the_cost_of_the_month_is_shown_with_the_budget(browser: Client, recorder: UsageRecorder) -> None:
    ModelPrice.objects.create(
        model_pattern="priced", input_price=1_000_000_000, output_price=1, valid_from=timezone.now() - timedelta(1)
    )
    prices.book()
    Budget.objects.create(api_key=recorder.api_key, amount=20_000)
    for _ in range(2):
        recorder.record(upstream_model="priced")
    recorder.record()
    begin = periods.begin_of("month", timezone.now())
    BudgetPeriod.objects.create(budget=Budget.objects.get(), starts_at=begin, spent=17_000, reserved=1_000)

    answer = browser.get(LIST)

    assert cells_of(answer, "spending") == ["$0.018 + 1 unpriced 90 % of $0.02 per month"]
    assert '<rect class="bar-part" width="90" height="6"/>' in answer.text
    assert 'title="$0.018 used or reserved of the monthly budget"' in answer.text


def test_the_own_budget_of_a_key_is_shown_before_that_of_its_team(browser: Client, issue: Issue, team: Team) -> None:
    Budget.objects.create(team=team, amount=5_000_000, period="total")
    both, _ = issue(name="both", owner=None, team=team)
    Budget.objects.create(api_key=both, amount=100, unit="tokens", period="day")
    issue(name="its team's", owner=None, team=team)
    issue(name="none")

    answer = browser.get(f"{LIST}?o=1")  # by name

    assert cells_of(answer, "spending") == [
        "$0.00 0 % of 100 tokens per day",
        "$0.00 0 % of the team&#x27;s $5.00 in total",
        "$0.00",
    ]


def test_an_unpriced_cost_is_not_shown_as_0(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record()

    assert cells_of(browser.get(LIST), "spending") == ["1 unpriced"]


def test_the_requests_of_seven_days_are_a_sparkline_with_their_count(browser: Client, recorder: UsageRecorder) -> None:
    now = timezone.now()
    for days, count in ((0, 1), (6, 2), (7, 5)):
        for _ in range(count):
            recorder.record(created_at=now - timedelta(days=days))
    recorder.record(status="rejected")

    answer = browser.get(LIST)

    assert cells_of(answer, "requests") == ["3"]
    assert "today last: 2, 0, 0, 0, 0, 0, 1; rejected: 1" in answer.text
    assert answer.text.count('<svg class="sparkline"') == 1


@pytest.mark.parametrize("values", [[0] * 7, [1, 0, 0, 0, 0, 0, 10**9], [5] * 7])
def test_a_day_with_one_request_does_not_look_like_one_without(values: list[int]) -> None:
    heights = [int(height) for height in re.findall(r'height="(\d+)"/>', sparkline(values))]

    assert all((height > 1) == (value > 0) for height, value in zip(heights, values, strict=True))
    assert max(heights) <= 20


@pytest.mark.parametrize(
    "column, names",
    [
        ("name", ["early", "late", "never"]),
        ("belongs to", ["early", "late", "never"]),
        ("last used", ["never", "early", "late"]),
        ("expires", ["early", "late", "never"]),
        ("created", ["early", "late", "never"]),
    ],
)
def test_the_list_is_ordered_by_its_columns(column: str, names: list[str], browser: Client, issue: Issue) -> None:
    now = timezone.now()
    for days, name in enumerate(("early", "late", "never"), start=1):
        owner = User.objects.create_user(name)
        api_key, _ = issue(name=name, owner=owner, expires_at=None if name == "never" else now + timedelta(days=days))
        if name != "never":
            api_key.secrets.update(last_used_at=now + timedelta(days=days))
    number = {"name": 1, "belongs to": 3, "last used": 7, "expires": 8, "created": 9}[column]

    rising = [api_key.name for api_key in browser.get(f"{LIST}?o={number}").context["cl"].result_list]
    falling = [api_key.name for api_key in browser.get(f"{LIST}?o=-{number}").context["cl"].result_list]

    assert rising == names and falling == names[::-1]


# ---- row actions


@pytest.fixture
def three_states(issue: Issue) -> dict[str, APIKey]:
    keys = {name: issue(name=name)[0] for name in ("open", "disabled", "revoked")}
    keys["disabled"].disable()
    keys["revoked"].revoke(note="test")
    return keys


def test_a_row_has_links_to_its_actions(browser: Client, three_states: dict[str, APIKey]) -> None:
    links = row_links(browser.get(LIST))

    assert {name: list(pages) for name, pages in links.items()} == {
        "open": ["Rotate", "Disable", "Revoke"],
        "disabled": ["Rotate", "Enable", "Revoke"],
        "revoked": [],
    }
    for name, pages in links.items():
        for verb, address in pages.items():
            assert address == reverse(f"admin:keys_apikey_{verb.lower()}", args=[three_states[name].pk])
            assert browser.get(address).status_code == 200


@pytest.mark.parametrize(
    ("permission", "verbs"),
    [
        ("rotate_apikey", {"open": ["Rotate"], "disabled": ["Rotate"], "revoked": []}),
        ("disable_apikey", {"open": ["Disable"], "disabled": ["Enable"], "revoked": []}),
        ("revoke_apikey", {"open": ["Revoke"], "disabled": ["Revoke"], "revoked": []}),
    ],
)
def test_a_row_has_no_links_to_forbidden_pages(
    permission: str, verbs: dict[str, list[str]], browser_of: Callable[..., Client], three_states: dict[str, APIKey]
) -> None:
    links = row_links(browser_of("view_apikey", permission).get(LIST))

    assert {name: list(pages) for name, pages in links.items()} == verbs


def test_the_actions_column_has_a_label_and_needs_a_permission(
    browser: Client, browser_of: Callable[..., Client], three_states: dict[str, APIKey]
) -> None:
    heading = '<span class="visually-hidden">Actions</span>'

    assert heading in browser.get(LIST).text
    reader = browser_of("view_apikey").get(LIST)
    assert heading not in reader.text and "row-actions" not in reader.text
    assert row_links(reader) == {"open": {}, "disabled": {}, "revoked": {}}


def test_a_hostile_name_is_inert_in_its_row(browser: Client, issue: Issue) -> None:
    issue(name='"><script>alert(1)</script>')

    page = browser.get(LIST).text

    assert "<script>alert" not in page
    assert 'aria-label="Rotate &quot;&gt;&lt;script&gt;' in page


def test_an_empty_list_says_what_to_do(browser: Client, browser_of: Callable[..., Client]) -> None:
    command = "<code>manage.py issue_key --name my-app</code>"
    page, readers_page = browser.get(LIST).text, browser_of("view_apikey").get(LIST).text

    assert "Issue your first key" in page and command in page
    assert "No keys yet" in readers_page
    assert "Issue your first key" not in readers_page and command not in readers_page


def test_names_are_not_counted_among_thousands_of_keys(browser: Client, admin: User) -> None:
    named = 'title="root">root ('
    APIKey.objects.bulk_create(APIKey(name=f"app {i}", owner=admin) for i in range(1_001))

    assert named not in browser.get(LIST).text
    assert named in browser.get(f"{LIST}?q=app+1000").text
    APIKey.objects.get(name="app 7").delete()
    assert named in browser.get(LIST).text


def test_the_list_takes_a_constant_number_of_queries(
    browser: Client, issue: Issue, team: Team, recorder: UsageRecorder
) -> None:
    taken = {}
    for expected in (5, 50):
        while APIKey.objects.count() < expected:
            number = APIKey.objects.count()
            owner = User.objects.create_user(f"owner {number}")
            belongs = {"owner": None, "team": team} if number % 2 else {"owner": owner}
            api_key, _ = issue(name=f"app {number}", allowed_models=[f"model-{number}"], **belongs)
            api_key.rotate(overlap=timedelta(days=1))
            Budget.objects.create(api_key=api_key, amount=1_000_000)
            recorder.record(as_key=api_key)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            answer = browser.get(LIST)
        assert len(answer.context["cl"].result_list) == expected
        taken[expected] = len(captured)

    # session, user, count, keys, secrets, conditions, days, month, budgets, periods; and one per filter
    assert taken == {5: 20, 50: 20}


def test_permissions_are_checked_once_for_all_rows(browser_of: Callable[..., Client], issue: Issue) -> None:
    clerk = browser_of("view_apikey", "rotate_apikey", "disable_apikey")
    taken = {}
    for expected in (5, 50):
        while APIKey.objects.count() < expected:
            issue(name=f"app {APIKey.objects.count()}")
        with CaptureQueriesContext(connection) as captured:
            links = row_links(clerk.get(LIST))
        assert all(list(pages) == ["Rotate", "Disable"] for pages in links.values())
        taken[expected] = sum("auth_permission" in query["sql"] for query in captured)

    # own permissions, and those of groups
    assert taken == {5: 2, 50: 2}
