"""Prices > Update: compare in a process of its own, review, apply; bad files and forms change nothing."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from keys.forms.price_update import LOST
from keys.models import ModelPrice, PriceModifier
from keys.pages.price_update import NOTHING_SELECTED
from keys.pricing.catalog.price_csv import COLUMNS, MAX_BYTES
from messages_api.models import Route, RouteTarget, Upstream
from tests.support.gateway import database_url

PAGE = "/admin/prices/update/"
M = 1_000_000
HEAD = "model,input,output\n"


@pytest.fixture(autouse=True)
def environment(transactional_db: None, settings: Settings) -> None:
    """Let commands that pages start use the test database."""
    settings.COMMAND_ENVIRONMENT = {**os.environ, "DATABASE_URL": database_url()}


@pytest.fixture
def models(transactional_db: None) -> None:
    upstream = Upstream.objects.create(name="anthropic", dialect="anthropic", base_url="https://api.anthropic.com")
    for model in ("claude-opus-5-5", "claude-haiku-5-5"):
        RouteTarget.objects.create(route=Route.objects.create(pattern=model), upstream=upstream)


def upload(browser: Client, content: str | bytes) -> Any:
    data = content if isinstance(content, bytes) else content.encode()
    return browser.post(PAGE, {"source": "file", "file": SimpleUploadedFile("prices.csv", data)})


def compare(browser: Client) -> Any:
    return browser.post(PAGE, {"source": "catalog"})


def confirmed(shown: Any, *proposals: str, rules: tuple[str, ...] = (), **fields: str) -> dict[str, Any]:
    """Return the data that the form of a review sends."""
    signed = shown.context["form"]["review"].value()
    return {"review": signed, "proposal": list(proposals), "rule": list(rules), **fields}


def ids(shown: Any) -> dict[str, str]:
    return {each.model_pattern: each.id for each in shown.context["review"].proposals}


def test_a_review_is_shown_and_nothing_is_changed(browser: Client, models: None) -> None:
    shown = compare(browser)

    assert shown.status_code == 200
    for text in ("claude-opus-5-5", "Input", "$4.00", "same name", "Inference in the US", "Apply selected"):
        assert text in shown.text
    assert not ModelPrice.objects.exists()


def test_what_is_selected_is_applied_with_its_rules_and_an_audit_entry_of_the_user(
    browser: Client, models: None, admin: User
) -> None:
    shown = compare(browser)
    opus = ids(shown)["claude-opus-5-5"]

    answer = browser.post(PAGE, confirmed(shown, opus, rules=(f"{opus}:inference_geo_us", "99:x")), follow=True)

    assert "1 price added." in answer.text
    price = ModelPrice.objects.get()
    assert (price.model_pattern, price.input_price) == ("claude-opus-5-5", 4 * M)
    assert "inference_geo" in price.modifiers.values_list("dimension", flat=True)
    entry = LogEntry.objects.get(content_type__model="modelprice")
    assert entry.actor == admin


def test_a_review_says_that_there_is_nothing_to_do(browser: Client) -> None:
    shown = compare(browser)

    assert "Nothing to do" in shown.text and "Apply selected" not in shown.text


def test_the_same_form_twice_adds_a_price_once(browser: Client, models: None) -> None:
    shown = compare(browser)
    form = confirmed(shown, *ids(shown).values())
    browser.post(PAGE, form)

    again = browser.post(PAGE, form)

    assert "was changed after it was reviewed" in again.text and "No price was changed." in again.text
    assert ModelPrice.objects.count() == 2


def test_a_selection_is_required_and_kept_after_an_error(browser: Client, models: None) -> None:
    shown = compare(browser)
    assert NOTHING_SELECTED in browser.post(PAGE, confirmed(shown)).text
    haiku = ids(shown)["claude-haiku-5-5"]

    again = browser.post(PAGE, confirmed(shown, haiku, valid_from="soon"))

    rows = {row.proposal.model_pattern: row.is_selected for _, _, rows in again.context["sections"] for row in rows}
    assert rows == {"claude-haiku-5-5": True, "claude-opus-5-5": False}
    assert "Enter a valid date/time." in again.text and not ModelPrice.objects.exists()


def test_prices_start_at_the_given_time(browser: Client, models: None) -> None:
    shown = compare(browser)

    browser.post(PAGE, confirmed(shown, *ids(shown).values(), valid_from="2026-12-01 09:00"))

    assert set(ModelPrice.objects.values_list("valid_from", flat=True)) == {datetime(2026, 12, 1, 9, tzinfo=UTC)}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text[:-1], id="cut"),
        pytest.param(lambda text: "", id="empty"),
        pytest.param(lambda text: "x" + text, id="extended"),
    ],
)
def test_a_review_that_was_changed_is_rejected(browser: Client, models: None, change: Callable[[str], str]) -> None:
    shown = compare(browser)
    form = confirmed(shown, "1")

    answer = browser.post(PAGE, form | {"review": change(form["review"])})

    assert LOST in answer.text and not ModelPrice.objects.exists()


def test_a_review_of_another_user_is_rejected(browser: Client, models: None, client: Client) -> None:
    form = confirmed(compare(browser), "1")
    client.force_login(User.objects.create_superuser("other"))

    assert LOST in client.post(PAGE, form).text
    assert not ModelPrice.objects.exists()


def test_a_form_without_a_csrf_token_is_rejected(admin: User, models: None) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin)

    assert strict.post(PAGE, {"source": "catalog"}).status_code == 403


@pytest.mark.parametrize("permissions", [(), ("view_modelprice",)], ids=str)
def test_only_users_who_may_add_prices_see_the_page(
    browser_of: Callable[..., Client], permissions: tuple[str, ...]
) -> None:
    client = browser_of(*permissions)

    assert [client.get(PAGE).status_code, client.post(PAGE, {"source": "catalog"}).status_code] == [403, 403]


def test_the_page_is_linked_from_the_list_of_prices(browser: Client) -> None:
    assert f'href="{PAGE}"' in browser.get("/admin/keys/modelprice/").text


def test_a_catalog_that_cannot_be_read_is_reported(browser: Client, settings: Settings, tmp_path: Path) -> None:
    settings.MANAGE_PY = tmp_path / "missing.py"

    answer = compare(browser)

    assert answer.status_code == 200
    assert "The update could not be prepared." in answer.text


# ---- Bad files. tests/keys/pricing/catalog/test_price_csv.py has them all.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(HEAD + "a,-1,2\n", "Line 2, input: A price cannot be negative.", id="negative"),
        pytest.param(b"x" * (MAX_BYTES + 1), "larger than 1,024 KiB", id="too many bytes"),
    ],
)
def test_a_bad_file_is_reported_and_nothing_is_applied(browser: Client, content: str | bytes, message: str) -> None:
    answer = upload(browser, content)

    assert answer.status_code == 200
    assert message in answer.text
    assert not ModelPrice.objects.exists()


def test_a_file_with_a_bom_and_semicolons_is_read(browser: Client) -> None:
    shown = upload(browser, "\ufeffmodel;input;output;modifiers\r\nm;1.50;2;speed fast 2 2\r\n")

    browser.post(PAGE, confirmed(shown, "1"))

    price = ModelPrice.objects.get()
    assert (price.input_price, price.source) == (1_500_000, "CSV file")
    assert PriceModifier.objects.get().value == "fast"


def test_a_modifier_that_no_price_can_have_is_reported_with_its_model(browser: Client) -> None:
    shown = upload(browser, "model,input,output,modifiers\nm,1,2,warp fast 2 2\n")

    answer = browser.post(PAGE, confirmed(shown, "1"))

    assert "m, dimension" in answer.text and not ModelPrice.objects.exists()


def test_the_columns_are_documented_on_the_page_and_in_the_docs(browser: Client) -> None:
    page = browser.get(PAGE).text
    docs = (Path(__file__).parents[2] / "docs" / "price_updates.md").read_text()

    for name in COLUMNS:
        assert f"<code>{name}</code>" in page and f"| `{name}` |" in docs
