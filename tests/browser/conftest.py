"""Chromium in front of a running gateway, and a record of its console errors."""

import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from keys.models import APIKey
from keys.usage import ledger
from tests import clients
from tests.support.gateway import GatewayServer
from tests.support.usage_rows import UsageRecorder

VISITOR = pytest.StashKey["Visitor"]()
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 15_000
"""Generous, for a busy machine: no test asserts that something is fast."""
PASSWORD = "a good password of root"


class Visitor:
    """The browser of an admin, with the console errors of its pages."""

    def __init__(self, page: Page, gateway: GatewayServer) -> None:
        self.page = page
        self.console_errors: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        # Violations of the content security policy are console errors too; the event names the directive.
        page.add_init_script(
            "addEventListener('securitypolicyviolation', event => console.error(event.violatedDirective))"
        )
        self._gateway = gateway
        self._origin = f"http://127.0.0.1:{gateway.port}"

    def open(self, url: str, *, status: int = 200) -> Page:
        response = self.page.goto(self._origin + url)
        assert response and response.status == status, f"{url}: {response and response.status}"
        return self.page

    def sign_in_as(self, user: User) -> None:
        """Sign in without the login page, where hashing the password takes a third of a second."""
        client = Client()
        client.force_login(user)
        name = settings.SESSION_COOKIE_NAME
        self.page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": self._origin}])
        self.open("/admin/")

    def log_in(self) -> None:
        self.open("/admin/login/")
        self.page.get_by_label("Username").fill("root")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url("**/admin/")

    def axe_violations(self, axe: str) -> list[str]:
        """Return the serious and critical violations that axe-core finds on the current page."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(axe)
        # Without `preload: false`, axe adds inline style sheets, which the content security policy rejects.
        found = self.page.evaluate("axe.run({ resultTypes: ['violations'], preload: false })")["violations"]
        return [
            f"{violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    def describe(self) -> str:
        """Return the text of the current page and the end of the gateway's log."""
        text = self.page.evaluate("document.body.innerText")
        return "\n".join(
            [self.page.url, *self.console_errors, text[:4_000], self._gateway.log_path.read_text()[-4_000:]]
        )

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.console_errors.append(message.text)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Start Chromium. Skip the tests if it is not installed, or fail if real parts are required."""
    if not CHROMIUM.exists():
        if os.environ.get("REQUIRE_REAL_PARTS") == "1":
            pytest.fail(f"there is no {CHROMIUM}")
        pytest.skip(f"there is no {CHROMIUM}")
    # Playwright's synchronous API runs an event loop in this thread, which Django would take for an async context.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="session")
def axe(npm_packages: None) -> str:
    """Return the source of axe-core, for `Visitor.axe_violations`."""
    return (clients.FOLDER / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def hashed_password() -> str:
    return make_password(PASSWORD)


@pytest.fixture
def root(transactional_db: None, hashed_password: str) -> User:
    return User.objects.create(username="root", password=hashed_password, is_staff=True, is_superuser=True)


@pytest.fixture
def pages(transactional_db: None, gateway_server: GatewayServer) -> GatewayServer:
    """Start the gateway whose pages are tested."""
    return gateway_server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the content of the page to the report of a failed test."""
    report = yield
    visitor = item.stash.get(VISITOR, None)
    if report.when == "call" and report.failed and visitor:
        report.sections.append(("the page", visitor.describe()))
    return report


@pytest.fixture
def visitor(request: pytest.FixtureRequest, chromium: Browser, pages: GatewayServer, root: User) -> Iterator[Visitor]:
    """Return a signed-in browser. After the test there must be no console errors."""
    context = chromium.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    context.set_default_timeout(TIMEOUT_MS)
    visitor = Visitor(context.new_page(), pages)
    visitor.sign_in_as(root)
    request.node.stash[VISITOR] = visitor
    yield visitor
    context.close()
    assert [text for text in visitor.console_errors if not re.search(r"status of 409", text)] == []


@pytest.fixture
def recorder(root: User) -> Iterator[UsageRecorder]:
    yield UsageRecorder(APIKey.objects.issue(name="Support bot", owner=root)[0])
    ledger.close()
