"""A real browser in front of the gateway as it ships. It notes whatever a page complains about."""

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
PATIENCE_MS = 15_000
"""For a busy machine: a claim of a test is never that something is fast."""
PASSWORD = "a good password of root"


class Visitor:
    """An admin at the browser, and what the pages complained about."""

    def __init__(self, page: Page, gateway: GatewayServer) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        # Violations of the policy are console errors too; the event names the directive.
        page.add_init_script(
            "addEventListener('securitypolicyviolation', event => console.error(event.violatedDirective))"
        )
        self._gateway = gateway
        self._origin = f"http://127.0.0.1:{gateway.port}"

    def goes(self, address: str, *, status: int = 200) -> Page:
        response = self.page.goto(self._origin + address)
        assert response and response.status == status, f"{address}: {response and response.status}"
        return self.page

    def is_signed_in(self, user: User) -> None:
        """As after the login page, whose password takes a third of a second to be checked."""
        client = Client()
        client.force_login(user)
        name = settings.SESSION_COOKIE_NAME
        self.page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": self._origin}])
        self.goes("/admin/")

    def signs_in(self) -> None:
        self.goes("/admin/login/")
        self.page.get_by_label("Username").fill("root")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url("**/admin/")

    def finds_by_axe(self, axe: str) -> list[str]:
        """What axe-core calls serious or critical about the page as it is now."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(axe)
        # It would read style sheets again through inline ones, about which the policy complains.
        found = self.page.evaluate("axe.run({ resultTypes: ['violations'], preload: false })")["violations"]
        return [
            f"{violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    def describes(self) -> str:
        """The page as it is now, and what the gateway last wrote."""
        text = self.page.evaluate("document.body.innerText")
        return "\n".join([self.page.url, *self.complaints, text[:4_000], self._gateway.log_path.read_text()[-4_000:]])

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Skips with its reason where there is no Chromium; fails where real parts are required."""
    if not CHROMIUM.exists():
        if os.environ.get("REQUIRE_REAL_PARTS") == "1":
            pytest.fail(f"there is no {CHROMIUM}")
        pytest.skip(f"there is no {CHROMIUM}")
    # Playwright's synchronous interface keeps an event loop running in this thread; Django would take it for our own.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="session")
def axe(npm_packages: None) -> str:
    """The source of axe-core, for `Visitor.finds_by_axe`."""
    return (clients.FOLDER / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def hashed_password() -> str:
    return make_password(PASSWORD)


@pytest.fixture
def root(transactional_db: None, hashed_password: str) -> User:
    return User.objects.create(username="root", password=hashed_password, is_staff=True, is_superuser=True)


@pytest.fixture
def pages(transactional_db: None, gateway_server: GatewayServer) -> GatewayServer:
    """The gateway whose pages are looked at."""
    return gateway_server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails at a page tells what the page was."""
    report = yield
    visitor = item.stash.get(VISITOR, None)
    if report.when == "call" and report.failed and visitor:
        report.sections.append(("the page", visitor.describes()))
    return report


@pytest.fixture
def visitor(request: pytest.FixtureRequest, chromium: Browser, pages: GatewayServer, root: User) -> Iterator[Visitor]:
    """Signed in. At the end no page may have complained."""
    context = chromium.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    context.set_default_timeout(PATIENCE_MS)
    visitor = Visitor(context.new_page(), pages)
    visitor.is_signed_in(root)
    request.node.stash[VISITOR] = visitor
    yield visitor
    context.close()
    assert [text for text in visitor.complaints if not re.search(r"status of 409", text)] == []


@pytest.fixture
def recorder(root: User) -> Iterator[UsageRecorder]:
    yield UsageRecorder(APIKey.objects.issue(name="Support bot", owner=root)[0])
    ledger.close()
