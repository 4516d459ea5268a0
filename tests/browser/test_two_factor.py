"""Two-factor authentication in a browser without scripts: setup, login and lockout."""

import re
from base64 import b32decode
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django_otp.oath import TOTP
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PASSWORD, TIMEOUT_MS, Visitor
from tests.support.gateway import GatewayServer


@pytest.fixture
def page(chromium: Browser, transactional_db: None, static_files: None, root: User) -> Iterator[Page]:
    """A browser without scripts, at the login of a gateway that requires two-factor authentication."""
    with GatewayServer(ADMIN_TWO_FACTOR="required") as server:
        context = chromium.new_context(java_script_enabled=False, viewport={"width": 390, "height": 900})
        context.set_default_timeout(TIMEOUT_MS)
        visitor = Visitor(context.new_page(), server)
        yield visitor.open("/admin/")
        context.close()
        assert [text for text in visitor.console_errors if not re.search(r"status of 429", text)] == []


def log_in(page: Page, password: str = PASSWORD) -> None:
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_it_is_set_up_and_asked_for_without_scripts(page: Page) -> None:
    log_in(page)
    expect(page.get_by_text("requires two-factor authentication")).to_be_visible()
    page.get_by_role("button", name="Set up").click()
    image = page.get_by_role("img", name="QR code")
    expect(image).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert image.evaluate("image => image.complete && image.naturalWidth > 0")
    assert page.request.get(page.url + "image.svg").headers["content-type"] == "image/svg+xml"
    app = TOTP(b32decode((page.locator(".setup-key").text_content() or "").replace(" ", "")))
    page.get_by_label("Code").fill(f"{app.token():06d}")
    page.get_by_role("button", name="Enable").click()
    expect(page.locator(".recovery-codes code")).to_have_count(10)
    codes = page.locator(".recovery-codes code").all_text_contents()

    page.get_by_role("link", name="I have stored them").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("link", name="Log in again").click()
    log_in(page)
    page.get_by_label("Code").fill(codes[0])
    page.get_by_role("button", name="Verify").click()

    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_a_locked_out_user_sees_what_to_do(page: Page) -> None:
    for _ in range(5):
        log_in(page, "wrong")

    expect(page.get_by_text("Too many failed logins")).to_be_visible()
    expect(page.get_by_text("Try again in 15 minutes")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("link", name="Back to the login").click()
    expect(page.get_by_label("Username")).to_be_visible()
