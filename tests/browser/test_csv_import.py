"""CSV import in the browser: preview, issued keys and download."""

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from keys.models import APIKey, KeySecret
from tests.browser.conftest import Visitor
from tests.browser.page_walk import CSV, WRONG_CSV, upload_csv

IMPORT = "/admin/keys/apikey/import/"


@pytest.fixture
def page(visitor: Visitor) -> Page:
    for name in ("mia.keller", "tom.berg"):
        User.objects.create_user(name)
    return visitor.open(IMPORT)


def test_a_file_is_previewed_and_its_keys_are_shown_once(page: Page) -> None:
    upload_csv(CSV)(page)
    expect(page.locator("#result")).to_have_text("All rows are valid: 2 keys can be issued.")
    assert not APIKey.objects.exists()

    page.get_by_role("button", name="Issue 2 keys").click()

    expect(page.locator("#issued .raw")).to_have_count(2)
    raws = page.locator("#issued .raw").all_text_contents()
    assert [APIKey.objects.with_raw_key(raw).get().name for raw in raws] == ["Laptop of Mia", "Laptop of Tom"]
    page.reload()
    expect(page.locator("h1")).to_have_text("Already issued")
    assert KeySecret.objects.count() == 2 and not any(raw in page.content() for raw in raws)


def test_invalid_rows_are_skipped_on_request(page: Page) -> None:
    upload_csv(WRONG_CSV)(page)
    expect(page.locator("#result")).to_contain_text("2 of 3 rows are invalid; 1 can be issued.")

    page.get_by_role("button", name="Issue 1 key").click()
    expect(page.locator(".errornote")).to_contain_text("No keys were issued")
    assert not APIKey.objects.exists()
    page.get_by_label("Issue the 1 valid row").check()
    page.get_by_role("button", name="Issue 1 key").click()

    expect(page.locator("#issued tbody tr")).to_have_count(1)
    assert APIKey.objects.get().name == "Good"


def test_the_keys_are_downloaded(page: Page, tmp_path: Path) -> None:
    upload_csv(CSV)(page)

    with page.expect_download() as download:
        page.get_by_role("button", name="Issue and download as CSV").click()
    download.value.save_as(tmp_path / "keys.csv")

    first = (tmp_path / "keys.csv").read_text().splitlines()[1]
    assert APIKey.objects.with_raw_key(first.rsplit(",", 1)[1]).get().name == "Laptop of Mia"
