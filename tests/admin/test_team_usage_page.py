"""Page of a team, and of a user: figures, budgets with forecast, latest errors, and links with the same filter."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from keys.models import APIKey, Budget, Team
from tests.support.usage_rows import UsageRecorder

pytestmark = pytest.mark.django_db


@pytest.fixture
def crew(recorder: UsageRecorder) -> Team:
    """Return a team with requests; the recorder's own key is one of a user, with another request."""
    team = Team.objects.create(name="crew <b>")
    api_key, _ = APIKey.objects.issue(name="app", team=team)
    other, _ = APIKey.objects.issue(name="other", team=Team.objects.create(name="other"))
    Budget.objects.create(team=team, amount=1_000, unit="tokens")
    recorder.record(as_key=api_key, model="m1")
    recorder.record(as_key=api_key, model="m1", status="failed", http_status=502, error_type="api_error")
    recorder.record(as_key=other, model="canary", status="failed", http_status=502, error_type="api_error")
    recorder.record(model="of the user")
    return team


def test_a_team_page_shows_the_usage_of_the_team_only(browser: Client, crew: Team) -> None:
    page = browser.get(f"/admin/keys/team/{crew.pk}/usage/")

    usage = page.context["usage"]
    assert [(row.subject, row.totals.requests) for row in usage.models] == [("m1", 2)]
    assert [(row.subject.name, row.totals.requests) for row in usage.keys] == [("app", 2)]
    assert usage.total == usage.month and usage.total.requests == 2 and usage.days[-1].totals == usage.total
    assert [record.model for record in usage.errors] == ["m1"]
    assert "canary" not in page.text and "<b>" not in page.text


def test_a_team_page_shows_budgets_with_their_forecast(browser: Client, crew: Team) -> None:
    page = browser.get(f"/admin/keys/team/{crew.pk}/usage/")

    [meter] = page.context["budget_meters"]
    assert meter.status.limit == 1_000
    assert "At the 7-day average" in page.text


def test_the_links_of_a_team_page_have_its_filter(browser: Client, crew: Team) -> None:
    page = browser.get(f"/admin/keys/team/{crew.pk}/usage/").text

    assert f"/admin/usage/?range=30d&amp;team={crew.pk}" in page
    assert f"/admin/keys/usagerecord/?range=30d&amp;team={crew.pk}" in page
    assert f"/admin/keys/team/{crew.pk}/usage/" in browser.get(f"/admin/keys/team/{crew.pk}/change/").text


def test_a_key_that_moved_stays_in_the_figures_of_its_former_team(browser: Client, crew: Team) -> None:
    APIKey.objects.filter(name="app").update(team=Team.objects.get(name="other"))

    assert browser.get(f"/admin/keys/team/{crew.pk}/usage/").context["usage"].total.requests == 2


def test_a_page_of_a_user_shows_the_usage_of_its_keys(browser: Client, crew: Team, admin: User) -> None:
    page = browser.get(f"/admin/owners/{admin.pk}/")

    assert [row.subject for row in page.context["usage"].models] == ["of the user"]
    assert f"/admin/usage/?range=30d&amp;owner={admin.pk}" in page.text


@pytest.mark.parametrize("id", ["0", "x", "1' or '1", "9" * 30, "٣"])
def test_unknown_owners_are_not_found(id: str, browser: Client, crew: Team) -> None:
    assert browser.get(f"/admin/owners/{id}/").status_code == 404
    assert browser.get(f"/admin/keys/team/{id}/usage/").status_code == 404


def test_a_page_reads_a_constant_number_of_rows(
    browser: Client, crew: Team, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(25):
        browser.get(f"/admin/keys/team/{crew.pk}/usage/")
