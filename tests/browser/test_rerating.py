"""Re-rating in the browser: preview, apply and undo."""

from datetime import UTC, datetime, timedelta

from playwright.sync_api import Page, expect

from keys.models import ModelPrice, UsageRecord
from tests.browser.conftest import Visitor
from tests.browser.page_walk import preview_rerating
from tests.support.usage_rows import UsageRecorder


def test_a_run_is_previewed_applied_and_undone(visitor: Visitor, recorder: UsageRecorder) -> None:
    recorder.record(upstream_model="m", input_tokens=1_000_000, output_tokens=0)
    ModelPrice.objects.create(
        model_pattern="m", input_price=5_000_000, output_price=1, valid_from=datetime.now(UTC) - timedelta(days=1)
    )
    page = visitor.open("/admin/keys/modelprice/")
    page.get_by_role("link", name="Re-rate requests").click()

    preview_rerating(page)
    expect_state(page, "Preview", old="$0.00", new="$5.00")
    assert UsageRecord.objects.get().cost_usd_picos is None
    page.get_by_role("button", name="Apply").click()
    expect_state(page, "Applied", old="$0.00", new="$5.00")
    assert UsageRecord.objects.get().cost_usd_picos == 5 * 10**12
    page.get_by_role("button", name="Undo").click()

    expect_state(page, "Undone", old="$0.00", new="$5.00")
    assert UsageRecord.objects.get().cost_usd_picos is None


def expect_state(page: Page, state: str, *, old: str, new: str) -> None:
    expect(page.locator("#state")).to_have_text(state)
    facts = page.locator("dl.facts").inner_text().split("\n")
    assert (facts[facts.index("Old cost") + 1], facts[facts.index("New cost") + 1]) == (old, new)
