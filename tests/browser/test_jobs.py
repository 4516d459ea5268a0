"""The jobs of docs/jobs.md, walked from the overview with as few clicks as the table promises."""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
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
SESSION = "session-42"
RETIRED = "claude-retired"


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
        self.page.get_by_role("combobox", name=label, exact=True).select_option(option)

    def enter(self, field: Locator, text: str) -> None:
        self.clicks += 1
        field.fill(text)
        field.press("Enter")

    def table(self) -> Locator:
        """Return the table of the usage page."""
        return self.page.get_by_role("table", name="Usage by group")

    def rows(self) -> list[list[str]]:
        """Return the cells of the usage page's table, its total last."""
        rows = self.table().locator("tbody tr, tfoot tr")
        return [[cell.strip() for cell in row.locator("th, td").all_inner_texts()] for row in rows.all()]

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
    importer: APIKey


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
    importer, _ = APIKey.objects.issue(name="Old importer", owner=developer)
    _record_usage(recorder, leaked, importer)
    yield Installation(developer=developer, leaked=leaked, raw=raw, team=team, importer=importer)
    ledger.close()


def _record_usage(recorder: UsageRecorder, of_team: APIKey, of_developer: APIKey) -> None:
    """Record requests of last month, of yesterday and of now. A thousand output tokens cost 1.5 cents."""

    def record(api_key: APIKey, created_at: datetime, model: str, output_tokens: int, **fields: Any) -> None:
        fields |= {"model": model, "upstream_model": model, "input_tokens": 0, "output_tokens": output_tokens}
        recorder.record_rated(as_key=api_key, created_at=created_at, **fields)

    now = timezone.localtime()
    last_month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) - 5 * DAY
    record(of_team, last_month, "claude-large", 100_000)
    record(of_team, last_month, "claude-small", 30_000)
    record(of_developer, last_month, "claude-small", 900_000)
    record(of_team, now - DAY, "claude-large", 1, duration_ms=9_000)
    record(of_team, now - DAY, "claude-small", 1, duration_ms=200)
    for output_tokens in (20_000, 50_000):
        record(of_team, now, "claude-large", output_tokens, session_id=SESSION)
    record(of_developer, now, RETIRED, 1_000)


# ---- The jobs. Each ends at the result.


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
    walk.click(walk.page.get_by_role("radio", name=re.compile("^Compromised")))
    walk.page.get_by_label("Details", exact=True).fill("found in a repository")
    walk.page.get_by_label("To confirm").fill("Search ranking")
    walk.button("Revoke this key")

    expect(walk.page.get_by_role("status")).to_contain_text("revoked")
    expect(walk.page.get_by_role("status")).to_be_focused()
    assert APIKey.objects.get(pk=installation.leaked.pk).revocation_reason == "compromised"


def read_what_a_team_spent_last_month(walk: Walk, installation: Installation) -> None:
    walk.link("Explore the month")
    walk.link("Last month")
    walk.link("Search", within=walk.table())

    rows = [row[:3] for row in walk.rows()]
    assert rows == [
        ["Search", "claude-large", "$1.50"],
        ["Search", "claude-small", "$0.45"],
        ["Total", "$1.95", "100 %"],
    ]


def read_what_a_session_cost(walk: Walk, installation: Installation) -> None:
    walk.link("Explore today")
    walk.click(walk.page.locator("summary", has_text="Add filter"))
    walk.link("Session", within=walk.page.get_by_role("navigation", name="Filter by"))
    walk.page.get_by_label("Value").fill(SESSION)
    walk.button("Add")

    expect(walk.page.get_by_role("list", name="Filters")).to_contain_text(SESSION)
    assert walk.rows()[-1][:2] == ["Total", "$1.05"]


def find_the_slowest_model_of_yesterday(walk: Walk, installation: Installation) -> None:
    walk.link("Explore today")
    walk.link("Yesterday")
    walk.link("Latency p95")

    expect(walk.page.get_by_role("columnheader", name="Latency p95")).to_have_attribute("aria-sort", "descending")
    assert [row[0] for row in walk.rows()] == ["claude-large", "claude-small", "Total"]
    p95_ms = int(walk.rows()[0][1].removesuffix(" ms").replace(",", ""))
    assert abs(p95_ms - 9_000) < 450


def find_who_used_a_retired_model(walk: Walk, installation: Installation) -> None:
    walk.link("Explore the month")
    walk.link(RETIRED, within=walk.table())
    walk.choose("Group by", "Key")
    walk.button("Show")

    expect(walk.page.get_by_role("list", name="Filters")).to_contain_text(RETIRED)
    assert {row[0] for row in walk.rows()} == {"Old importer", "Total"}


def export_last_month_for_finance(walk: Walk, installation: Installation) -> None:
    walk.link("Explore the month")
    walk.link("Last month")
    walk.click(walk.page.locator("summary", has_text="Export"))
    charges = walk.page.get_by_role("listitem").filter(has_text="Charges for finance")
    with walk.page.expect_download() as download:
        walk.link("CSV", within=charges)

    rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8-sig").splitlines()))
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal("15.45")
    assert {row["BillingCurrency"] for row in rows} == {"USD"}


def send_statements_to_a_team(walk: Walk, installation: Installation) -> None:
    walk.go_to("Teams")
    walk.link("Search", within=walk.page.locator("#result_list"))
    walk.page.get_by_label("Email").fill("search@example.org")
    walk.choose("Statement by e-mail:", "Monthly")
    walk.button("Save")

    expect(walk.page.locator(".messagelist")).to_contain_text("Search")
    installation.team.refresh_from_db()
    assert (installation.team.email, installation.team.statement) == ("search@example.org", "month")


JOBS: dict[str, Callable[[Walk, Installation], None]] = {
    "Give a developer a limited key": give_a_developer_a_limited_key,
    "Why was my request rejected?": find_why_requests_were_rejected,
    "Which upstream fails, and why?": find_which_upstream_fails_and_why,
    "Stop a leaked key": stop_a_leaked_key,
    "What did a team spend last month, by model?": read_what_a_team_spent_last_month,
    "What did a session cost?": read_what_a_session_cost,
    "Which model was slowest yesterday?": find_the_slowest_model_of_yesterday,
    "Who used a retired model?": find_who_used_a_retired_model,
    "Export last month for finance": export_last_month_for_finance,
    "Send a team its statements": send_statements_to_a_team,
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
