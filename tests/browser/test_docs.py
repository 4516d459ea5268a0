"""The API documentation page in the browser: it shows every operation and can send requests."""

import json

from django.contrib.auth.models import User
from playwright.sync_api import expect

from keys.models import APIKey
from messages_api.openapi.description import document
from messages_api.openapi.operations import OPERATIONS
from tests.browser.conftest import Visitor

DOCS = "/api/docs/"


def test_every_operation_is_shown_and_nothing_leaves_the_gateway(visitor: Visitor) -> None:
    requested: list[str] = []
    origin = visitor.page.url.split("/admin/")[0]
    visitor.page.on("request", lambda request: requested.append(request.url))

    page = visitor.open(DOCS)

    expect(page.locator(".opblock")).to_have_count(len(OPERATIONS), timeout=15_000)
    shown = page.locator(".opblock-summary-path").all_inner_texts()
    assert {path.replace("\u200b", "") for path in shown} == {path for path, _ in OPERATIONS}
    assert [url for url in requested if not url.startswith((origin, "data:"))] == []
    assert visitor.console_errors == []


def test_an_operation_shows_its_fields_and_its_stream(visitor: Visitor) -> None:
    page = visitor.open(DOCS)
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
    page = visitor.open(DOCS)

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
