"""Every page that people see, in the order of one walk: where it is, what is done there, and its heading."""

import re
from base64 import b32decode
from collections.abc import Callable
from dataclasses import dataclass

from django_otp.oath import TOTP
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, PATIENCE_MS, Visitor
from tests.browser.world import World

KEYS = "/admin/keys/apikey/"
BUSY = KEYS + "{busy.pk}/"
DISABLED = KEYS + "{disabled.pk}/"
TEAM = "/admin/keys/team/{team.pk}/"
CSV = "name,owner,expires,reason,budget\nLaptop of Mia,mia.keller,30d,,20\nLaptop of Tom,tom.berg,never,no clock,\n"
WRONG_CSV = "name,owner,expires\nLaptop,nobody-here,30d\nLaptop of Tom,tom.berg,soon\nGood,tom.berg,30d\n"

Deed = Callable[[Page], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    name: str
    heading: str | re.Pattern[str]
    address: str = ""
    """Empty: one is there already. Names of the world stand in braces."""
    does: Deed | None = None
    """What leads from the address to the page."""
    status: int = 200
    """Of the answer that it is."""

    def address_in(self, world: World) -> str:
        names = {name: getattr(world, name) for name in World.__dataclass_fields__}
        return self.address.format(**names, record_path=world.record.pk.replace("_", "_5F"))

    def reach(self, visitor: Visitor, world: World) -> None:
        """Get there, and make sure that one is there. What a browser says about the expected status is no complaint."""
        if self.address:
            # What leads on from an address may end with another status than the address.
            visitor.goes(self.address_in(world), status=200 if self.does else self.status)
        if self.does:
            self.does(visitor.page)
        expect(visitor.page.locator("h1"), self.name).to_have_text(self.heading, timeout=PATIENCE_MS)
        expected = f"status of {self.status} "
        visitor.complaints = [text for text in visitor.complaints if expected not in text]


def clicks(name: str) -> Deed:
    return lambda page: page.get_by_role("button", name=name).click()


def reloads(page: Page) -> None:
    page.reload()


def opens_all(page: Page) -> None:
    page.evaluate("for (const each of document.querySelectorAll('#content details')) each.open = true")


def chooses(action: str) -> Deed:
    """All rows of a list, and what is to be done to them."""

    def choose(page: Page) -> None:
        page.locator("#action-toggle").check()
        page.locator("select[name=action]").select_option(action)
        page.get_by_role("button", name="Go", exact=True).click()

    return choose


def fills_in(page: Page) -> None:
    page.get_by_label("Name").fill("Newsletter")
    page.get_by_label("Belongs to").select_option("Support")
    page.get_by_label("Allowed models").fill("claude-haiku-*")
    page.get_by_label("Requests a minute").fill("30")
    page.get_by_label("Amount").fill("20")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("Newsletter, a key of team Support")
    expect(preview).to_contain_text("$20.00 per month; shared with its team: $150.00 per month")
    expect(page.get_by_role("button", name="Issue key")).to_be_enabled()


def fills_in_wrongly(page: Page) -> None:
    page.get_by_label("Amount").first.fill("x")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".errornote").first).to_be_visible()


def tries_it(page: Page) -> None:
    for summary in page.locator(".snippet summary").all():
        summary.click()
    page.get_by_label("Model", exact=True).fill("claude-haiku-4-5")
    page.get_by_role("button", name="Send a test request").click()
    expect(page.locator("#outcome")).to_contain_text("It works")


def rotates(page: Page) -> None:
    page.get_by_label("in 1 hour").check()
    page.get_by_role("button", name="Rotate").click()


def raises(page: Page) -> None:
    page.get_by_label("More dollars").fill("5")


def uploads(text: str) -> Deed:
    def upload(page: Page) -> None:
        page.get_by_label("CSV file").set_input_files(
            {"name": "keys.csv", "mimeType": "text/csv", "buffer": text.encode()}
        )
        page.get_by_role("button", name="Preview").click()

    return upload


def confirms_two_factor(page: Page) -> None:
    app = TOTP(b32decode((page.locator(".setup-key").text_content() or "").replace(" ", "")))
    page.get_by_label("Code").fill(f"{app.token():06d}")
    page.get_by_role("button", name="Enable").click()


def logs_out(page: Page) -> None:
    page.get_by_role("button", name="Log out").click()


def logs_in(page: Page) -> None:
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def lookup_throttle(page: Page) -> None:
    page.context.clear_cookies()
    page.reload()
    for _ in range(5):
        page.get_by_label("Username").fill("somebody")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()


def guesses_wrong(page: Page) -> None:
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator(".errornote")).to_be_visible()


