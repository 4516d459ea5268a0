"""The issue form: choices, help texts, validation and preview, with and without its script."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from keys.domain import raw_key
from keys.models import APIKey, Budget, Team
from messages_api.models import Route

ADD = "/admin/keys/apikey/add/"
PREVIEW = "/admin/keys/apikey/add/preview/"


@pytest.fixture
def team(db: None) -> Team:
    """Create a team with limits, a budget and an allowlist."""
    limits = {"requests_per_minute": 100, "tokens_per_minute": 200_000, "concurrent_requests": 20}
    team = Team.objects.create(name="Search", email="search@example.com", allowed_models=["claude-*", "smol"], **limits)
    Budget.objects.create(team=team, amount=200_000_000, period="month")
    return team


@pytest.fixture
def form(browser: Client, admin: User) -> dict[str, Any]:
    """Return the data of the page's form, with a name filled in."""
    token = browser.get(ADD).context["form"]["token"].value()
    return {"name": "app", "owner_choice": f"user-{admin.pk}", "expires": "90", "token": token}


def budgets(*rows: dict[str, Any]) -> dict[str, str]:
    """Return the budget rows as a browser sends them."""
    defaults = {"amount": "", "unit": "usd", "period": "month", "alert_threshold_percent": "80"}
    fields = {f"budgets-{i}-{name}": value for i, row in enumerate(rows) for name, value in (defaults | row).items()}
    return {"budgets-TOTAL_FORMS": str(len(rows)), "budgets-INITIAL_FORMS": "0", **fields}


def errors(answer: Any) -> dict[str, list[str]]:
    return dict(answer.context["form"].errors)


def test_a_key_is_issued_with_everything(browser: Client, admin: User, team: Team, form: dict[str, Any]) -> None:
    more = {
        "owner_choice": f"team-{team.pk}",
        "purpose": "Answers tickets.",
        "allowed_models": "claude-3-opus\r\nclaude-haiku-*",
        "requests_per_minute": "60",
        "tokens_per_minute": "5000",
        "concurrent_requests": "5",
        "shadow_mode": "on",
        "allowed_ips": "192.0.2.7\r\n::ffff:10.0.0.0/104\r\n2001:DB8::/32",
        "metadata": "ticket=OPS-17\r\nnote=a=b",
    }

    answer = browser.post(ADD, form | more | budgets({"amount": "20.000001"}, {"amount": "1,000", "unit": "tokens"}))

    api_key = APIKey.objects.get()
    assert raw_key.is_well_formed(answer.context["raw"])
    assert (api_key.team, api_key.owner, api_key.created_by) == (team, None, admin)
    assert (api_key.purpose, api_key.allowed_models) == ("Answers tickets.", ["claude-3-opus", "claude-haiku-*"])
    assert (api_key.requests_per_minute, api_key.tokens_per_minute, api_key.concurrent_requests) == (60, 5000, 5)
    assert api_key.shadow_mode
    assert api_key.allowed_ips == ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"]
    assert api_key.metadata == {"ticket": "OPS-17", "note": "a=b"}
    found = set(api_key.budgets.values_list("unit", "period", "amount", "alert_threshold_percent"))
    assert found == {("usd", "month", 20_000_001, 80), ("tokens", "month", 1_000, 80)}


def test_help_texts_say_what_an_empty_field_means_for_a_user(browser: Client, form: dict[str, Any]) -> None:
    page = browser.get(ADD)

    assert "Empty: no limit." in page.text
    assert "Empty: every model that has a route." in page.text
    assert "No budget: spending is not limited." in page.text


def test_help_texts_say_what_an_empty_field_means_for_a_team(browser: Client, team: Team, form: dict[str, Any]) -> None:
    page = browser.post(ADD, form | {"owner_choice": f"team-{team.pk}", "check": "yes"}).text

    assert "Empty: 100 requests per minute, shared with the other keys of team Search." in page
    assert "Empty: 20 concurrent requests, shared with the other keys of team Search." in page
    assert "Empty: the models of team Search: claude-* and smol." in page
    assert "Team Search has $200.00 per month, shared by all its keys. A key budget applies in addition." in page
    assert (
        "All keys of team Search share 100 requests per minute, 200,000 tokens per minute, 20 concurrent requests and "
        "$200.00 per month. They may use claude-* and smol. Alerts go to search@example.com." in page
    )


def test_the_script_gets_the_same_help_texts(browser: Client, team: Team) -> None:
    page = browser.get(ADD)

    said = json.loads(page.text.split('<script id="help-texts" type="application/json">')[1].split("</script>")[0])
    assert said == page.context["form"].field_help_texts_by_owner
    assert said[f"team-{team.pk}"]["concurrent_requests"].startswith("Empty: 20 concurrent requests")
    assert said[""]["concurrent_requests"] == "Empty: no limit."


