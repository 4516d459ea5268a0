"""API keys in the browser: issue form, raw key page, detail page and their accessibility."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright import sync_api
from playwright.sync_api import Browser, Page, expect

from keys.domain.limits import LimitExceeded
from keys.models import APIKey, Budget, KeySecret, Team, UsageRecord
from messages_api.models import Route, RouteTarget, Upstream
from tests.browser.conftest import PASSWORD, TIMEOUT_MS, Visitor
from tests.browser.test_hostile_texts import CUT_FIELDS, HOSTILE
from tests.browser.test_usage import painted_pixels
from tests.support.gateway import GatewayServer
from tests.support.usage_rows import UsageRecorder
from tests.upstream import ScriptedUpstream, replied

ADD = "/admin/keys/apikey/add/"


@pytest.fixture
def team(transactional_db: None) -> Team:
    team = Team.objects.create(name="Search", requests_per_minute=100, allowed_models=["claude-*"])
    Budget.objects.create(team=team, amount=200_000_000, period="month")
    return team


@pytest.fixture
def routed(upstream: ScriptedUpstream, transactional_db: None) -> ScriptedUpstream:
    """Start an upstream with routes for every model."""
    row = Upstream.objects.create(name="scripted", dialect="openai", base_url=upstream.url)
    for pattern in ("*", "claude-haiku"):
        RouteTarget.objects.create(route=Route.objects.create(pattern=pattern), upstream=row)
    upstream.queue(replied(), times=None)
    return upstream


@pytest.fixture
def scriptless(chromium: Browser, pages: GatewayServer, root: User) -> Iterator[Visitor]:
    """Return a signed-in browser without JavaScript."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, java_script_enabled=False)
    context.set_default_timeout(TIMEOUT_MS)
    visitor = Visitor(context.new_page(), pages)
    visitor.sign_in_as(root)
    yield visitor
    context.close()
    assert visitor.console_errors == []


# ---- issue form


def test_help_texts_follow_the_chosen_owner(visitor: Visitor, team: Team) -> None:
    page = visitor.open(ADD)
    limit = page.locator("#id_requests_per_minute_helptext")
    expect(limit).to_have_text("Empty: no limit.")

    page.get_by_label("Owner:", exact=True).select_option("Search")

    expect(limit).to_have_text("Empty: 100 requests per minute, shared with the other keys of team Search.")
    expect(page.locator("#id_budgets_helptext")).to_contain_text("Team Search has $200.00 per month")
    page.get_by_label("Owner:", exact=True).select_option("root")
    expect(limit).to_have_text("Empty: no limit.")


def test_the_button_is_disabled_while_the_preview_shows_problems(visitor: Visitor, team: Team) -> None:
    page = visitor.open(ADD)
    button, preview = page.get_by_role("button", name="Issue key"), page.locator("#preview")
    expect(preview).to_contain_text("Name: This field is required.")
    expect(button).to_be_disabled()

    page.get_by_label("Name").fill("Support bot")
    expect(button).to_be_enabled()
    page.get_by_label("Owner:", exact=True).select_option("Search")
    page.get_by_label("Amount").fill("20")
    expect(preview).to_contain_text("$20.00 per month; shared with its team: $200.00 per month")
    page.get_by_label("Amount").fill("201")
    expect(preview).to_contain_text("Amount: The team Search has $200.00 per month for all its keys")
    expect(button).to_be_disabled()

    page.get_by_label("Amount").fill("20")
    expect(button).to_be_enabled()
    button.click()
    expect(page.get_by_label("API key", exact=True)).to_be_visible()
    assert Budget.objects.get(team=None).amount == 20_000_000


def test_budgets_and_suggested_models_are_added(visitor: Visitor, routed: ScriptedUpstream) -> None:
    page = visitor.open(ADD)
    page.get_by_label("Name").fill("Support bot")

    page.get_by_text("Models with a route (1)").click()
    page.get_by_role("button", name="claude-haiku").click()
    page.get_by_role("button", name="claude-haiku").click()
    page.get_by_label("Amount").fill("20")
    page.get_by_role("button", name="Add a budget").click()
    expect(page.get_by_label("Amount").nth(1)).to_be_focused()
    page.get_by_label("Amount").nth(1).fill("5000")
    page.locator("#id_budgets-1-unit").select_option("tokens")
    page.get_by_role("button", name="Issue key").click()
    expect(page.get_by_label("API key", exact=True)).to_be_visible()

    api_key = APIKey.objects.get()
    assert api_key.allowed_models == ["claude-haiku"]
    assert set(api_key.budgets.values_list("unit", "amount")) == {("usd", 20_000_000), ("tokens", 5000)}


