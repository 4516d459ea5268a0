"""All pages of the admin in the order of one walk: URL, action and expected heading."""

import re
from base64 import b32decode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from django_otp.oath import TOTP
from playwright.sync_api import FilePayload, Page, expect

from tests.browser.conftest import PASSWORD, TIMEOUT_MS, Visitor
from tests.browser.sample_data import SampleData

KEYS = "/admin/keys/apikey/"
BUSY = KEYS + "{busy.pk}/"
DISABLED = KEYS + "{disabled.pk}/"
PRICE_UPDATE = "/admin/prices/update/"
FACTORS = "/admin/keys/negotiatedfactor/"
PRICES = "model,input,output,modifiers\nclaude-opus-5-5,4,20,speed fast 2 2\n"
TEAM = "/admin/keys/team/{team.pk}/"
CSV = (
    "name,owner,expires,no_expiry_reason,budget\n"
    "Laptop of Mia,mia.keller,30d,,20\nLaptop of Tom,tom.berg,never,no clock,\n"
)
WRONG_CSV = "name,owner,expires\nLaptop,nobody-here,30d\nLaptop of Tom,tom.berg,soon\nGood,tom.berg,30d\n"

BILL = (
    "usage_date_utc,model_version,api_key,workspace,usage_input_tokens_no_cache,usage_output_tokens,speed\n"
    "2026-11-20,claude-sonnet-4-5,gateway,Default,12345,5678,\n"
    "2026-11-20,claude-haiku-4-5-with-a-name-that-is-longer-than-any-other,laptop of Tom,Default,1234567,890,fast\n"
)
Action = Callable[[Page], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class PageVisit:
    name: str
    heading: str | re.Pattern[str]
    url: str = ""
    """Empty: the browser is there already. May name fields of the sample data in braces."""
    action: Action | None = None
    """The action that leads from the URL to the page."""
    status: int = 200
    """The status of the page's response."""

    def url_for(self, sample: SampleData) -> str:
        names = {name: getattr(sample, name) for name in SampleData.__dataclass_fields__}
        return self.url.format(**names, record_path=sample.record.pk.replace("_", "_5F"))

    def open_in(self, visitor: Visitor, sample: SampleData) -> None:
        """Open the page and check its heading. The browser's console error about the expected status is ignored."""
        if self.url:
            # The action may end with another status than the URL.
            visitor.open(self.url_for(sample), status=200 if self.action else self.status)
        if self.action:
            self.action(visitor.page)
        expect(visitor.page.locator("h1"), self.name).to_have_text(self.heading, timeout=TIMEOUT_MS)
        expected = f"status of {self.status} "
        visitor.console_errors = [text for text in visitor.console_errors if expected not in text]


def click_button(name: str) -> Action:
    return lambda page: page.get_by_role("button", name=name).click()


def add_invalid_modifier(page: Page) -> None:
    """Add a modifier to a price, and save it with a value that its form rejects."""
    page.get_by_text("Add another Modifier").click()
    page.locator("#id_modifiers-0-dimension").select_option("utc_hours")
    page.locator("#id_modifiers-0-value").fill("1 to 4")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Enter hours such as 01:00-04:00")).to_be_visible()


def reload_page(page: Page) -> None:
    page.reload()


def open_all_details(page: Page) -> None:
    page.evaluate("for (const each of document.querySelectorAll('#content details')) each.open = true")


def choose_action(action: str) -> Action:
    """Return an action that selects all rows of a list and starts an admin action."""

    def choose(page: Page) -> None:
        page.locator("#action-toggle").check()
        page.locator("select[name=action]").select_option(action)
        page.get_by_role("button", name="Go", exact=True).click()

    return choose


def fill_issue_form(page: Page) -> None:
    page.get_by_label("Name").fill("Newsletter")
    page.get_by_label("Owner:", exact=True).select_option("Support")
    page.get_by_label("Allowed models").fill("claude-haiku-*")
    page.get_by_label("Requests per minute").fill("30")
    page.get_by_label("Amount").fill("20")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("team Support")
    expect(preview).to_contain_text("$20.00 per month; shared with its team: $150.00 per month")
    expect(page.get_by_role("button", name="Issue key")).to_be_enabled()


def submit_invalid_budget(page: Page) -> None:
    page.get_by_label("Amount").first.fill("x")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".errornote").first).to_be_visible()


def send_test_request(page: Page) -> None:
    for summary in page.locator(".snippet summary").all():
        summary.click()
    page.get_by_label("Model", exact=True).fill("claude-haiku-4-5")
    page.get_by_role("button", name="Send test request").click()
    expect(page.locator("#outcome")).to_contain_text("Succeeded")


def rotate_key(page: Page) -> None:
    page.get_by_label("in 1 hour").check()
    page.get_by_role("button", name="Rotate").click()


def fill_increase(page: Page) -> None:
    page.get_by_label("Additional US dollars").fill("5")


