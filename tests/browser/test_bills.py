"""Bills in the browser: an import, the causes with their evidence, the gateway's keys, and a signed-off month."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from keys.models import APIKey, SignedOffMonth
from tests.browser.conftest import Visitor
from tests.keys.bills import samples
from tests.keys.bills.records import NOON, PLAIN, SAMPLE, UPSTREAM, price, record, usage_of

IMPORT = "/admin/keys/bill/add/"


@pytest.fixture
def page(visitor: Visitor, root: User, tmp_path: Path) -> Page:
    """Return the page of a bill with a fast request and a key of another application."""
    price()
    api_key = APIKey.objects.issue(name="app", owner=root)[0]
    for hour in range(3):
        record(api_key, at=NOON + timedelta(hours=hour), **PLAIN)
    record(api_key, **SAMPLE)
    results = [
        usage_of(PLAIN, PLAIN, PLAIN),
        usage_of(SAMPLE, speed="fast"),
        usage_of(SAMPLE, api_key_id="apikey_LAPTOP"),
    ]
    (tmp_path / "usage.json").write_bytes(samples.page((samples.DAY, samples.NEXT_DAY, results)))
    page = visitor.open(IMPORT)
    page.get_by_label("File").set_input_files(tmp_path / "usage.json")
    page.get_by_label("Upstream").fill(UPSTREAM)
    page.get_by_role("button", name="Import").click()
    expect(page.locator("h1")).to_have_text("anthropic: Anthropic usage report")
    return page


def cause(page: Page, name: str) -> str:
    return " ".join((page.locator(f'[data-cause="{name}"]').text_content() or "").split())


def test_the_causes_are_shown_with_links_to_records_and_lines(page: Page) -> None:
    expect(page.locator("#totals .card")).to_have_count(3)
    assert {each.get_attribute("data-cause") for each in page.locator("[data-cause]").all()} == {"speed", "foreign_key"}
    assert "billed as fast instead of standard" in cause(page, "speed")
    assert "key apikey_LAPTOP: 12,345 input" in cause(page, "foreign_key")
    expect(page.locator("#totals")).to_contain_text("everything is explained")

    page.locator('[data-cause="speed"]').get_by_role("link", name="results[1]").click()
    expect(page.locator("h1")).to_have_text("Bill lines")
    expect(page.locator(".panel tbody tr")).to_have_count(6)
    page.go_back()
    page.locator('[data-cause="speed"]').get_by_role("link", name="req_").click()
    expect(page.locator("h1")).to_have_text("Request")


def test_another_key_is_chosen_as_the_gateways(page: Page) -> None:
    expect(page.get_by_label("apikey_EXAMPLE")).to_be_checked()
    page.get_by_label("apikey_LAPTOP").check()
    page.get_by_role("button", name="Save keys").click()

    expect(page.locator('[data-cause="missing_record"]')).to_have_count(1)
    expect(page.locator('[data-cause="foreign_key"]')).to_have_count(0)


def test_a_month_is_signed_off(page: Page) -> None:
    page.get_by_label("Month", exact=True).select_option("November 2026")
    page.get_by_role("button", name="Sign off").click()

    expect(page.get_by_text("Unchanged since.")).to_be_visible()
    assert SignedOffMonth.objects.get().figures["days"] == 1


def test_a_wrong_file_is_said_on_the_form(visitor: Visitor, tmp_path: Path) -> None:
    (tmp_path / "cost.json").write_bytes(samples.ANTHROPIC_COST.replace(b"USD", b"EUR"))
    page = visitor.open(IMPORT)
    page.get_by_label("File").set_input_files(tmp_path / "cost.json")
    page.get_by_label("Upstream").fill(UPSTREAM)
    page.get_by_role("button", name="Import").click()

    expect(page.locator(".errorlist")).to_contain_text("line 3: data[0].results[0].currency: “EUR” is not USD")