def test_a_team_with_a_hostile_name_is_inert(browser: Client, form: dict[str, Any]) -> None:
    hostile = "</script><script>alert(1)</script>{{ 7|add:7 }}"
    team = Team.objects.create(name=hostile, requests_per_minute=1)

    page = browser.post(ADD, form | {"owner_choice": f"team-{team.pk}", "requests_per_minute": "2"}).text

    assert "<script>alert" not in page and "14" not in page.split("The team")[1][:200]


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        (
            {"requests_per_minute": "101"},
            "requests_per_minute",
            "100 requests per minute for all its keys: enter 100 or",
        ),
        ({"tokens_per_minute": "200001"}, "tokens_per_minute", "200,000 tokens per minute"),
        ({"concurrent_requests": "21"}, "concurrent_requests", "20 concurrent requests"),
        ({"allowed_models": "claude-3\r\ngpt-4"}, "allowed_models", "allows claude-*, smol, but not gpt-4."),
        ({"allowed_models": "*"}, "allowed_models", "not *."),
        ({"allowed_models": "smol*"}, "allowed_models", "not smol*."),
        ({"allowed_models": "claude*"}, "allowed_models", "not claude*."),
    ],
)
def test_a_key_does_not_exceed_its_team(
    wrong: dict[str, str], field: str, said: str, browser: Client, team: Team, form: dict[str, Any]
) -> None:
    answer = browser.post(ADD, form | {"owner_choice": f"team-{team.pk}"} | wrong)

    assert list(errors(answer)) == [field]
    assert said in errors(answer)[field][0] and not APIKey.objects.exists()


@pytest.mark.parametrize(
    ("row", "is_allowed"),
    [
        ({"amount": "200"}, True),
        ({"amount": "200.000001"}, False),
        ({"amount": "201", "period": "day"}, False),  # exceeds the monthly budget in a day
        ({"amount": "201", "period": "total"}, True),  # may take longer than a month to spend
        ({"amount": "1000", "unit": "tokens"}, True),  # the team's budget is in dollars
    ],
)
def test_a_budget_does_not_exceed_the_teams(
    row: dict[str, str], is_allowed: bool, browser: Client, team: Team, form: dict[str, Any]
) -> None:
    answer = browser.post(ADD, form | {"owner_choice": f"team-{team.pk}"} | budgets(row))

    assert APIKey.objects.exists() == is_allowed
    assert ("The team Search has $200.00 per month for all its keys" in answer.text) == (not is_allowed)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"amount": "x"}], "Enter an amount in dollars, such as 12.50."),
        ([{"amount": "0.0000001"}], "enter at most six decimals"),
        ([{"amount": "1.5", "unit": "tokens"}], "Enter a whole number of tokens"),
        ([{"amount": "1"}, {"amount": "2"}], "A budget in US dollars per month already exists."),
        ([{"amount": "1", "alert_threshold_percent": "101"}], "less than or equal to 100"),
        ([{"amount": "9999999999"}], "Enter an amount of at most"),
        ([{"amount": "", "period": "day"}], "This field is required."),
        ([{"amount": str(i)} for i in range(1, 10)], "at most 8"),
    ],
)
def test_an_invalid_budget_issues_nothing(
    rows: list[dict[str, str]], said: str, browser: Client, form: dict[str, Any]
) -> None:
    answer = browser.post(ADD, form | budgets(*rows))

    assert said in answer.text and not APIKey.objects.exists()
    assert 'value="Issue' not in answer.text or "errornote" in answer.text


def test_a_row_without_an_amount_is_no_budget(browser: Client, form: dict[str, Any]) -> None:
    browser.post(ADD, form | budgets({}, {"amount": "3"}, {}))

    assert [budget.amount for budget in APIKey.objects.get().budgets.all()] == [3_000_000]


def test_budget_rows_are_added_without_a_script(browser: Client, form: dict[str, Any]) -> None:
    answer = browser.post(ADD, form | budgets({"amount": "3"}) | {"add_budget": "yes"})

    assert len(answer.context["budgets"].forms) == 2 and not APIKey.objects.exists()
    assert answer.context["form"]["token"].value() == form["token"]


