"""The page of re-rating runs: preview, apply, undo, and what is rejected."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from keys.models import Budget, ModelPrice, Rerating, UsageRecord
from keys.usage import rerating
from tests.support.charged_requests import Installation, check_spending, mismatches

URL = "/admin/prices/rerating/"
DAY = {"first": "2026-07-01", "last": "2026-07-01"}


@pytest.fixture
def browser(client: Client, quiet_ledger: None) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def installation(browser: Client) -> Installation:
    found = Installation()
    admission = found.admit(datetime(2026, 7, 1, 12, tzinfo=UTC))
    found.settle(admission, input_tokens=1_000_000, output_tokens=0)
    ModelPrice.objects.create(
        model_pattern="m", input_price=5_000_000, output_price=1, valid_from=datetime(2026, 1, 1, tzinfo=UTC)
    )
    return found


def text(response: Any) -> str:
    return " ".join(response.content.decode().split())


def test_a_run_is_previewed_applied_and_undone(browser: Client, installation: Installation) -> None:
    shown = text(browser.post(URL, DAY, follow=True))

    assert "<dt>Old cost</dt><dd>$3.333333</dd>" in shown and "<dt>New cost</dt><dd>$5.00</dd>" in shown
    assert shown.count("<li>app") == 8 and UsageRecord.objects.get().cost_usd_picos == 3_333_333 * 10**6
    run = Rerating.objects.get()
    page = f"{URL}?run={run.pk}"

    shown = text(browser.post(page, {"action": "apply"}, follow=True))
    assert '<h2 id="state">Applied</h2>' in shown and UsageRecord.objects.get().id in shown
    assert UsageRecord.objects.get().cost_usd_picos == 5 * 10**12
    assert mismatches() == []
    check_spending()

    shown = text(browser.post(page, {"action": "undo"}, follow=True))
    assert '<h2 id="state">Undone</h2>' in shown and "<dt>Restored</dt><dd>1</dd>" in shown
    assert UsageRecord.objects.get().cost_usd_picos == 3_333_333 * 10**6
    assert str(run.created_by) == "root"
    assert "Undone" in text(browser.get(URL))


def test_a_run_in_progress_reloads_its_page(browser: Client, installation: Installation) -> None:
    run = rerating.begin(first=datetime(2026, 7, 1, tzinfo=UTC), end=datetime(2026, 7, 2, tzinfo=UTC))

    assert 'http-equiv="refresh"' in text(browser.get(f"{URL}?run={run.pk}"))
    rerating.step(run.pk)
    assert 'http-equiv="refresh"' not in text(browser.get(f"{URL}?run={run.pk}"))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({}, "This field is required."),
        ({"first": "2026-07-02", "last": "2026-07-01"}, "The last day is before the first."),
        ({"first": "2900-07-01", "last": "2900-07-02"}, "The period has no past."),
        ({"first": "0001-01-01", "last": "9999-12-31"}, "Enter a year from"),
    ],
)
def test_an_invalid_period_is_rejected(browser: Client, fields: dict[str, str], message: str) -> None:
    response = browser.post(URL, fields)

    assert response.status_code == 422 and message in response.content.decode()
    assert not Rerating.objects.exists()


def test_a_second_run_is_rejected_with_a_message(browser: Client, installation: Installation) -> None:
    for _ in range(2):
        browser.post(URL, DAY)
    first, second = Rerating.objects.order_by("pk")
    rerating.apply(first)

    shown = text(browser.post(f"{URL}?run={second.pk}", {"action": "apply"}, follow=True))

    assert "Another re-rating is in progress." in shown and '<h2 id="state">Preview</h2>' in shown


@pytest.mark.parametrize("query", ["run=", "run=x", "run=7", "run=٣", f"run={10**30}"])
def test_an_unknown_run_is_404(browser: Client, query: str) -> None:
    assert browser.get(f"{URL}?{query}").status_code == 404


def test_the_budgets_of_a_run_may_be_deleted(browser: Client, installation: Installation) -> None:
    browser.post(URL, DAY)
    Budget.objects.all().delete()

    assert browser.get(f"{URL}?run={Rerating.objects.get().pk}").status_code == 200
