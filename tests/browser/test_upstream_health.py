"""Upstream health, alert rules and incidents in Chromium: two widths, both themes, accessible; a test alert."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from keys.models import Notification
from tests.browser.conftest import TIMEOUT_MS, Visitor
from tests.browser.page_walk import HEALTH, INCIDENTS, PAGES, RULES
from tests.browser.sample_data import SampleData, create_sample_data
from tests.browser.test_all_pages import VIEWPORTS, _layout_faults
from tests.support.gateway import GatewayServer
from tests.upstream import ScriptedUpstream, replied

OURS = [visit for visit in PAGES if visit.url.startswith((HEALTH, RULES, INCIDENTS))]
VIEWPORTS_HERE = [viewport for viewport in VIEWPORTS if viewport[0] in (390, 1280)]


@pytest.fixture
def pages(transactional_db: None, static_files: None) -> Iterator[GatewayServer]:
    """Start a gateway with optional two-factor authentication."""
    with GatewayServer(ADMIN_TWO_FACTOR="optional") as server:
        yield server


@pytest.fixture
def sample(root: User, upstream: ScriptedUpstream) -> SampleData:
    upstream.queue(replied(), times=None)
    return create_sample_data(root, upstream_url=upstream.url, requests_per_day=3)


@pytest.mark.timeout(600)
def test_the_pages_have_no_errors_fit_and_are_accessible(sample: SampleData, visitor: Visitor, axe: str) -> None:
    faults: list[str] = []
    visitor.page.emulate_media(reduced_motion="reduce")

    assert len(OURS) == 6
    for visit in OURS:
        visit.open_in(visitor, sample)
        for width, scheme in VIEWPORTS_HERE:
            found = _layout_faults(visitor, width=width, scheme=scheme) + visitor.axe_violations(axe)
            faults += [f"{visit.name} at {width} px, {scheme}: {fault}" for fault in found + visitor.console_errors]
            visitor.console_errors = []

    assert faults == []


@pytest.mark.timeout(600)
def test_a_figure_leads_to_its_records_and_a_button_sends_a_test_alert(sample: SampleData, visitor: Visitor) -> None:
    page = visitor.open(HEALTH)
    expect(page.locator("#upstream-vllm")).to_contain_text("qwen3-32b", timeout=TIMEOUT_MS)
    page.get_by_role("region", name="Upstreams").get_by_role("row", name="vllm").get_by_role("link").nth(1).click()
    expect(page.locator("h1")).to_have_text("Usage records", timeout=TIMEOUT_MS)

    page = visitor.open(f"{RULES}{sample.rule.pk}/change/")
    page.get_by_role("button", name="Send a test alert").click()

    expect(page.get_by_text("The test alert is sent within a few seconds.")).to_be_visible(timeout=TIMEOUT_MS)
    assert Notification.objects.filter(kind="alert_test", recipients=["night@example.org"]).exists()
    assert visitor.console_errors == []