def upload_csv(text: str) -> Action:
    def upload(page: Page) -> None:
        page.get_by_label("CSV file").set_input_files(
            {"name": "keys.csv", "mimeType": "text/csv", "buffer": text.encode()}
        )
        page.get_by_role("button", name="Preview").click()

    return upload


def import_bill(page: Page) -> None:
    file = FilePayload(name="usage.csv", mimeType="text/csv", buffer=BILL.encode())
    page.get_by_label("File").set_input_files(file)
    page.get_by_label("Upstream").fill("anthropic")
    page.get_by_role("button", name="Import").click()


def open_bill_lines(page: Page) -> None:
    page.get_by_role("link", name=re.compile("^[0-9,]+ lines?$")).click()


def compare_file(text: str) -> Action:
    """Return an action that compares the prices with a CSV file."""

    def compare(page: Page) -> None:
        file = FilePayload(name="prices.csv", mimeType="text/csv", buffer=text.encode())
        page.get_by_label("CSV file").set_input_files(file)
        page.get_by_role("button", name="Compare with the file").click()

    return compare


def confirm_two_factor(page: Page) -> None:
    app = TOTP(b32decode((page.locator(".setup-key").text_content() or "").replace(" ", "")))
    page.get_by_label("Code").fill(f"{app.token():06d}")
    page.get_by_role("button", name="Enable").click()


def log_out(page: Page) -> None:
    page.get_by_role("button", name="Log out").click()


def log_in_as_root(page: Page) -> None:
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def lock_out(page: Page) -> None:
    page.context.clear_cookies()
    page.reload()
    for _ in range(5):
        page.get_by_label("Username").fill("somebody")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()


def fail_login(page: Page) -> None:
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator(".errornote")).to_be_visible()


def preview_rerating(page: Page) -> None:
    for label in ("From", "To"):
        page.get_by_label(label, exact=True).fill(date.today().isoformat())
    page.get_by_role("button", name="Preview").click()


