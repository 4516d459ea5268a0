"""Key hygiene page: findings, their first keys and links to all of them."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from keys.models import APIKey, Budget, BudgetPeriod, KeySecret, Team
from lib.periods import begin_of
from tests.support.usage_rows import UsageRecorder

PAGE = "/admin/hygiene/"
Issue = Callable[..., tuple[APIKey, str]]


@pytest.fixture
def every_finding(issue: Issue) -> None:
    """Create one key for each finding, and one without."""
    now = timezone.now()
    in_time = {"expires_at": now + timedelta(days=100), "requests_per_minute": 60}
    issue(name="good", **in_time)
    issue(name="expired and tried", **(in_time | {"expires_at": now - timedelta(days=1)}))
    issue(name="revoked and tried", **in_time)[0].revoke()
    KeySecret.objects.filter(api_key__name__endswith="tried").update(last_rejected_at=now)
    issue(name="expiring", **(in_time | {"expires_at": now + timedelta(days=13)}))
    issue(name="endless", **(in_time | {"expires_at": None}))
    issue(name="unlimited", **(in_time | {"requests_per_minute": None}))
    issue(name="ownerless", **(in_time | {"owner": User.objects.create_user("gone", is_active=False)}))
    closed = Team.objects.create(name="closed", disabled_at=now)
    issue(name="of a closed team", **(in_time | {"owner": None, "team": closed}))
    for name, spent in (("near", 900), ("spent", 1000)):
        budget = Budget.objects.create(api_key=issue(name=name, **in_time)[0], amount=1000)
        BudgetPeriod.objects.create(budget=budget, starts_at=begin_of("month", now), spent=spent)
    KeySecret.objects.update(last_used_at=now - timedelta(hours=30))
    issue(name="idle", **in_time)[0].secrets.update(last_used_at=now - timedelta(days=91))
    APIKey.objects.filter(name="idle").update(created_at=now - timedelta(days=200))
    issue(name="unused", **in_time)
    rotated, _ = issue(name="rotated", **in_time)
    rotated.secrets.update(created_at=now - timedelta(days=9))
    rotated.rotate(overlap=timedelta(hours=20))
    old, new = rotated.secrets.order_by("created_at")
    KeySecret.objects.filter(pk=new.pk).update(created_at=now - timedelta(hours=4))
    KeySecret.objects.filter(pk=old.pk).update(last_used_at=now)
    late, _ = issue(name="late", **in_time)
    late.rotate(overlap=timedelta(0))
    late.secrets.exclude(expires_at=None).update(last_rejected_at=now + timedelta(seconds=9), last_used_at=now)


FOUND = {
    "1 key has an exhausted budget": ["spent"],
    "1 key has an inactive owner": ["ownerless"],
    "1 key has a disabled team": ["of a closed team"],
    "1 key still uses a secret that is about to expire": ["rotated"],
    "1 key was used with an expired secret": ["late"],
    "2 keys were used after deactivation": ["revoked and tried", "expired and tried"],
    "1 key expires within 14 days": ["expiring"],
    "1 key has a budget above its alert threshold": ["near"],
    "1 key has no limit and no budget": ["unlimited"],
    "1 key never expires": ["endless"],
    "1 key was not used for 90 days": ["idle"],
    "1 key was never used": ["unused"],
}


@pytest.mark.usefixtures("every_finding")
def test_each_finding_has_a_recommendation_and_a_link_to_its_keys(browser: Client) -> None:
    answer = browser.get(PAGE)

    findings = answer.context["hygiene"].findings
    assert {finding.title: [key.name for key in finding.keys] for finding in findings} == FOUND
    assert [finding.title for finding in findings] == list(FOUND)
    links = re.findall(r'href="(/admin/keys/apikey/\?[^"]+)"', answer.text)
    assert len(links) == len(findings)
    for finding, link in zip(findings, links, strict=True):
        assert finding.check.recommendation.replace("'", "&#x27;") in answer.text
        assert browser.get(link).context["cl"].result_count == finding.count


@pytest.mark.usefixtures("every_finding")
def test_the_key_list_has_the_same_badges(browser: Client) -> None:
    page = browser.get("/admin/keys/apikey/").text

    for badge in (
        "Used after deactivation",
        "Previous secret in use",
        "Expired secret used",
        "Budget exhausted",
        "Near budget limit",
    ):
        assert f">{badge}</span>" in page


def test_an_unpriced_model_is_listed_with_a_link_that_needs_permission(
    browser: Client, browser_of: Callable[..., Client], recorder: UsageRecorder
) -> None:
    recorder.record(upstream_model="new&model")
    reader = browser_of("view_apikey", "view_modelprice")

    mine = browser.get(PAGE).text

    assert "1 model was used without a price" in mine
    assert 'href="/admin/keys/modelprice/add/?model_pattern=new%26model"' in mine
    theirs = reader.get(PAGE).text
    assert "new&amp;model" in theirs and "modelprice/add" not in theirs


def test_the_page_says_when_there_are_no_findings(browser: Client) -> None:
    assert "No findings" in browser.get(PAGE).text


def test_the_page_needs_the_permission_to_view_keys_and_accepts_get_only(
    browser: Client, browser_of: Callable[..., Client]
) -> None:
    assert browser.post(PAGE).status_code == 405
    assert browser_of("view_usagerecord").get(PAGE).status_code == 403
    assert Client().get(PAGE).headers["Location"].startswith("/admin/login/")


def test_hostile_names_are_inert(browser: Client, issue: Issue) -> None:
    issue(name='"><script>alert(1)</script>')

    page = browser.get(PAGE).text

    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


@pytest.mark.usefixtures("every_finding")
def test_tables_can_be_scrolled_by_keyboard_and_have_names(browser: Client) -> None:
    page = browser.get(PAGE).text

    tables = page.count('<table class="figures')
    assert tables == len(FOUND)
    assert page.count("<caption") >= tables
    assert len(re.findall(r'class="scroll" role="region" aria-label="[^"]+" tabindex="0"', page)) == tables


def test_the_number_of_queries_is_constant(browser: Client, issue: Issue, django_assert_num_queries: Any) -> None:
    for expected in (5, 50):
        while APIKey.objects.count() < expected:
            issue(name=f"app {APIKey.objects.count()}")
        with django_assert_num_queries(10):  # session, user, two that count, two for budgets, three findings, hours
            browser.get(PAGE)
