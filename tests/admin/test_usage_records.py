"""The list of calls: read-only, paged by where it stands, never counted."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from keys.models import APIKey, UsageRecord
from tests.admin.calls import Caller

LIST = "/admin/keys/usagerecord/"
HOSTILE = '"><script>alert(1)</script>'


def page_of(record: UsageRecord) -> str:
    return reverse("admin:keys_usagerecord_change", args=[record.pk])


def shown(answer: Any) -> list[str]:
    return [record.pk for record in answer.context["cl"].result_list]


def test_the_list_counts_nothing_and_takes_the_same_queries_for_any_number(browser: Client, caller: Caller) -> None:
    queries = []
    for number in (1, 60):
        while UsageRecord.objects.count() < number:
            caller.calls()
        with CaptureQueriesContext(connection) as captured:
            answer = browser.get(LIST)
        queries.append([query["sql"] for query in captured])
        assert len(shown(answer)) == min(number, 50)

    # session, user, one page of calls with their keys and secrets
    assert [len(found) for found in queries] == [3, 3]
    assert not any("COUNT(" in sql.upper() for found in queries for sql in found)


def test_older_and_newer_pages_hold_every_call_once(browser: Client, caller: Caller) -> None:
    now = timezone.now()
    # Twelve share each moment, so the edge of a page falls between rows of one moment.
    made = [caller.calls(created_at=now - timedelta(minutes=i // 12)).pk for i in range(120)]

    pages, answer = [], browser.get(LIST)
    assert answer.context["cl"].newer_link is None
    while True:
        pages.append(shown(answer))
        if not answer.context["cl"].older_link:
            break
        answer = browser.get(LIST + answer.context["cl"].older_link)
    back = browser.get(LIST + answer.context["cl"].newer_link)

    assert [len(page) for page in pages] == [50, 50, 20]
    assert sorted(id for page in pages for id in page) == sorted(made)
    assert shown(back) == pages[1]
    assert shown(browser.get(LIST + back.context["cl"].newer_link)) == pages[0]


def test_new_calls_do_not_move_what_one_reads(browser: Client, caller: Caller) -> None:
    for _ in range(60):
        caller.calls()
    older = LIST + browser.get(LIST).context["cl"].older_link
    before = shown(browser.get(older))

    for _ in range(5):
        caller.calls()

    assert shown(browser.get(older)) == before


@pytest.mark.parametrize("edge", ["x", "1", "1.2.3", f"{10**30}.req_1", "-5.req", "%00", "1.%00", "1.<script>"])
def test_a_page_of_nonsense_is_no_error(edge: str, browser: Client, caller: Caller) -> None:
    caller.calls()

    for direction in ("before", "after"):
        assert browser.get(f"{LIST}?{direction}={edge}", follow=True).status_code == 200


def test_filters(browser: Client, caller: Caller) -> None:
    other_key = APIKey.objects.issue(name="other", owner=caller.api_key.owner)[0]
    now = timezone.now()
    records = {
        "plain": caller.calls(),
        "streamed": caller.calls(streamed=True),
        "failed": caller.calls(status="failed"),
        "opus": caller.calls(model="claude-3-opus"),
        "of another": caller.calls(as_key=other_key),
        "two hours ago": caller.calls(created_at=now - timedelta(hours=2)),
        "two days ago": caller.calls(created_at=now - timedelta(days=2)),
        "two months ago": caller.calls(created_at=now - timedelta(days=60)),
    }
    names = {record.pk: name for name, record in records.items()}

    def found(**query: str) -> set[str]:
        return {names[id] for id in shown(browser.get(LIST, query))}

    lately = {"plain", "streamed", "failed", "opus", "of another", "two hours ago"}
    assert found() == lately
    assert found(time="hour") == lately - {"two hours ago"}
    assert found(time="week") == lately | {"two days ago"}
    assert found(time="all") == set(records)
    assert found(time="nonsense") == lately
    assert found(streamed__exact="1") == {"streamed"}
    assert found(status__exact="failed") == {"failed"}
    assert found(model="claude-3-opus") == {"opus"}
    assert found(model="claude-3-*") == {"opus"}
    assert found(api_key__public_id=other_key.public_id) == {"of another"}
    assert found(api_key__public_id="key_nobody") == set()
    assert found(model="no\0body", api_key__public_id="\0") == set()
    assert found(api_key__public_id=caller.api_key.public_id, time="all", model="claude-3") == set(records) - {
        "opus",
        "of another",
    }


def test_a_filter_keeps_the_others(browser: Client, caller: Caller) -> None:
    page = browser.get(LIST, {"time": "all", "model": "claude-3"})

    assert '<input type="hidden" name="time" value="all">' in page.text
    assert "?model=claude-3&amp;time=hour" in page.text


def test_a_request_id_is_found_at_any_time_and_other_ids_within_it(browser: Client, caller: Caller) -> None:
    long_ago = caller.calls(
        created_at=timezone.now() - timedelta(days=60),
        message_id="msg_1",
        upstream_request_id="req_theirs",
        caller_request_id="mine",
    )
    caller.calls()

    assert shown(browser.get(LIST, {"q": long_ago.pk})) == [long_ago.pk]
    for id in ("msg_1", "req_theirs", "mine"):
        assert shown(browser.get(LIST, {"q": id})) == []
        assert shown(browser.get(LIST, {"q": id, "time": "all"})) == [long_ago.pk]
    assert shown(browser.get(LIST, {"q": "req_nobody"})) == []


def test_nobody_writes_usage_here(browser: Client, caller: Caller) -> None:
    record = caller.calls()
    before = UsageRecord.objects.values().get()

    assert browser.get(f"{LIST}add/").status_code == 403
    assert browser.post(f"{LIST}add/", {"id": "x"}).status_code == 403
    assert browser.post(page_of(record), {"input_tokens": "1"}).status_code == 403
    assert browser.post(page_of(record).replace("change", "delete"), {"post": "yes"}).status_code == 403
    browser.post(LIST, {"action": "delete_selected", "_selected_action": [record.pk], "post": "yes"})
    assert UsageRecord.objects.values().get() == before


def test_the_page_of_a_call_says_all_and_has_nothing_to_send(browser: Client, caller: Caller) -> None:
    record = caller.calls(upstream_request_id="req_theirs", caller_address="10.0.0.7", thinking_tokens=4)

    page = browser.get(page_of(record)).text

    for part in (
        record.pk,
        "Completed",
        "req_theirs",
        "10.0.0.7",
        "upstream: local",
        "Prompts and answers are not stored",
    ):
        assert part in page
    assert 'type="submit"' not in page.split('id="content"')[1]


def test_reading_takes_a_permission(browser_of: Callable[..., Client], caller: Caller) -> None:
    clerk = browser_of("view_apikey")

    assert clerk.get(LIST).status_code == 403
    assert clerk.get(page_of(caller.calls())).status_code == 403


def test_hostile_texts_are_inert(browser: Client, caller: Caller) -> None:
    fields = ("model", "user_agent", "caller_request_id", "error_type", "upstream", "upstream_model", "message_id")
    hostile: dict[str, Any] = dict.fromkeys(fields, HOSTILE)
    record = caller.calls(attempts=[{HOSTILE: HOSTILE}], **hostile)

    for address in (LIST, page_of(record), f"{LIST}?model={HOSTILE}", f"{LIST}?q={HOSTILE}"):
        assert "<script>alert" not in browser.get(address).text
