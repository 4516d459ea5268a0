"""The focus after an action: on its message, on the first wrong field, or on the new key."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect

from keys.models import APIKey
from tests.browser.conftest import Visitor

ADD = "/admin/keys/apikey/add/"


@pytest.fixture(params=[True, False], ids=["script", "no script"])
def page(request: pytest.FixtureRequest, chromium: Browser, visitor: Visitor) -> Any:
    """A page of a signed-in browser, with and without JavaScript."""
    context = chromium.new_context(java_script_enabled=request.param)
    context.add_cookies(visitor.page.context.cookies())  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(visitor.page.url)
    yield page
    context.close()


def open_path(page: Page, path: str) -> None:
    page.goto(page.url.split("/admin/")[0] + path)


def test_after_an_action_the_message_has_the_focus(page: Page, root: User) -> None:
    api_key, _ = APIKey.objects.issue(name="Support bot", owner=root)
    open_path(page, f"/admin/keys/apikey/{api_key.pk}/disable/")

    page.get_by_role("button", name="Disable this key").click()

    expect(page.get_by_role("status")).to_contain_text("The key Support bot is disabled.")
    expect(page.get_by_role("status")).to_be_focused()


def test_the_new_key_has_the_focus(page: Page) -> None:
    open_path(page, ADD)
    page.get_by_label("Name").fill("Support bot")

    page.get_by_role("button", name="Issue key").click()

    expect(page.locator("#raw-key")).to_be_focused()


def test_the_first_wrong_field_has_the_focus(visitor: Visitor, root: User) -> None:
    api_key, _ = APIKey.objects.issue(name="Support bot", owner=root)
    page = visitor.open(f"/admin/keys/apikey/{api_key.pk}/change/")
    page.locator("summary", has_text="Edit key").click()
    page.get_by_label("Requests per minute").fill("-1")
    page.get_by_label("Allowed models").fill("a b")

    page.get_by_role("button", name="Save").first.click()

    expect(page.locator(".errornote").first).to_be_visible()
    expect(page.get_by_label("Allowed models")).to_be_focused()
