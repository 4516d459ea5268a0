"""Issuing, finding, disabling and revoking API keys in the browser."""

import re

import pytest
from playwright.sync_api import Error, expect

from keys.domain import raw_key
from keys.models import APIKey
from tests.browser.conftest import Visitor

ADD = "/admin/keys/apikey/add/"
LIST = "/admin/keys/apikey/"


def issue(visitor: Visitor, name: str) -> str:
    page = visitor.open(ADD)
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Issue key").click()
    return page.get_by_label("API key", exact=True).input_value()


def test_a_key_is_shown_once_and_copied(visitor: Visitor) -> None:
    raw = issue(visitor, "Support bot")
    page = visitor.page

    page.locator("[data-copy=raw-key]").click()

    expect(page.locator("[data-copy=raw-key]")).to_have_text("Copied")
    expect(page.locator("#copied")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == raw
    assert APIKey.objects.with_raw_key(raw).get().name == "Support bot"
    assert raw not in page.url and raw not in page.title()


def test_a_reload_shows_no_key_and_issues_nothing(visitor: Visitor) -> None:
    raw = issue(visitor, "Support bot")

    visitor.page.reload()

    expect(visitor.page.locator(".warning")).to_contain_text(
        "This key has already been issued. It cannot be shown again"
    )
    assert raw not in visitor.page.content()
    assert APIKey.objects.count() == 1


def test_going_back_shows_no_key(visitor: Visitor) -> None:
    raw = issue(visitor, "Support bot")

    visitor.open(LIST)
    with pytest.raises(Error, match="ERR_CACHE_MISS"):  # the browser cached nothing, and does not send the form again
        visitor.page.go_back()

    visitor.page.wait_for_url("chrome-error://**")
    assert raw not in visitor.page.content()
    assert APIKey.objects.count() == 1


def test_a_key_and_its_snippets_can_be_hidden(visitor: Visitor) -> None:
    raw = issue(visitor, "Support bot")
    page = visitor.page
    page.get_by_text("Python SDK").click()

    page.get_by_role("button", name="Hide").click()

    expect(page.get_by_label("API key", exact=True)).to_have_attribute("type", "password")
    assert raw not in page.locator(".snippet").all_inner_texts()[4]
    page.locator(".snippet[open] [data-copy]").click()
    assert raw in page.evaluate("navigator.clipboard.readText()")
    page.get_by_role("button", name="Show").click()
    assert raw in page.locator(".snippet").all_inner_texts()[4]


def test_without_a_clipboard_the_key_is_selected(visitor: Visitor) -> None:
    visitor.page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    raw = issue(visitor, "Support bot")

    visitor.page.locator("[data-copy=raw-key]").click()

    expect(visitor.page.locator("#copied")).to_have_text("Selected. Copy with the keyboard.")
    selected = "(() => { const f = document.activeElement; return f.value.slice(f.selectionStart, f.selectionEnd) })()"
    assert visitor.page.evaluate(selected) == raw


def test_a_key_is_found_by_the_full_key_and_by_its_hint(visitor: Visitor) -> None:
    issue(visitor, "Other")
    raw = issue(visitor, "Wanted")
    page = visitor.open(LIST)

    page.get_by_label("Full API key").fill(raw)
    page.get_by_role("button", name="Find").click()

    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(page.locator("#result_list")).to_contain_text("Wanted")
    expect(page.locator("#searchbar")).to_have_value(f"mgw_{raw_key.hint(raw)}")
    assert raw not in page.content() and raw not in page.url


def test_a_key_is_revoked_with_a_confirmation_and_a_reason(visitor: Visitor) -> None:
    issue(visitor, "Support bot")
    page = visitor.open(LIST)

    page.get_by_label("Select this object for an action").check()
    page.locator("select[name=action]").select_option("revoke_selected")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.locator(".warning")).to_contain_text(re.compile("Revoking cannot be undone"))
    assert APIKey.objects.get().state == "active"
    page.get_by_label("Details", exact=True).fill("found in a repository")
    page.get_by_role("button", name="Revoke 1 key").click()

    expect(page.locator(".messagelist")).to_contain_text("1 API key revoked.")
    expect(page.locator("#result_list")).to_contain_text("Revoked")
    assert APIKey.objects.get().revocation_note == "found in a repository"


def test_a_key_is_disabled_and_enabled_on_its_page(visitor: Visitor) -> None:
    issue(visitor, "Support bot")
    page = visitor.page
    page.get_by_label("I have stored the key").check()
    page.get_by_role("button", name="Done").click()

    page.get_by_role("link", name="Disable …").click()
    page.get_by_role("button", name="Disable this key").click()
    expect(page.locator(".messagelist")).to_contain_text("The key Support bot is disabled.")
    assert APIKey.objects.get().state == "disabled"
    page.get_by_role("link", name="Enable …").click()
    page.get_by_role("button", name="Enable this key").click()

    expect(page.locator(".key-title")).to_contain_text("Active")
    assert APIKey.objects.get().state == "active"


def test_a_key_is_disabled_from_its_row_on_a_phone(visitor: Visitor) -> None:
    issue(visitor, "Support bot")
    visitor.page.set_viewport_size({"width": 390, "height": 844})
    page = visitor.open(LIST)

    expect(page.get_by_role("columnheader", name="Actions")).to_be_attached()
    for verb in ("Rotate", "Disable", "Revoke"):
        box = page.get_by_role("link", name=f"{verb} Support bot").bounding_box()
        assert box and box["width"] >= 40 and box["height"] >= 40
    page.get_by_role("link", name="Disable Support bot").click()
    page.get_by_role("button", name="Disable this key").click()

    expect(page.locator(".messagelist")).to_contain_text("The key Support bot is disabled.")
    expect(visitor.open(LIST).get_by_role("link", name="Enable Support bot")).to_be_visible()


def test_row_actions_stay_visible_on_a_desktop(visitor: Visitor) -> None:
    issue(visitor, "A name that needs much of the room that there is for the row of its key")
    page = visitor.open(LIST)

    assert page.locator(".results").evaluate("region => region.scrollWidth > region.clientWidth")
    right = page.locator(".results").evaluate("region => region.getBoundingClientRect().right")
    box = page.get_by_role("link", name="Revoke A name").bounding_box()
    assert box and box["x"] + box["width"] <= right
