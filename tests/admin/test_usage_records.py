"""Usage records in the admin: read-only, with keyset pages and without counts."""

import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from keys.domain.limits import LimitExceeded
from keys.models import APIKey, ModelPrice, UsageRecord
from keys.pricing.breakdown import cost_breakdown
from keys.pricing.price_book import prices
from lib import money
from tests.support.usage_rows import UsageRecorder

LIST = "/admin/keys/usagerecord/"
HOSTILE = '"><script>alert(1)</script>'


def page_of(record: UsageRecord) -> str:
    return reverse("admin:keys_usagerecord_change", args=[record.pk])


def shown(answer: Any) -> list[str]:
    return [record.pk for record in answer.context["cl"].result_list]


def text_of(part: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", part)).split())


def facts_of(answer: Any) -> dict[str, str]:
    """Return the facts on the page of a record, by label."""
    found = re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", answer.text, re.DOTALL)
    return {name: text_of(value) for name, value in found}


def cost_breakdown_of(answer: Any) -> list[list[str]]:
    """Return the rows of the cost breakdown."""
    table = answer.text.partition("Cost breakdown</caption>")[2].partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[1:]
    return [[text_of(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def costs_of(answer: Any) -> list[tuple[str, str]]:
    """Return the cost column: its texts and titles."""
    cells = re.findall(r'<td class="field-cost">(.*?)</td>', answer.text)
    return [(text_of(cell), "".join(re.findall(r'title="([^"]*)"', cell))) for cell in cells]


@pytest.fixture
def price(db: None) -> ModelPrice:
    """Create the price of the model `priced`, and a free price. Other models are unpriced."""
    since = timezone.now() - timedelta(days=100)
    ModelPrice.objects.create(model_pattern="gratis", is_free=True, valid_from=since)
    return ModelPrice.objects.create(
        model_pattern="priced",
        input_price=3_000_000,
        output_price=15_000_000,
        cache_read_price=300_000,
        cache_write_5m_price=3_750_000,
        cache_write_1h_price=6_000_000,
        valid_from=since,
    )


@pytest.fixture(autouse=True)
def _no_prices_of_others() -> None:
    prices.clear()


def test_the_list_counts_nothing_and_takes_the_same_queries_for_any_number(
    browser: Client, recorder: UsageRecorder, price: ModelPrice
) -> None:
    prices.book()
    queries = []
    for number in (1, 60):
        while (count := UsageRecord.objects.count()) < number:
            recorder.record(upstream_model=("priced", "gratis", "other")[count % 3])
        with CaptureQueriesContext(connection) as captured:
            answer = browser.get(LIST)
        queries.append([query["sql"] for query in captured])
        assert len(shown(answer)) == min(number, 50)

    # session, user, one page of records with their keys, secrets and prices
    assert [len(found) for found in queries] == [3, 3]
    assert not any("COUNT(" in sql.upper() for found in queries for sql in found)


def test_older_and_newer_pages_hold_every_record_once(browser: Client, recorder: UsageRecorder) -> None:
    now = timezone.now()
    # Twelve records share each timestamp, so the page boundary falls between rows with the same one.
    made = [recorder.record(created_at=now - timedelta(minutes=i // 12)).pk for i in range(120)]

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


def test_new_records_do_not_shift_a_page(browser: Client, recorder: UsageRecorder) -> None:
    for _ in range(60):
        recorder.record()
    older = LIST + browser.get(LIST).context["cl"].older_link
    before = shown(browser.get(older))

    for _ in range(5):
        recorder.record()

    assert shown(browser.get(older)) == before


@pytest.mark.parametrize("edge", ["x", "1", "1.2.3", f"{10**30}.req_1", "-5.req", "%00", "1.%00", "1.<script>"])
def test_an_invalid_cursor_is_no_error(edge: str, browser: Client, recorder: UsageRecorder) -> None:
    recorder.record()

    for direction in ("before", "after"):
        assert browser.get(f"{LIST}?{direction}={edge}", follow=True).status_code == 200


def test_filters(browser: Client, recorder: UsageRecorder) -> None:
    other_key = APIKey.objects.issue(name="other", owner=recorder.api_key.owner)[0]
    now = timezone.now()
    records = {
        "plain": recorder.record(),
        "streamed": recorder.record(streamed=True),
        "failed": recorder.record(status="failed"),
        "opus": recorder.record(model="claude-3-opus"),
        "of another": recorder.record(as_key=other_key),
        "two hours ago": recorder.record(created_at=now - timedelta(hours=2)),
        "two days ago": recorder.record(created_at=now - timedelta(days=2)),
        "two months ago": recorder.record(created_at=now - timedelta(days=60)),
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
    assert found(api_key__public_id=recorder.api_key.public_id, time="all", model="claude-3") == set(records) - {
        "opus",
        "of another",
    }


def test_a_filter_keeps_the_others(browser: Client, recorder: UsageRecorder) -> None:
    page = browser.get(LIST, {"time": "all", "model": "claude-3"})

    assert '<input type="hidden" name="time" value="all">' in page.text
    assert "?model=claude-3&amp;time=hour" in page.text


def test_a_request_id_is_found_at_any_time_and_other_ids_within_it(browser: Client, recorder: UsageRecorder) -> None:
    long_ago = recorder.record(
        created_at=timezone.now() - timedelta(days=60),
        message_id="msg_1",
        upstream_request_id="req_theirs",
        client_request_id="mine",
    )
    recorder.record()

    assert shown(browser.get(LIST, {"q": long_ago.pk})) == [long_ago.pk]
    for id in ("msg_1", "req_theirs", "mine"):
        assert shown(browser.get(LIST, {"q": id})) == []
        assert shown(browser.get(LIST, {"q": id, "time": "all"})) == [long_ago.pk]
    assert shown(browser.get(LIST, {"q": "req_nobody"})) == []


def test_usage_records_cannot_be_written(browser: Client, recorder: UsageRecorder) -> None:
    record = recorder.record()
    before = UsageRecord.objects.values().get()

    assert browser.get(f"{LIST}add/").status_code == 403
    assert browser.post(f"{LIST}add/", {"id": "x"}).status_code == 403
    assert browser.post(page_of(record), {"input_tokens": "1"}).status_code == 403
    assert browser.post(page_of(record).replace("change", "delete"), {"post": "yes"}).status_code == 403
    browser.post(LIST, {"action": "delete_selected", "_selected_action": [record.pk], "post": "yes"})
    assert UsageRecord.objects.values().get() == before


def test_the_page_of_a_record_shows_all_fields_and_no_form(browser: Client, recorder: UsageRecorder) -> None:
    record = recorder.record(upstream_request_id="req_theirs", client_ip="10.0.0.7", thinking_tokens=4)

    page = browser.get(page_of(record)).text

    for part in (
        record.pk,
        "Completed",
        "req_theirs",
        "10.0.0.7",
        "upstream: local",
        "Prompts and responses are not stored",
    ):
        assert part in page
    assert 'type="submit"' not in page.split('id="content"')[1]


# ---- cost


def test_a_cost_is_the_tokens_of_each_kind_times_their_price(
    browser: Client, recorder: UsageRecorder, price: ModelPrice
) -> None:
    prices.book()
    record = recorder.record(
        upstream_model="priced", input_tokens=1_234, output_tokens=567, cache_read_tokens=8_901, thinking_tokens=500
    )

    page = browser.get(page_of(record))

    assert facts_of(page)["Amount"] == "$0.0148773" == money.exact(record.cost_usd_picos or 0)
    assert cost_breakdown_of(page) == [
        ["Input", "1,234", "$3.00", "$0.003702"],
        ["Output", "567", "$15.00", "$0.008505"],
        ["Cache read", "8,901", "$0.30", "$0.0026703"],
        ["Total", "$0.0148773"],
    ]


def test_cache_writes_have_lines_of_their_own(browser: Client, recorder: UsageRecorder, price: ModelPrice) -> None:
    prices.book()
    record = recorder.record(upstream_model="priced", cache_write_5m_tokens=4, cache_write_1h_tokens=2)

    assert cost_breakdown_of(browser.get(page_of(record))) == [
        ["Input", "9", "$3.00", "$0.000027"],
        ["Output", "12", "$15.00", "$0.00018"],
        ["Cache write, 5 minutes", "4", "$3.75", "$0.000015"],
        ["Cache write, 1 hour", "2", "$6.00", "$0.000012"],
        ["Total", "$0.000234"],
    ]


@pytest.mark.parametrize(("read", "cost"), [(1, 300_000), (5, 1_500_000), (9, 2_700_000)])
def test_the_cost_breakdown_adds_up_to_the_recorded_cost_without_rounding(
    read: int, cost: int, recorder: UsageRecorder, price: ModelPrice
) -> None:
    prices.book()
    record = recorder.record(upstream_model="priced", input_tokens=0, output_tokens=0, cache_read_tokens=read)

    found = cost_breakdown(record)

    assert found is not None and found.adds_up
    assert found.rated == record.cost_usd_picos == cost


def test_a_breakdown_with_a_changed_price_does_not_claim_to_add_up(
    browser: Client, recorder: UsageRecorder, price: ModelPrice
) -> None:
    prices.book()
    record = recorder.record(upstream_model="priced", input_tokens=1_000, output_tokens=0)
    ModelPrice.objects.filter(pk=price.pk).update(input_price=4_000_000)

    page = browser.get(page_of(record))

    assert facts_of(page)["Amount"] == "$0.003"
    assert cost_breakdown_of(page) == [] and "the cost would be $0.004." in " ".join(page.text.split())


def test_a_missing_cost_is_explained(browser: Client, recorder: UsageRecorder, price: ModelPrice) -> None:
    prices.book()
    requests: list[tuple[str, dict[str, Any]]] = [
        ("unpriced", {"upstream_model": "other"}),
        ("free", {"upstream_model": "gratis"}),
        ("\N{EN DASH}", {"status": "rejected"}),
        ("\N{EN DASH}", {"status": "started"}),
        ("$0.00", {"usage_source": "none", "input_tokens": None}),
    ]
    words = [word for word, _ in requests]
    records = [recorder.record(**fields) for _, fields in requests]

    pages = [browser.get(page_of(record)) for record in records]

    assert [facts_of(page)["Amount"] for page in pages] == words
    assert [cost_breakdown_of(page) for page in pages] == [[]] * len(requests)
    assert [cost for cost, _ in costs_of(browser.get(LIST))] == words[::-1]


def test_the_list_has_short_costs_with_the_exact_ones_as_titles(
    browser: Client, recorder: UsageRecorder, price: ModelPrice
) -> None:
    prices.book()
    recorder.record(upstream_model="priced", input_tokens=1_234_567, output_tokens=1)

    assert costs_of(browser.get(LIST)) == [("$3.70", "$3.703716")]


def test_the_price_is_a_link_with_the_permission_to_view_prices(
    browser_of: Callable[..., Client], browser: Client, recorder: UsageRecorder, price: ModelPrice
) -> None:
    prices.book()
    record = recorder.record(upstream_model="priced")
    address = reverse("admin:keys_modelprice_change", args=[price.pk])

    open_to_them = browser.get(page_of(record))
    closed_to_them = browser_of("view_usagerecord").get(page_of(record))

    assert facts_of(open_to_them)["Price"] == facts_of(closed_to_them)["Price"] == str(price)
    assert f'href="{address}"' in open_to_them.text and address not in closed_to_them.text
    assert browser.get(address).status_code == 200


# ---- rejections


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scope": "key", "limit": "requests_per_minute", "value": 60}, "60 requests per minute of this key"),
        (
            {"scope": "team", "limit": "budget", "value": 20_000_000, "period": "month", "unit": "usd"},
            "$20.00 per month of its team",
        ),
        ({"scope": "key", "limit": "allowed_models"}, "Allowed models of this key"),
    ],
)
def test_a_rejected_request_names_the_rule(
    fields: dict[str, Any], words: str, browser: Client, recorder: UsageRecorder
) -> None:
    record = recorder.record(status="rejected", limit_exceeded=LimitExceeded(**fields))

    facts = facts_of(browser.get(page_of(record)))

    assert facts["Rejected by"] == words and "Would be rejected by (shadow)" not in facts


def test_a_late_settlement_is_noted_on_its_record(browser: Client, recorder: UsageRecorder) -> None:
    record = recorder.record(upstream_model="m")
    estimate = {"settled_at": "2026-07-01T12:00:00+00:00", "cost_usd_picos": 15_000_000}
    UsageRecord.objects.update(interruption=estimate)

    facts = facts_of(browser.get(page_of(record)))
    UsageRecord.objects.update(status="interrupted")
    of_interrupted = facts_of(browser.get(page_of(record)))

    assert facts["Interrupted before"] == "2026-07-01 12:00:00 · estimated cost $0.000015"
    assert "Interrupted before" not in of_interrupted


def test_a_limit_in_shadow_mode_is_marked(browser: Client, recorder: UsageRecorder) -> None:
    exceeded = LimitExceeded(scope="key", limit="concurrent_requests", value=5, shadow=True)

    facts = facts_of(browser.get(page_of(recorder.record(limit_exceeded=exceeded))))

    assert facts["Would be rejected by (shadow)"] == "5 concurrent requests of this key" and "Rejected by" not in facts


def test_a_request_that_was_not_rejected_names_no_rule(browser: Client, recorder: UsageRecorder) -> None:
    assert (
        not {"Rejected by", "Would be rejected by (shadow)"} & facts_of(browser.get(page_of(recorder.record()))).keys()
    )


def test_reading_needs_a_permission(browser_of: Callable[..., Client], recorder: UsageRecorder) -> None:
    clerk = browser_of("view_apikey")

    assert clerk.get(LIST).status_code == 403
    assert clerk.get(page_of(recorder.record())).status_code == 403


def test_hostile_texts_are_inert(browser: Client, recorder: UsageRecorder) -> None:
    fields = ("model", "user_agent", "client_request_id", "error_type", "upstream", "upstream_model", "message_id")
    hostile: dict[str, Any] = dict.fromkeys(fields, HOSTILE)
    record = recorder.record(
        attempts=[{HOSTILE: HOSTILE}], limit_exceeded=LimitExceeded(scope="key", limit=HOSTILE), **hostile
    )

    for address in (LIST, page_of(record), f"{LIST}?model={HOSTILE}", f"{LIST}?q={HOSTILE}"):
        assert "<script>alert" not in browser.get(address).text


def test_the_page_says_why_a_request_and_each_attempt_failed(browser: Client, recorder: UsageRecorder) -> None:
    refused = {
        "upstream": "first",
        "model": "m",
        "status": None,
        "ms": 3,
        "error": "api_error",
        "reason": "connection_refused",
    }
    cut = {
        "upstream": "second",
        "model": "m",
        "status": 200,
        "ms": 900,
        "error": "api_error",
        "reason": "response_cut:1204",
        "request_id": "up_1",
        "input_tokens": 9,
        "output_tokens": 1204,
        "usage_source": "estimated",
    }
    record = recorder.record(
        status="failed",
        error_type="api_error",
        error_reason="response_cut:1204",
        upstream_request_id="up_1",
        attempts=[refused, cut],
    )

    facts = facts_of(browser.get(page_of(record)))

    assert (facts["Request ID"], facts["Upstream request ID"]) == (record.pk, "up_1")
    assert facts["Reason"] == "Stream cut after 1,204 tokens"
    assert facts["Attempts"] == (
        "upstream: first · model: m · latency in ms: 3 · error type: api_error · reason: Connection refused "
        "upstream: second · model: m · HTTP status: 200 · latency in ms: 900 · error type: api_error · "
        "reason: Stream cut after 1,204 tokens · upstream request ID: up_1 · "
        "input tokens: 9 · output tokens: 1204 · usage source: Estimated"
    )


@pytest.mark.parametrize("reason", ["", "a code of another version", "http_status:401:7"])
def test_the_page_shows_no_raw_reason(browser: Client, recorder: UsageRecorder, reason: str) -> None:
    record = recorder.record(status="failed", error_reason=reason, attempts=[{"reason": reason}])

    answer = browser.get(page_of(record))

    assert not reason or reason not in answer.text
