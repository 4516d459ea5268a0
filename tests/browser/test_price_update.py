"""Prices > Update in the browser: an unpriced model gets its price."""

from pathlib import Path

import pytest
from auditlog.models import LogEntry
from playwright.sync_api import Browser, Page, expect

from keys.models import ModelPrice
from messages_api.models import Route, RouteTarget, Upstream
from tests.browser.conftest import Visitor
from tests.support.gateway import GatewayServer
from tests.support.usage_rows import UsageRecorder

PRICES = "/admin/keys/modelprice/"
REVIEW_WITHIN_MS = 60_000  # a process of its own prepares it


@pytest.fixture
def unpriced(recorder: UsageRecorder) -> None:
    """Two models of a provider in use; one of them has requests without a cost."""
    upstream = Upstream.objects.create(name="anthropic", dialect="anthropic", base_url="https://api.anthropic.com")
    for model in ("claude-opus-5-5", "claude-haiku-5-5"):
        RouteTarget.objects.create(route=Route.objects.create(pattern=model), upstream=upstream)
    recorder.record(
        model="claude-opus-5-5",
        upstream="anthropic",
        upstream_model="claude-opus-5-5",
        input_tokens=1_000,
        output_tokens=100,
    )


def compare(page: Page) -> None:
    page.get_by_role("button", name="Compare with the catalog").click()
    expect(page.locator("h1")).to_have_text("Update prices: review", timeout=REVIEW_WITHIN_MS)


def test_an_unpriced_model_gets_the_price_that_was_reviewed(visitor: Visitor, unpriced: None) -> None:
    page = visitor.open(PRICES)
    expect(page.locator("#content")).to_contain_text("Models without a price")

    page.get_by_role("link", name="Find their prices in the catalog").click()
    compare(page)
    row = page.get_by_role("row").filter(has_text="claude-opus-5-5")
    expect(row).to_contain_text("Unpriced")
    expect(row).to_contain_text("Input: $4.00")
    expect(row).to_contain_text("unpriced → $0.006")
    page.get_by_label("claude-haiku-5-5", exact=True).uncheck()
    row.get_by_label("Inference in the US").check()
    page.get_by_role("button", name="Apply selected").click()

    expect(page.locator(".messagelist")).to_contain_text("1 price added.")
    expect(page.locator("#content")).not_to_contain_text("Models without a price")
    price = ModelPrice.objects.get()
    assert (price.model_pattern, price.input_price) == ("claude-opus-5-5", 4_000_000)
    assert sorted(price.modifiers.values_list("dimension", flat=True)) == ["inference_geo", "service_tier", "speed"]
    assert LogEntry.objects.filter(content_type__model="modelprice", actor__username="root").count() == 1
    visitor.open("/admin/staff/auditentry/")
    expect(page.locator("#content")).to_contain_text("claude-opus-5-5 from")


def test_a_review_without_differences_says_so(visitor: Visitor) -> None:
    page = visitor.open("/admin/prices/update/")

    compare(page)

    expect(page.locator("#summary")).to_contain_text("Nothing to do")


def test_the_page_works_without_javascript(visitor: Visitor, chromium: Browser, unpriced: None) -> None:
    address = visitor.open("/admin/prices/update/").url
    state = visitor.page.context.storage_state()
    context = chromium.new_context(java_script_enabled=False, storage_state=state)
    page = context.new_page()

    page.goto(address)
    compare(page)
    page.get_by_role("button", name="Apply selected").click()

    expect(page.locator(".messagelist")).to_contain_text("2 prices added.")
    assert ModelPrice.objects.count() == 2
    context.close()


def test_no_server_process_loads_the_catalog(visitor: Visitor, pages: GatewayServer, unpriced: None) -> None:
    page = visitor.open("/admin/prices/update/")

    compare(page)

    expect(page.locator("#content")).to_contain_text("genai-prices")
    pids = [pages.pid, *pages.worker_pids()]
    assert len(pids) > 1
    # Importing genai_prices loads the compiled core of pydantic, which is mapped into the memory of its process.
    assert not [pid for pid in pids if "pydantic" in Path(f"/proc/{pid}/maps").read_text()]
