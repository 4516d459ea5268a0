"""Usage report in the browser: chart, tables, period and export."""

import csv
from datetime import datetime, timedelta
from pathlib import Path

from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.support.gateway import wait_until
from tests.support.usage_rows import UsageRecorder

USAGE = "/admin/usage/"
CHART_VERSION = "4.2.0"


def painted_pixels(page: Page) -> int:
    return int(
        page.evaluate(
            """() => {
              const canvas = document.querySelector("figure canvas");
              const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
              copy.drawImage(canvas, 0, 0);
              const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
              let painted = 0;
              for (let i = 3; i < pixels.length; i += 4) painted += pixels[i] > 0;
              return painted;
            }"""
        )
    )


def figures(page: Page, table: str) -> list[list[str]]:
    rows = page.get_by_role("table", name=table).locator("tbody tr, tfoot tr")
    return [[cell.strip() for cell in row.locator("th, td").all_inner_texts()] for row in rows.all()]


def noon(days_ago: int) -> datetime:
    return timezone.localtime().replace(hour=0, minute=0, second=1) - timedelta(days=days_ago)


def record_requests(recorder: UsageRecorder) -> None:
    for days_ago, count in ((0, 3), (1, 5), (4, 8)):
        for _ in range(count):
            recorder.record(created_at=noon(days_ago), input_tokens=1000, output_tokens=100, cache_read_tokens=10)
    recorder.record(created_at=noon(1), model="smollm2", status="failed", input_tokens=None, output_tokens=None)


def test_the_report_shows_the_totals(visitor: Visitor, recorder: UsageRecorder) -> None:
    record_requests(recorder)

    page = visitor.open(USAGE)

    hint = str(recorder.api_key.secrets.get())
    assert figures(page, "Usage by key") == [
        [f"Support bot {hint}", "17", "1", "0", "16,000", "160", "0", "1,600", "unpriced"],
        ["Total", "17", "1", "0", "16,000", "160", "0", "1,600", "unpriced"],
    ]
    assert figures(page, "Usage by model") == [
        ["claude-3", "16", "0", "0", "16,000", "160", "0", "1,600", "unpriced"],
        ["smollm2", "1", "1", "0", "0", "0", "0", "0", "unpriced"],
        ["Total", "17", "1", "0", "16,000", "160", "0", "1,600", "unpriced"],
    ]
    page.get_by_text("Show data as table").click()
    days = figures(page, "Usage per day")
    assert [row[1] for row in days] == ["0", "0", "8", "0", "0", "6", "3", "17"]
    expect(page.locator("figcaption")).to_have_text("17 requests, 5.9 % errors.")


def test_the_chart_is_painted_in_both_themes(visitor: Visitor, recorder: UsageRecorder) -> None:
    record_requests(recorder)
    page = visitor.open(USAGE)
    color = "Chart.getChart(document.querySelector('figure canvas')).data.datasets[0].backgroundColor"

    assert page.evaluate("Chart.version") == CHART_VERSION
    light = page.evaluate(color)
    assert painted_pixels(page) > 2000
    page.emulate_media(color_scheme="dark")
    wait_until(
        lambda: page.evaluate(color) != light
    )  # `wait_for_function` needs eval, which the content security policy rejects
    assert painted_pixels(page) > 2000


def test_a_chart_is_not_animated_with_reduced_motion(visitor: Visitor, recorder: UsageRecorder) -> None:
    record_requests(recorder)
    visitor.page.emulate_media(reduced_motion="reduce")

    page = visitor.open(USAGE)

    assert page.evaluate("Chart.getChart(document.querySelector('figure canvas')).options.animation") is False


def test_the_period_is_chosen_and_stays_in_the_url(visitor: Visitor, recorder: UsageRecorder) -> None:
    record_requests(recorder)
    page = visitor.open(USAGE)

    page.get_by_role("link", name="Today", exact=True).click()
    page.wait_for_url("**?period=today")
    assert figures(page, "Usage by model")[-1][1] == "3"
    page.get_by_label("From").fill(f"{noon(4):%Y-%m-%d}")
    page.get_by_label("to", exact=True).fill(f"{noon(1):%Y-%m-%d}")
    page.get_by_role("button", name="Apply").click()

    page.wait_for_url("**period=custom**")
    assert figures(page, "Usage by model")[-1][1] == "14"


def test_the_export_is_a_file(visitor: Visitor, recorder: UsageRecorder, tmp_path: Path) -> None:
    record_requests(recorder)
    page = visitor.open(f"{USAGE}?period=30d")

    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    download.value.save_as(tmp_path / "usage.csv")

    lines = list(csv.DictReader((tmp_path / "usage.csv").read_text().splitlines()))
    assert download.value.suggested_filename.startswith("usage_")
    assert sum(int(line["requests"]) for line in lines) == 17


def test_without_scripts_the_report_is_a_table(visitor: Visitor, recorder: UsageRecorder) -> None:
    record_requests(recorder)
    page = visitor.page
    page.route("**/*.js", lambda route: route.fulfill(body="", content_type="text/javascript"))

    visitor.open(USAGE)

    assert figures(page, "Usage by key")[-1][1] == "17"