def test_the_last_day_is_shown_for_an_expiry_on_a_date(visitor: Visitor) -> None:
    page = visitor.open(ADD)
    expect(page.get_by_label("Last day")).to_be_hidden()

    page.get_by_label("Expires:", exact=True).select_option("date")

    expect(page.get_by_label("Last day")).to_be_visible()


def test_a_late_preview_does_not_disable_the_button(visitor: Visitor) -> None:
    page, pending = visitor.page, list[sync_api.Route]()
    page.route("**/preview/", lambda route: pending.append(route))
    with page.expect_request("**/preview/"):
        visitor.open(ADD)  # without a name
    page.get_by_label("Name").fill("Support bot")

    with page.expect_response("**/preview/"):
        pending[0].continue_()
    page.evaluate("new Promise(requestAnimationFrame)")

    assert page.get_by_role("button", name="Issue key").is_enabled()
    page.unroute_all(behavior="ignoreErrors")


def test_the_reason_is_shown_for_a_key_that_never_expires(visitor: Visitor) -> None:
    page = visitor.open(ADD)
    page.get_by_label("Name").fill("Meter")
    expect(page.get_by_label("Reason for no expiry")).to_be_hidden()

    page.get_by_label("Expires:", exact=True).select_option("never")
    expect(page.locator("#preview")).to_contain_text("Reason for no expiry: Enter why this key never expires.")
    expect(page.get_by_role("button", name="Issue key")).to_be_disabled()
    page.get_by_label("Reason for no expiry").fill("it has no clock")

    expect(page.locator("#preview")).to_contain_text("never (it has no clock)")
    expect(page.get_by_role("button", name="Issue key")).to_be_enabled()


def test_a_key_is_issued_by_keyboard_alone(visitor: Visitor) -> None:
    page = visitor.open(ADD)

    page.keyboard.type("Support bot")  # the first field has the focus
    expect(page.get_by_role("button", name="Issue key")).to_be_enabled()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == "Issue key":
            break
    page.keyboard.press("Enter")

    expect(page.get_by_label("API key", exact=True)).to_be_visible()
    assert APIKey.objects.get().name == "Support bot"


def test_from_the_login_to_an_issued_key_by_keyboard_alone(visitor: Visitor) -> None:
    visitor.page.context.clear_cookies()
    page = visitor.open("/admin/login/")

    page.wait_for_function("document.activeElement.name === 'username'")  # the first field has the focus
    page.keyboard.type("root")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/")
    tabs_to(page, "API keys")
    page.keyboard.press("Enter")
    page.wait_for_url("**/apikey/")
    tabs_to(page, "Issue a key")
    page.keyboard.press("Enter")
    page.wait_for_url("**/add/")
    expect(page.get_by_role("button", name="Issue key")).to_be_disabled()
    page.keyboard.press("Enter")  # does nothing while the form has problems
    page.keyboard.type("Support bot")
    expect(page.get_by_role("button", name="Issue key")).to_be_enabled()
    page.keyboard.press("Enter")

    expect(page.get_by_label("API key", exact=True)).to_be_visible()
    tabs_to(page, "Copy")
    page.keyboard.press("Enter")
    expect(page.locator("#copied")).to_have_text("Copied")
    raw = page.evaluate("navigator.clipboard.readText()")
    assert APIKey.objects.with_raw_key(raw).get().name == "Support bot"