PAGES = [
    PageVisit(name="overview", heading="Overview", url="/admin/"),
    PageVisit(name="hygiene", heading="Key hygiene", url="/admin/hygiene/"),
    PageVisit(name="keys", heading="API keys", url=KEYS),
    PageVisit(
        name="key filters", heading="API keys", url=f"{KEYS}?state=active&team=Support", action=open_all_details
    ),
    PageVisit(name="no keys found", heading="API keys", url=f"{KEYS}?q=nothing"),
    PageVisit(name="issue", heading="Issue an API key", url=f"{KEYS}add/"),
    PageVisit(name="issue, filled in", heading="Issue an API key", action=fill_issue_form),
    PageVisit(name="shown once", heading="Key issued", action=click_button("Issue key")),
    PageVisit(name="shown once, tried", heading="Key issued", action=send_test_request),
    PageVisit(name="already issued", heading="Already issued", action=reload_page, status=409),
    PageVisit(name="key", heading="Support bot", url=f"{BUSY}change/", action=open_all_details),
    PageVisit(name="key with errors", heading="Support bot", action=submit_invalid_budget),
    PageVisit(name="history of a key", heading=re.compile("Change history: Support bot"), url=f"{BUSY}history/"),
    PageVisit(name="rotate", heading="Rotate Support bot", url=f"{BUSY}rotate/"),
    PageVisit(name="rotated", heading="Key rotated", action=rotate_key),
    PageVisit(name="disable", heading="Disable Support bot", url=f"{BUSY}disable/"),
    PageVisit(name="enable", heading="Enable Paused demo", url=f"{DISABLED}enable/"),
    PageVisit(name="disabled key", heading="Paused demo", url=f"{DISABLED}change/"),
    PageVisit(name="revoke", heading="Revoke Support bot", url=f"{BUSY}revoke/"),
    PageVisit(name="revoke, invalid", heading="Revoke Support bot", action=click_button("Revoke this key")),
    PageVisit(name="increase", heading="Temporary increase", url=BUSY + "budgets/{budget.pk}/", action=fill_increase),
    PageVisit(name="disable several", heading="Disable API keys", url=KEYS, action=choose_action("disable_selected")),
    PageVisit(name="enable several", heading="Enable API keys", url=KEYS, action=choose_action("enable_selected")),
    PageVisit(name="revoke several", heading="Revoke API keys", url=KEYS, action=choose_action("revoke_selected")),
    PageVisit(name="extend several", heading="Extend expiry", url=KEYS, action=choose_action("extend_selected")),
    PageVisit(name="import", heading="Import keys", url=f"{KEYS}import/"),
    PageVisit(name="import, wrong", heading="Import keys: preview", action=upload_csv(WRONG_CSV)),
    PageVisit(
        name="import, preview", heading="Import keys: preview", url=f"{KEYS}import/", action=upload_csv(CSV)
    ),
    PageVisit(name="imported", heading="Keys issued", action=click_button("Issue 2 keys")),
    PageVisit(name="imported already", heading="Already issued", action=reload_page, status=409),
    PageVisit(name="teams", heading="Select team to change", url="/admin/keys/team/"),
    PageVisit(name="team", heading="Change team", url=f"{TEAM}change/"),
    PageVisit(name="new team", heading="Add team", url="/admin/keys/team/add/"),
    PageVisit(
        name="disable teams", heading="Disable teams", url="/admin/keys/team/", action=choose_action("disable_selected")
    ),
    PageVisit(name="prices", heading="Select price to change", url="/admin/keys/modelprice/"),
    PageVisit(name="price", heading="View price", url="/admin/keys/modelprice/{price.pk}/change/"),
    PageVisit(name="new price", heading="Add price", url="/admin/keys/modelprice/add/"),
    PageVisit(name="new price, wrong", heading="Add price", action=add_invalid_modifier),
    PageVisit(name="negotiated factors", heading="Select negotiated factor to change", url=FACTORS),
    PageVisit(name="new negotiated factor", heading="Add negotiated factor", url=f"{FACTORS}add/"),
    PageVisit(name="update prices", heading="Update prices", url=PRICE_UPDATE, action=open_all_details),
    PageVisit(name="update prices, wrong", heading="Update prices", url=PRICE_UPDATE, action=compare_file("a;b\n")),
    PageVisit(
        name="update prices, review", heading="Update prices: review", url=PRICE_UPDATE, action=compare_file(PRICES)
    ),
    PageVisit(name="re-rating", heading="Re-rating", url="/admin/prices/rerating/"),
    PageVisit(name="re-rating, preview", heading=re.compile("Re-rating \\d+"), action=preview_rerating),
    PageVisit(name="import bill", heading="Import bill", url="/admin/keys/bill/add/"),
    PageVisit(name="bill", heading="anthropic: Anthropic Console usage CSV", action=import_bill),
    PageVisit(name="bill lines", heading="Bill lines", action=open_bill_lines),
    PageVisit(name="bills", heading="Select bill to view", url="/admin/keys/bill/"),
    PageVisit(name="usage", heading="Usage", url="/admin/usage/?period=30d", action=open_all_details),
    PageVisit(name="requests", heading="Usage records", url="/admin/keys/usagerecord/"),
    PageVisit(name="request", heading="Request", url="/admin/keys/usagerecord/{record_path}/change/"),
    PageVisit(name="upstreams", heading="Select upstream to change", url="/admin/messages_api/upstream/"),
    PageVisit(name="upstream", heading="Change upstream", url="/admin/messages_api/upstream/{upstream.pk}/change/"),
    PageVisit(name="new upstream", heading="Add upstream", url="/admin/messages_api/upstream/add/"),
    PageVisit(name="test", heading="Test connection", url="/admin/messages_api/upstream/{upstream.pk}/test/"),
    PageVisit(name="routes", heading="Select route to change", url="/admin/messages_api/route/"),
    PageVisit(name="route", heading="Change route", url="/admin/messages_api/route/{route.pk}/change/"),
    PageVisit(
        name="preview of a route", heading="Test routing",
        url="/admin/messages_api/route/preview/?model=claude-haiku-4-5",
    ),
    PageVisit(name="users", heading="Select user to change", url="/admin/auth/user/"),
    PageVisit(name="new user", heading="Add user", url="/admin/auth/user/add/"),
    PageVisit(name="user", heading="Change user", url="/admin/auth/user/{busy.created_by_id}/change/"),
    PageVisit(name="group", heading="Add group", url="/admin/auth/group/add/"),
    PageVisit(name="audit log", heading="Audit log", url="/admin/staff/auditentry/"),
    PageVisit(name="logins", heading="Logins", url="/admin/staff/login/"),
    PageVisit(name="lockouts", heading="Failed logins", url="/admin/staff/failedlogin/"),
    PageVisit(name="not there", heading="Page not found", url="/admin/nowhere/", status=404),
    PageVisit(name="not open", heading="Access denied", url="/admin/keys/usagerecord/add/", status=403),
    PageVisit(name="two-factor, off", heading="Two-factor authentication", url="/admin/two-factor/"),
    PageVisit(name="two-factor, setup", heading="Two-factor authentication", action=click_button("Set up")),
    PageVisit(name="recovery codes", heading="Recovery codes", action=confirm_two_factor),
    PageVisit(name="two-factor, on", heading="Two-factor authentication", url="/admin/two-factor/"),
    PageVisit(name="logged out", heading="Logged out", action=log_out),
    PageVisit(name="login", heading="Log in", url="/admin/login/"),
    PageVisit(name="login, wrong", heading="Log in", action=fail_login),
    PageVisit(name="code", heading="Two-factor authentication", action=log_in_as_root),
    PageVisit(name="locked out", heading="Sign-in blocked", url="/admin/login/", action=lock_out, status=429),
]  # fmt: skip