WALK = [
    Place(name="overview", heading="Overview", address="/admin/"),
    Place(name="hygiene", heading="Key hygiene", address="/admin/hygiene/"),
    Place(name="keys", heading="API keys", address=KEYS),
    Place(name="filters of keys", heading="API keys", address=f"{KEYS}?state=active&team=Support", does=opens_all),
    Place(name="no keys found", heading="API keys", address=f"{KEYS}?q=nothing"),
    Place(name="issue", heading="Issue an API key", address=f"{KEYS}add/"),
    Place(name="issue, filled in", heading="Issue an API key", does=fills_in),
    Place(name="shown once", heading="Key issued", does=clicks("Issue key")),
    Place(name="shown once, tried", heading="Key issued", does=tries_it),
    Place(name="already issued", heading="Already issued", does=reloads, status=409),
    Place(name="key", heading="Support bot", address=f"{BUSY}change/", does=opens_all),
    Place(name="key with errors", heading="Support bot", does=fills_in_wrongly),
    Place(name="history of a key", heading=re.compile("Change history: Support bot"), address=f"{BUSY}history/"),
    Place(name="rotate", heading="Rotate Support bot", address=f"{BUSY}rotate/"),
    Place(name="rotated", heading="Key rotated", does=rotates),
    Place(name="disable", heading="Disable Support bot", address=f"{BUSY}disable/"),
    Place(name="enable", heading="Enable Paused demo", address=f"{DISABLED}enable/"),
    Place(name="disabled key", heading="Paused demo", address=f"{DISABLED}change/"),
    Place(name="revoke", heading="Revoke Support bot", address=f"{BUSY}revoke/"),
    Place(name="revoke, wrongly", heading="Revoke Support bot", does=clicks("Revoke this key")),
    Place(name="increase", heading="Raise a budget for now", address=BUSY + "budgets/{budget.pk}/", does=raises),
    Place(name="disable several", heading="Disable API keys", address=KEYS, does=chooses("disable_selected")),
    Place(name="enable several", heading="Enable API keys", address=KEYS, does=chooses("enable_selected")),
    Place(name="revoke several", heading="Revoke API keys", address=KEYS, does=chooses("revoke_selected")),
    Place(name="extend several", heading="Extend expiry", address=KEYS, does=chooses("extend_selected")),
    Place(name="import", heading="Import keys", address=f"{KEYS}import/"),
    Place(name="import, wrong", heading="Import keys: preview", does=uploads(WRONG_CSV)),
    Place(
        name="import, preview", heading="Import keys: preview", address=f"{KEYS}import/", does=uploads(CSV)
    ),
    Place(name="imported", heading="Keys issued", does=clicks("Issue 2 keys")),
    Place(name="imported already", heading="Already issued", does=reloads, status=409),
    Place(name="teams", heading="Select team to change", address="/admin/keys/team/"),
    Place(name="team", heading="Change team", address=f"{TEAM}change/"),
    Place(name="new team", heading="Add team", address="/admin/keys/team/add/"),
    Place(
        name="disable teams", heading="Disable teams", address="/admin/keys/team/", does=chooses("disable_selected")
    ),
    Place(name="prices", heading="Select price to change", address="/admin/keys/modelprice/"),
    Place(name="price", heading="View price", address="/admin/keys/modelprice/{price.pk}/change/"),
    Place(name="new price", heading="Add price", address="/admin/keys/modelprice/add/"),
    Place(name="usage", heading="Usage", address="/admin/usage/?period=30d", does=opens_all),
    Place(name="requests", heading="Usage records", address="/admin/keys/usagerecord/"),
    Place(name="call", heading="Call", address="/admin/keys/usagerecord/{record_path}/change/"),
    Place(name="upstreams", heading="Select upstream to change", address="/admin/messages_api/upstream/"),
    Place(name="upstream", heading="Change upstream", address="/admin/messages_api/upstream/{upstream.pk}/change/"),
    Place(name="new upstream", heading="Add upstream", address="/admin/messages_api/upstream/add/"),
    Place(name="test", heading="Test connection", address="/admin/messages_api/upstream/{upstream.pk}/test/"),
    Place(name="routes", heading="Select route to change", address="/admin/messages_api/route/"),
    Place(name="route", heading="Change route", address="/admin/messages_api/route/{route.pk}/change/"),
    Place(
        name="preview of a route", heading="Test routing",
        address="/admin/messages_api/route/preview/?model=claude-haiku-4-5",
    ),
    Place(name="users", heading="Select user to change", address="/admin/auth/user/"),
    Place(name="new user", heading="Add user", address="/admin/auth/user/add/"),
    Place(name="user", heading="Change user", address="/admin/auth/user/{busy.created_by_id}/change/"),
    Place(name="group", heading="Add group", address="/admin/auth/group/add/"),
    Place(name="audit log", heading="Audit log", address="/admin/staff/auditentry/"),
    Place(name="logins", heading="Logins", address="/admin/staff/login/"),
    Place(name="lockouts", heading="Failed logins", address="/admin/staff/failedlogin/"),
    Place(name="not there", heading="Page not found", address="/admin/nowhere/", status=404),
    Place(name="not open", heading="Access denied", address="/admin/keys/usagerecord/add/", status=403),
    Place(name="two-factor, off", heading="Two-factor authentication", address="/admin/two-factor/"),
    Place(name="two-factor, setup", heading="Two-factor authentication", does=clicks("Set up")),
    Place(name="recovery codes", heading="Recovery codes", does=confirms_two_factor),
    Place(name="two-factor, on", heading="Two-factor authentication", address="/admin/two-factor/"),
    Place(name="logged out", heading="Logged out", does=logs_out),
    Place(name="login", heading="Log in", address="/admin/login/"),
    Place(name="login, wrong", heading="Log in", does=guesses_wrong),
    Place(name="code", heading="Two-factor authentication", does=logs_in),
    Place(name="locked out", heading="Locked", address="/admin/login/", does=lookup_throttle, status=429),
]  # fmt: skip
