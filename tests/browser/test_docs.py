"""The API reference in the browser, and its console, which shows every operation and can send requests."""

import json

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from keys.models import APIKey
from messages_api.openapi.description import document
from messages_api.openapi.errors import ERRORS
from messages_api.openapi.operations import OPERATIONS
from tests.browser.conftest import Visitor

DOCS = "/api/docs/"
CONSOLE = "/api/docs/console/"


def test_the_reference_has_every_operation_error_and_schema(visitor: Visitor) -> None:
    page = visitor.open(DOCS)

    endpoints = page.locator(".endpoint > summary").all_inner_texts()
    assert {(text.split()[1], text.split()[0]) for text in endpoints} == set(OPERATIONS)
    statuses = page.get_by_role("region", name="Statuses and types of errors").locator("tbody th").all_inner_texts()
    assert [int(status) for status in statuses] == list(ERRORS)
    for heading in ("Quickstart", "Endpoints", "Request", "Errors", "Limits", "Schemas"):
        expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    assert page.locator(".schema").count() > 50 and page.locator(".schema[open]").count() == 0
    assert page.locator(".reference").inner_text().count("`") == 0


@pytest.mark.parametrize("label", ["curl", "Python SDK", "JavaScript or TypeScript SDK", "Claude Code"])
def test_the_quickstart_has_code_for_each_client(label: str, visitor: Visitor) -> None:
    page = visitor.open(DOCS)
    origin = visitor.page.url.split("/api/")[0]

    page.locator(".snippet summary").get_by_text(label, exact=True).click()

    expect(page.locator(".snippet[open] pre")).to_contain_text(f"{origin}/api/")
    page.locator(".snippet[open] [data-copy]").click()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator(".snippet[open] pre").text_content()


def test_a_link_to_a_schema_leads_to_it(visitor: Visitor) -> None:
    page = visitor.open(DOCS)

    page.locator("#create_message > summary").click()
    page.locator("#create_message").get_by_role("link", name="EnvelopeRequest").click()

    expect(page.locator("#schema-EnvelopeRequest")).to_be_in_viewport()


def test_every_operation_is_shown_and_nothing_leaves_the_gateway(visitor: Visitor) -> None:
    requested: list[str] = []
    origin = visitor.page.url.split("/admin/")[0]
    visitor.page.on("request", lambda request: requested.append(request.url))

    page = visitor.open(CONSOLE)

    expect(page.locator(".opblock")).to_have_count(len(OPERATIONS), timeout=15_000)
    shown = page.locator(".opblock-summary-path").all_inner_texts()
    assert {path.replace("\u200b", "") for path in shown} == {path for path, _ in OPERATIONS}
    assert [url for url in requested if not url.startswith((origin, "data:"))] == []
    assert visitor.console_errors == []


def test_an_operation_shows_its_fields_and_its_stream(visitor: Visitor) -> None:
    page = visitor.open(CONSOLE)
    described = json.loads(document())["paths"]["/api/v1/messages"]["post"]

    page.locator("#operations-Envelope_API-create_message .opblock-summary-control").click()

    operation = page.locator("#operations-Envelope_API-create_message")
    expect(operation.locator(".responses-table").first).to_contain_text("StreamError")
    expect(operation.locator(".responses-table tr.response")).to_have_count(len(described["responses"]))
    operation.locator("tr.response[data-code='200'] select").select_option("text/event-stream")
    expect(operation.locator("tr.response[data-code='200'] .example")).to_contain_text("data: [DONE]")
    assert visitor.console_errors == []


def test_a_request_can_be_sent_with_a_key(visitor: Visitor, root: User) -> None:
    raw = APIKey.objects.issue(name="Support bot", owner=root)[1]
    page = visitor.open(CONSOLE)

    page.locator(".auth-wrapper .btn.authorize").first.click()
    page.locator(".auth-container input").first.fill(raw)
    page.locator(".auth-container .btn.authorize").first.click()
    page.locator(".btn-done").first.click()
    page.locator("#operations-Anthropic_API-list_models .opblock-summary-control").click()
    page.locator("#operations-Anthropic_API-list_models .try-out__btn").click()
    page.locator("#operations-Anthropic_API-list_models .btn.execute").click()

    response = page.locator("#operations-Anthropic_API-list_models .live-responses-table")
    expect(response).to_contain_text('"has_more": false')
    assert visitor.console_errors == []
