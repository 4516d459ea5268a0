"""The jobs of docs/jobs.md, walked from the overview with as few clicks as the table promises."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from keys.domain.limits import LimitExceeded
from keys.models import APIKey, Budget, ModelPrice, Team
from keys.pricing.price_book import prices
from keys.usage import ledger
from tests.browser.conftest import Visitor
from tests.support.usage_rows import UsageRecorder

DOCS = Path(__file__).parents[2] / "docs" / "jobs.md"
MAX_CLICKS = 5
VIEWPORTS: list[tuple[int, Literal["light", "dark"]]] = [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")]
DAY = timedelta(days=1)


class Walk:
    """A walk from the overview. It counts clicks, choices in a list and Enter; typing is not counted."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0

    def click(self, target: Locator) -> None:
        self.clicks += 1
        target.click()

    def link(self, name: str | re.Pattern[str], *, within: Locator | None = None, exact: bool = True) -> None:
        self.click((within or self.page).get_by_role("link", name=name, exact=exact).first)

    def button(self, name: str) -> None:
        self.click(self.page.get_by_role("button", name=name, exact=True))

    def choose(self, label: str, option: str) -> None:
        self.clicks += 1
        self.page.get_by_label(label, exact=True).select_option(option)

    def enter(self, field: Locator, text: str) -> None:
        self.clicks += 1
        field.fill(text)
        field.press("Enter")

    def go_to(self, name: str) -> None:
        """Open a page of the navigation: in the menu of a small screen, else in the sidebar."""
        menu = self.page.locator("summary", has_text="Menu")
        if menu.is_visible():
            self.click(menu)
            self.link(name, within=self.page.get_by_role("navigation", name="Menu"))
        else:
            self.link(name, within=self.page.locator("#nav-sidebar"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """What the jobs are about."""

    developer: User
    leaked: APIKey
    raw: str
    team: Team


@pytest.fixture
def installation(root: User, recorder: UsageRecorder) -> Iterator[Installation]:
    ModelPrice.objects.create(
        model_pattern="claude-*", input_price=3_000_000, output_price=15_000_000, valid_from=timezone.now() - 90 * DAY
    )
    prices.book()
    developer = User.objects.create_user("mia.keller")
    team = Team.objects.create(name="Search")
    leaked, raw = APIKey.objects.issue(name="Search ranking", team=team, requests_per_minute=60)
    Budget.objects.create(team=team, amount=400_000_000)
    rule = LimitExceeded(scope="key", limit="requests_per_minute", value=60)
    recorder.record(
        as_key=leaked, status="rejected", http_status=429, error_type="rate_limit_error", limit_exceeded=rule
    )
    recorder.record(
        as_key=leaked, status="failed", upstream="vllm", http_status=504, error_type="timeout_error",
        error_reason="read_timeout", model="claude-old", upstream_model="claude-old",
    )  # fmt: skip
    yield Installation(developer=developer, leaked=leaked, raw=raw, team=team)
    ledger.close()


# ---- The jobs. Each ends at the answer.


def give_a_developer_a_limited_key(walk: Walk, installation: Installation) -> None:
    walk.go_to("API keys")
    walk.link("Issue a key", exact=False)
    walk.page.get_by_label("Name").fill("Notebook of Mia")
    walk.choose("Owner:", "mia.keller")
    walk.page.get_by_label("Requests per minute").fill("30")
    walk.page.get_by_label("Amount").fill("20")
    walk.button("Issue key")

    expect(walk.page.locator("h1")).to_have_text("Key issued")
    expect(walk.page.get_by_label("API key", exact=True)).to_have_value(re.compile("^mgw_"))
    issued = APIKey.objects.get(name="Notebook of Mia")
    assert (issued.owner, issued.requests_per_minute) == (installation.developer, 30)
    assert [budget.amount for budget in issued.budgets.all()] == [20_000_000]


def find_why_requests_were_rejected(walk: Walk, installation: Installation) -> None:
    walk.go_to("API keys")
    walk.link("Search ranking", exact=False, within=walk.page.locator("#result_list"))

    expect(walk.page.locator("h1")).to_have_text("Search ranking")
    expect(walk.page.get_by_role("main")).to_contain_text("60 requests per minute")


def find_which_upstream_fails_and_why(walk: Walk, installation: Installation) -> None:
    errors = walk.page.get_by_role("region", name="Recent errors").last
    expect(errors).to_contain_text("vllm")
    walk.link(re.compile("^req_"), within=errors, exact=False)

    main = walk.page.get_by_role("main")
    expect(main).to_contain_text("vllm")
    expect(main).to_contain_text("timeout_error")


def stop_a_leaked_key(walk: Walk, installation: Installation) -> None:
    walk.page.get_by_label("Full API key").fill(installation.raw)
    walk.button("Find")
    walk.button("Actions for Search ranking")
    walk.link("Revoke Search ranking")
    walk.click(walk.page.get_by_text("Compromised"))
    walk.page.get_by_label("Details", exact=True).fill("found in a repository")
    walk.page.get_by_label("To confirm").fill("Search ranking")
    walk.button("Revoke this key")

    expect(walk.page.get_by_role("status")).to_contain_text("revoked")
    expect(walk.page.get_by_role("status")).to_be_focused()
    assert APIKey.objects.get(pk=installation.leaked.pk).revocation_reason == "compromised"


JOBS: dict[str, Callable[[Walk, Installation], None]] = {
    "Give a developer a limited key": give_a_developer_a_limited_key,
    "Why was my request rejected?": find_why_requests_were_rejected,
    "Which upstream fails, and why?": find_which_upstream_fails_and_why,
    "Stop a leaked key": stop_a_leaked_key,
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("width, scheme", VIEWPORTS)
def test_a_job_takes_few_clicks(
    job: str, width: int, scheme: Literal["light", "dark"], installation: Installation, visitor: Visitor, axe: str
) -> None:
    page = visitor.page
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    visitor.open("/admin/")
    walk = Walk(page)

    JOBS[job](walk, installation)

    assert walk.clicks <= min(MAX_CLICKS, promised()[job])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert visitor.axe_violations(axe) == []


def promised() -> dict[str, int]:
    """Return the clicks that the table of the docs promises, by job."""
    rows: list[Any] = re.findall(r"^\| ([^|]+?) \| (\d) \|", DOCS.read_text(), re.MULTILINE)
    return {job: int(clicks) for job, clicks in rows}


def test_the_docs_name_every_job() -> None:
    assert promised().keys() == JOBS.keys() and max(promised().values()) <= MAX_CLICKS
