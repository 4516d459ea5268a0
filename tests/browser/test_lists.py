"""Lists of the admin: no money and no state is out of view, filters are folded, rows are low, and their menus open."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visitor
from tests.browser.sample_data import SampleData, create_sample_data
from tests.upstream import ScriptedUpstream, replied

LISTS = {
    "keys/apikey": ["status", "spending"],
    "keys/team": ["state", "budgets"],
    "keys/usagerecord": ["outcome", "cost", "latency"],
    "keys/modelprice": ["state", "input_per_million", "output_per_million"],
    "messages_api/upstream": ["status"],
    "messages_api/route": ["target_names"],
    "staff/auditentry": ["changes_summary"],
    "auth/user": ["state", "roles"],
    "staff/login": [],
    "staff/failedlogin": ["state"],
}
"""Columns of money and state of each list."""
ALWAYS_VISIBLE = """names => names.filter((name) => {
  const region = document.querySelector(".results").getBoundingClientRect();
  const head = document.querySelector(`.column-${name}`)?.getBoundingClientRect();
  return !head || head.right > Math.min(region.right, innerWidth) + 1;
})"""


@pytest.fixture
def sample(root: User, upstream: ScriptedUpstream) -> SampleData:
    upstream.queue(replied(), times=None)
    return create_sample_data(root, upstream_url=upstream.url, requests_per_day=3)


def test_no_list_hides_money_or_state_on_a_desktop(sample: SampleData, visitor: Visitor) -> None:
    hidden: dict[str, list[str]] = {}
    for name, columns in LISTS.items():
        page = visitor.open(f"/admin/{name}/")
        region = page.get_by_role("region").locator("#result_list")
        expect(region, name).to_be_visible()
        assert page.evaluate("document.querySelector('.results').tabIndex") == 0, name
        if found := page.evaluate(ALWAYS_VISIBLE, columns):
            hidden[name] = found

    assert hidden == {}


def test_the_rows_of_keys_are_low(sample: SampleData, visitor: Visitor) -> None:
    page = visitor.open("/admin/keys/apikey/")

    heights = page.locator("#result_list tbody tr").evaluate_all("rows => rows.map((row) => row.offsetHeight)")

    assert len(heights) == 9 and max(heights) <= 56


def test_filters_are_folded_until_one_applies(sample: SampleData, visitor: Visitor) -> None:
    page = visitor.open("/admin/keys/apikey/")
    filters = page.get_by_role("navigation", name="Filters")
    expect(filters).to_be_hidden()

    page.locator("summary", has_text="Filters").click()
    filters.get_by_role("link", name="Disabled (1)").click()

    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(filters).to_be_visible()
    expect(page.locator("#changelist-filter summary")).to_contain_text("1 active")
    page.get_by_role("link", name="Clear all filters").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(9)


def test_the_menu_of_a_row_opens_by_keyboard(sample: SampleData, visitor: Visitor) -> None:
    page = visitor.open("/admin/keys/apikey/")
    rotate = page.get_by_role("link", name="Rotate Support bot")
    button = page.get_by_role("button", name="Actions for Support bot")
    expect(rotate).to_be_hidden()

    button.press("Enter")
    expect(rotate).to_be_visible()
    page.keyboard.press("Escape")
    expect(rotate).to_be_hidden()
    expect(button).to_be_focused()

    button.press("Enter")
    page.keyboard.press("Tab")
    expect(rotate).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Rotate Support bot")


@pytest.mark.parametrize("width, has_script", [(390, True), (390, False), (1280, False)])
def test_a_menu_leads_to_every_page_without_the_sidebar(
    width: int, has_script: bool, chromium: Browser, visitor: Visitor
) -> None:
    links = "nodes => nodes.map((node) => node.getAttribute('href'))"
    sidebar: list[str] = visitor.open("/admin/hygiene/").locator("#nav-sidebar th a").evaluate_all(links)
    options: dict[str, Any] = {"viewport": {"width": width, "height": 844}, "java_script_enabled": has_script}
    context = chromium.new_context(**options)
    context.add_cookies(visitor.page.context.cookies())  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(visitor.page.url)
    summary = page.locator("summary", has_text="Menu")

    summary.press("Enter")

    menu = page.get_by_role("navigation", name="Menu")
    found = menu.get_by_role("link").evaluate_all(links) if has_script else _hrefs(menu)
    assert found == ["/admin/", *sidebar]
    page.keyboard.press("Tab")
    expect(menu.get_by_role("link").first).to_be_focused()
    menu.get_by_role("link", name="API keys", exact=True).click()
    expect(page.locator("h1")).to_have_text("API keys")
    context.close()


def _hrefs(menu: Any) -> list[str | None]:
    return [link.get_attribute("href") for link in menu.get_by_role("link").all()]