@pytest.mark.parametrize(
    "addresses", ["0.0.0.0/0", "::/0", "10.0.0.1\r\n0.0.0.0/0", "::ffff:0:0/96", "0.0.0.0/1\r\n128.0.0.0/1"]
)
def test_a_range_of_all_ip_addresses_must_be_confirmed(addresses: str, browser: Client, form: dict[str, Any]) -> None:
    refused = browser.post(ADD, form | {"allowed_ips": addresses})
    assert "These ranges cover all IP addresses." in errors(refused)["allowed_ips"][0]
    assert not APIKey.objects.exists()

    browser.post(ADD, form | {"allowed_ips": addresses, "allow_any_ip": "on"})

    assert APIKey.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"allowed_ips": "10.0.0.256"}, "allowed_ips"),
        ({"allowed_ips": "example.com"}, "allowed_ips"),
        ({"metadata": "ticket"}, "metadata"),
        ({"metadata": "a=1\r\na=2"}, "metadata"),
        ({"metadata": "a b=1"}, "metadata"),
        ({"metadata": f"a={'x' * 501}"}, "metadata"),
        ({"metadata": "\r\n".join(f"a{i}=1" for i in range(21))}, "metadata"),
        ({"requests_per_minute": "0"}, "requests_per_minute"),
        ({"requests_per_minute": "-1"}, "requests_per_minute"),
        ({"concurrent_requests": "many"}, "concurrent_requests"),
        ({"owner_choice": ""}, "owner_choice"),
        ({"owner_choice": "team-0"}, "owner_choice"),
        ({"name": f"for {raw_key.generate()}"}, "name"),
        ({"purpose": f"the old one was {raw_key.generate()[:20]}"}, "purpose"),
        ({"metadata": f"key={raw_key.generate()}"}, "metadata"),
    ],
)
def test_errors_are_shown_at_their_field(
    wrong: dict[str, str], field: str, browser: Client, form: dict[str, Any]
) -> None:
    answer = browser.post(ADD, form | wrong)

    assert list(errors(answer)) == [field] and not APIKey.objects.exists()


def test_a_disabled_team_gets_no_new_key(browser: Client, team: Team, form: dict[str, Any]) -> None:
    team.disable()

    answer = browser.post(ADD, form | {"owner_choice": f"team-{team.pk}"})

    assert "owner_choice" in errors(answer)


def test_models_with_a_route_are_suggested(browser: Client) -> None:
    for pattern in ("*", "claude-*", '"><script>alert(1)</script>'):
        Route.objects.create(pattern=pattern)

    page = browser.get(ADD).text

    assert 'data-suggestion="claude-*"' in page and 'data-suggestion="*"' not in page and "<script>alert" not in page


def test_the_preview_summarizes_the_key(browser: Client, team: Team, form: dict[str, Any]) -> None:
    more = {"owner_choice": f"team-{team.pk}", "allowed_ips": "10.0.0.0/8", "expires": "never"}
    more |= {"no_expiry_reason": "no clock"}

    answer = browser.post(ADD, form | more | budgets({"amount": "20"}) | {"check": "yes"})

    assert {line.label: line.text for line in answer.context["summary"]} == {
        "Owner": "team Search",
        "Models": "the models of team Search: claude-* and smol",
        "Allowed IP addresses": "10.0.0.0/8",
        "Expires": "never (no clock)",
        "Budget": "$20.00 per month; shared with its team: $200.00 per month",
        "Limits": "shared with its team: 100 requests per minute, 200,000 tokens per minute and 20 concurrent requests",
    }
    assert not APIKey.objects.exists()


def test_the_preview_lists_problems(browser: Client, form: dict[str, Any]) -> None:
    answer = browser.post(PREVIEW, form | {"name": "", "requests_per_minute": "0"})

    assert answer.context["problems"] == [
        "Name: This field is required.",
        "Requests per minute (RPM): Ensure this value is greater than or equal to 1.",
    ]
    assert "data-problems" in answer.text


def test_the_preview_issues_nothing_and_uses_no_token(browser: Client, form: dict[str, Any]) -> None:
    for _ in range(2):
        assert "<dd>root</dd>" in browser.post(PREVIEW, form).text
    assert not APIKey.objects.exists()

    assert raw_key.is_well_formed(browser.post(ADD, form).context["raw"])


def test_the_preview_is_a_post_and_needs_the_permission_to_issue(
    browser: Client, browser_of: Callable[..., Client], form: dict[str, Any]
) -> None:
    assert browser.get(PREVIEW).status_code == 405
    assert browser_of("view_apikey", "change_apikey").post(PREVIEW, form).status_code == 403


def test_the_number_of_queries_does_not_depend_on_the_number_of_teams(
    browser: Client, team: Team, django_assert_num_queries: Any
) -> None:
    # session, user, routes, users, teams, their budgets
    for expected in (1, 10):
        while Team.objects.count() < expected:
            other = Team.objects.create(name=f"Team {Team.objects.count()}", requests_per_minute=5)
            Budget.objects.create(team=other, amount=1)
        with django_assert_num_queries(6):
            browser.get(ADD)