def tabs_to(page: Page, text: str) -> None:
    """Press Tab until the element with that text has the focus, with a visible outline."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == text:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"Tab does not lead to {text}")


def test_a_key_is_issued_without_a_script(scriptless: Visitor, team: Team) -> None:
    page = scriptless.open(ADD)
    page.get_by_label("Name").fill("Support bot")
    page.get_by_label("Owner:", exact=True).select_option("Search")

    page.get_by_role("button", name="Check").click()
    expect(page.locator("#id_requests_per_minute_helptext")).to_contain_text("Empty: 100 requests per minute, shared")
    expect(page.locator("#preview")).to_contain_text("team Search")
    page.get_by_role("button", name="Add a budget").click()
    page.get_by_label("Amount").nth(1).fill("7")
    page.get_by_role("button", name="Issue key").click()

    raw = page.get_by_label("API key", exact=True).input_value()
    assert APIKey.objects.with_raw_key(raw).get().budgets.get().amount == 7_000_000
    expect(page.get_by_role("button", name="Send test request")).to_be_hidden()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_label("API key", exact=True)).to_have_value(raw)  # the checkbox is not checked yet
    page.get_by_label("I have stored the key").check()
    page.get_by_role("button", name="Done").click()
    page.wait_for_url("**/change/?")
    expect(page.locator("h1")).to_have_text("Support bot")


# ---- raw key


def issued(visitor: Visitor, **fields: str) -> Page:
    page = visitor.open(ADD)
    for label, value in {"Name": "Support bot", **fields}.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Issue key").click()
    expect(page.get_by_label("API key", exact=True)).to_be_visible()
    return page


def test_a_test_request_is_sent_from_the_page_of_the_raw_key(visitor: Visitor, routed: ScriptedUpstream) -> None:
    page = issued(visitor)
    expect(page.get_by_label("Model")).to_have_value("claude-haiku")

    page.get_by_role("button", name="Send test request").click()

    outcome = page.locator("#outcome")
    expect(outcome).to_contain_text("Succeeded")
    expect(outcome).to_contain_text("200")
    expect(outcome).to_contain_text("Hello")
    record = UsageRecord.objects.get()
    expect(outcome).to_contain_text(record.pk)
    assert record.api_key == APIKey.objects.get()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"Allowed IP addresses": "192.0.2.1"}, "or not from your IP address", id="address"),
        pytest.param({"Amount": "0.000001"}, "or the model has no price", id="budget"),
    ],
)
def test_a_test_request_that_fails_is_explained(
    fields: dict[str, str], said: str, visitor: Visitor, routed: ScriptedUpstream
) -> None:
    page = issued(visitor, **fields)

    page.get_by_role("button", name="Send test request").click()

    expect(page.locator("#outcome")).to_contain_text("Failed")
    expect(page.locator("#outcome")).to_contain_text(said)
    visitor.console_errors = [text for text in visitor.console_errors if not re.search(r"status of 40[23]", text)]


def test_done_is_disabled_until_the_key_is_stored(visitor: Visitor) -> None:
    page = issued(visitor)
    expect(page.get_by_role("button", name="Done")).to_be_disabled()

    page.get_by_label("I have stored the key").check()
    page.get_by_role("button", name="Done").click()

    page.wait_for_url("**/change/?")
    expect(page.locator("h1")).to_have_text("Support bot")


# ---- detail page


def test_a_key_is_rotated_and_the_new_one_is_shown_once(visitor: Visitor, recorder: UsageRecorder) -> None:
    page = visitor.open(f"/admin/keys/apikey/{recorder.api_key.pk}/change/")

    page.get_by_role("link", name="Rotate …").click()
    page.get_by_label("in 1 hour").check()
    page.get_by_role("button", name="Rotate").click()

    raw = page.get_by_label("API key", exact=True).input_value()
    assert APIKey.objects.with_raw_key(raw).get() == recorder.api_key and KeySecret.objects.count() == 2
    page.reload()
    expect(page.locator(".warning")).to_contain_text("It cannot be shown again")
    assert raw not in page.content() and KeySecret.objects.count() == 2


def test_a_key_is_revoked_by_typing_its_name(visitor: Visitor, recorder: UsageRecorder) -> None:
    page = visitor.open(f"/admin/keys/apikey/{recorder.api_key.pk}/revoke/")

    page.get_by_label("Compromised").check()
    page.get_by_role("button", name="Revoke this key").click()
    expect(page.locator(".errorlist")).to_contain_text("This field is required.")
    page.get_by_label("Type the name of the key").fill("Support bot")
    page.get_by_role("button", name="Revoke this key").click()

    expect(page.locator(".key-head")).to_contain_text("compromised")
    assert APIKey.objects.get().revocation_reason == "compromised"
    expect(page.get_by_role("link", name="Rotate …")).to_have_count(0)


def test_a_key_is_edited_on_its_page(visitor: Visitor, recorder: UsageRecorder) -> None:
    page = visitor.open(f"/admin/keys/apikey/{recorder.api_key.pk}/change/")

    page.get_by_role("link", name="Edit key").click()
    page.locator("details.edit-key summary").first.click()
    page.get_by_label("Requests per minute").fill("60")
    page.get_by_label("Amount").fill("12.50")
    page.get_by_role("button", name="Save").click()

    expect(page.locator(".messagelist")).to_contain_text("Takes effect everywhere within")
    expect(page.locator(".meters")).to_contain_text("$12.50 per month")
    assert APIKey.objects.get().requests_per_minute == 60


def test_a_budget_is_temporarily_increased(visitor: Visitor, recorder: UsageRecorder) -> None:
    Budget.objects.create(api_key=recorder.api_key, amount=20_000_000, period="month")
    page = visitor.open(f"/admin/keys/apikey/{recorder.api_key.pk}/change/")

    page.get_by_role("link", name="Temporary increase …").click()
    page.get_by_label("Additional US dollars").fill("5")
    page.get_by_label("Until").fill(f"{timezone.localtime() + timedelta(days=1):%Y-%m-%dT%H:%M}")
    page.get_by_role("button", name="Increase budget").click()

    expect(page.locator(".meters")).to_contain_text("$25.00 per month")


def test_the_chart_of_a_key_is_painted_and_its_id_is_copied(visitor: Visitor, recorder: UsageRecorder) -> None:
    recorder.record()
    page = visitor.open(f"/admin/keys/apikey/{recorder.api_key.pk}/change/")

    page.wait_for_function("window.Chart && Chart.getChart(document.querySelector('canvas'))")
    page.get_by_role("button", name="Copy").first.click()

    assert painted_pixels(page) > 1000
    assert page.evaluate("navigator.clipboard.readText()") == recorder.api_key.public_id


# ---- accessibility


def busy(recorder: UsageRecorder) -> tuple[APIKey, Budget]:
    """Create a key with content in every panel, some of it hostile."""
    team = Team.objects.create(name=HOSTILE[:100], requests_per_minute=9)
    api_key = recorder.api_key
    api_key.name, api_key.purpose, api_key.team, api_key.owner = HOSTILE[:100], HOSTILE, team, None
    api_key.metadata, api_key.allowed_models, api_key.requests_per_minute = {"a": HOSTILE}, ["claude-*", HOSTILE], 5
    api_key.save()
    budget = Budget.objects.create(api_key=api_key, amount=10, unit="tokens")
    Budget.objects.create(team=team, amount=10**9)
    recorder.record(model=HOSTILE, user_agent=HOSTILE, input_tokens=5, output_tokens=5)
    recorder.record(status="failed", error_type=HOSTILE, model="claude-3-opus-with-a-name-that-is-far-too-long" * 4)
    recorder.record(status="rejected", limit_exceeded=LimitExceeded(scope="key", limit=HOSTILE, value=5))
    budget.set_temporary_increase(5, until=timezone.now() + timedelta(days=1))
    api_key.rotate(overlap=timedelta(hours=1))
    return api_key, budget


def test_every_page_of_a_key_shows_hostile_texts_safely_and_is_accessible(
    visitor: Visitor, recorder: UsageRecorder, axe: str
) -> None:
    api_key, budget = busy(recorder)
    width = 390  # the narrowest supported width
    visitor.page.set_viewport_size({"width": width, "height": 900})
    page = visitor.page

    def check_page(what: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width, what
        assert page.evaluate(CUT_FIELDS) == [], what
        assert page.title() not in ("caught", "1")
        assert visitor.console_errors == [], what
        assert visitor.axe_violations(axe) == [], what

    base = f"/admin/keys/apikey/{api_key.pk}"
    for url in ("rotate", "disable", "revoke", f"budgets/{budget.pk}"):
        visitor.open(f"{base}/{url}/")
        check_page(url)
    visitor.open(f"{base}/change/")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    check_page("key")
    page.get_by_label("Amount").first.fill("x")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".errornote").first).to_be_visible()
    check_page("key with errors")
    visitor.open(ADD)
    check_page("issue")
    page.get_by_label("Name").fill("Support bot")
    expect(page.get_by_role("button", name="Issue key")).to_be_enabled()
    check_page("issue, filled in")
    page.get_by_role("button", name="Issue key").click()
    expect(page.get_by_label("API key", exact=True)).to_be_visible()
    check_page("shown once")
    page.reload()
    visitor.console_errors = [text for text in visitor.console_errors if "status of 409" not in text]
    check_page("already shown")


def test_data_for_scripts_is_escaped(visitor: Visitor, recorder: UsageRecorder) -> None:
    busy(recorder)
    page = visitor.open(ADD)

    data = json.loads(page.locator("#help-texts").text_content() or "")

    assert any(HOSTILE[:20] in text for text in data[f"team-{Team.objects.get().pk}"].values())
    assert PASSWORD not in page.content()
