"""Bills in the admin: import, reconciliation, keys, sign-off, and nothing of a file that becomes HTML."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from keys.forms.bills import TOO_LARGE
from keys.models import APIKey, Bill, BillLine, SignedOffMonth, UpstreamKeys
from lib.admin import upload_limit
from tests.keys.bills import samples
from tests.keys.bills.records import PLAIN, SAMPLE, UPSTREAM, price, record, usage_of

IMPORT = "/admin/keys/bill/add/"
HOSTILE = '"><script>alert(1)</script>{{ 7|add:7 }}'


@pytest.fixture(autouse=True)
def api_key(admin: User) -> APIKey:
    price()
    return APIKey.objects.issue(name="app", owner=admin)[0]


def uploaded(browser: Client, content: bytes, name: str = "bill.json", **fields: str) -> Any:
    file = SimpleUploadedFile(name, content)
    return browser.post(IMPORT, {"file": file, "upstream": UPSTREAM, "columns": ""} | fields, follow=True)


def page_of(bill: Bill, name: str = "change") -> str:
    return reverse(f"admin:keys_bill_{name}", args=[bill.pk])


def cards(response: Any) -> dict[str, str]:
    found = re.findall(r'<div class="card[^"]*"><dt>(.*?)</dt>\s*<dd>(.*?)</dd>', response.text, re.DOTALL)
    return dict(found)


def test_a_bill_is_imported_and_its_causes_link_to_records_and_lines(browser: Client, api_key: APIKey) -> None:
    for _ in range(2):
        record(api_key, **PLAIN)
    fast = record(api_key, **SAMPLE)

    content = samples.page((samples.DAY, samples.NEXT_DAY, [usage_of(PLAIN, PLAIN), usage_of(SAMPLE, speed="fast")]))
    response = uploaded(browser, content)

    bill = Bill.objects.get()
    assert response.redirect_chain == [(page_of(bill), 302)]
    assert cards(response) == {"Recorded": "$0.26294", "Billed": "$0.46788", "Unexplained": "$0.00"}
    assert re.findall(r'data-cause="(\w+)"', response.text) == ["speed"]
    assert reverse("admin:keys_usagerecord_change", args=[fast.pk.replace("_", "_5F")]) in response.text
    [link] = re.findall(r'href="(/admin/keys/bill/\d+/lines/\?position=[^"]+)"', response.text)
    lines = browser.get(link)
    assert lines.text.count("line 3: data[0].results[1]") == 7  # six kinds, and the heading
    assert "12,345" in lines.text and "13,000" not in lines.text


def test_the_same_file_is_not_imported_again_and_a_newer_one_supersedes_it(browser: Client) -> None:
    uploaded(browser, samples.ANTHROPIC_USAGE)

    assert "Nothing was imported." in uploaded(browser, samples.ANTHROPIC_USAGE).text

    newer = uploaded(browser, samples.page((samples.DAY, samples.NEXT_DAY, [samples.usage_result(output_tokens=1)])))
    assert "It supersedes anthropic 2026-11-20 to 2026-11-20: bill.json." in newer.text
    older = Bill.objects.get(state=Bill.State.SUPERSEDED)
    assert "A newer export of these days" in browser.get(page_of(older)).text
    assert "Superseded" in browser.get("/admin/keys/bill/").text


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (samples.ANTHROPIC_COST.replace(b"USD", b"EUR"), "a.json", "results[0].currency: “EUR” is not USD"),
        (samples.ANTHROPIC_COST[:-30], "a.json", "the file is cut"),
        (b"a,b\n1,2\n", "a.csv", "the columns a, b are of no known export"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_and_nothing_is_stored(
    content: bytes, name: str, message: str, browser: Client
) -> None:
    assert message in uploaded(browser, content, name).text
    assert not Bill.objects.exists()


def test_a_file_that_is_too_large_is_not_stored(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_limit, "MAX_UPLOAD_BYTES", 1_000)

    assert TOO_LARGE in uploaded(browser, samples.ANTHROPIC_COST).text
    assert not Bill.objects.exists()


def test_columns_of_any_csv_can_be_named(browser: Client, api_key: APIKey) -> None:
    record(api_key, **PLAIN)
    content = f"Tag;Modell;Betrag\n2026-11-20;{samples.MODEL};0.014\n".encode()

    response = uploaded(browser, content, "a.csv", columns="day=Tag, model=Modell, amount=Betrag")

    assert cards(response) == {"Recorded": "$0.014", "Billed": "$0.014", "Unexplained": "$0.00"}
    assert "is not field=column" in uploaded(browser, content, "a.csv", columns="Tag").text


def test_the_keys_of_the_gateway_are_chosen_on_the_page(browser: Client, api_key: APIKey) -> None:
    record(api_key, **PLAIN)
    results = [usage_of(PLAIN), usage_of(SAMPLE, api_key_id="apikey_OTHER"), usage_of(SAMPLE, api_key_id=None)]
    response = uploaded(browser, samples.page((samples.DAY, samples.NEXT_DAY, results)))
    assert "apikey_EXAMPLE is assumed to be the gateway" in response.text
    bill = Bill.objects.get()

    response = browser.post(page_of(bill, "keys"), {"keys": ["apikey_OTHER"]}, follow=True)

    assert UpstreamKeys.objects.get().provider_keys == ["apikey_OTHER"]
    assert "assumed" not in response.text
    assert "key apikey_EXAMPLE: 1,000 input, 500 output" in response.text
    invented = browser.post(page_of(bill, "keys"), {"keys": ["apikey_INVENTED"]}, follow=True)
    assert "Choose keys that are on the bill." in invented.text


def test_a_signed_off_month_is_kept_and_compared_later(browser: Client, api_key: APIKey) -> None:
    kept = record(api_key, **PLAIN)
    uploaded(browser, samples.page((samples.DAY, samples.NEXT_DAY, [usage_of(PLAIN)])))
    bill = Bill.objects.get()

    response = browser.post(page_of(bill, "sign_off"), {"month": "2026-11-01"}, follow=True)

    assert "November 2026 signed off." in response.text and "Unchanged since." in response.text
    figures = SignedOffMonth.objects.get().figures
    assert (figures["recorded"], figures["billed"], figures["unexplained"]) == (14 * 10**9, 14 * 10**9, 0)
    kept.input_cost_usd_picos = 5 * 10**9
    kept.save()
    response = browser.post(page_of(bill, "reconcile"), follow=True)
    assert "Recorded $0.014 → $0.015" in " ".join(response.text.split())
    assert SignedOffMonth.objects.get().figures == figures
    assert "Choose a month" in browser.post(page_of(bill, "sign_off"), {"month": "2026-10-01"}, follow=True).text


def test_nothing_of_a_file_becomes_html(browser: Client, api_key: APIKey) -> None:
    record(api_key, **PLAIN, upstream_model=HOSTILE)
    results = [
        usage_of(SAMPLE, model=HOSTILE, api_key_id=HOSTILE, workspace_id=HOSTILE, speed="<b>fast"),
        usage_of(SAMPLE, model="a\0b", api_key_id="\u202e\x1b[31m"),
    ]
    response = uploaded(browser, samples.page((samples.DAY, samples.NEXT_DAY, results)), name=f"{HOSTILE}.json")
    bill = Bill.objects.get()

    for page in (response, browser.get(page_of(bill, "lines")), browser.get("/admin/keys/bill/"), browser.get(IMPORT)):
        assert page.status_code == 200
        assert "<script>alert" not in page.text and "<b>fast" not in page.text
        assert "14" not in re.findall(r"script&gt;(.{0,4})", page.text)
        assert not {"\0", "\x1b", "\u202e"} & set(page.text)


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [
        ([], set()),
        (["view_bill"], {"change", "lines"}),
        (["view_bill", "add_bill"], {"change", "lines", "add", "reconcile", "keys"}),
        (["view_bill", "sign_off_bill"], {"change", "lines", "sign_off"}),
    ],
)
def test_each_page_needs_its_permission(
    permissions: list[str], allowed: set[str], browser: Client, browser_of: Callable[..., Client]
) -> None:
    uploaded(browser, samples.ANTHROPIC_USAGE)
    bill = Bill.objects.get()
    clerk = browser_of(*permissions)
    statuses = {name: clerk.get(page_of(bill, name)).status_code for name in ("change", "lines")}
    statuses |= {name: clerk.post(page_of(bill, name)).status_code for name in ("reconcile", "keys", "sign_off")}
    statuses["add"] = clerk.get(IMPORT).status_code

    assert {name for name, status in statuses.items() if status != 403} == allowed


def test_imports_keys_and_signed_off_months_are_audited(browser: Client, api_key: APIKey) -> None:
    uploaded(browser, samples.ANTHROPIC_USAGE)
    bill = Bill.objects.get()
    browser.post(page_of(bill, "keys"), {"keys": ["apikey_EXAMPLE"]})
    browser.post(page_of(bill, "sign_off"), {"month": "2026-11-01"})

    entries = {entry.content_type.model: entry for entry in LogEntry.objects.order_by("pk")}

    assert {"bill", "upstreamkeys", "signedoffmonth"} <= entries.keys()
    assert json.loads(json.dumps(entries["bill"].changes))["state"] == ["importing", "imported"]
    assert entries["bill"].additional_data == {"actor": "root"}


def test_a_bill_of_the_wrong_upstream_is_deleted_with_an_audit_entry(browser: Client) -> None:
    uploaded(browser, samples.ANTHROPIC_USAGE)
    newer = uploaded(browser, samples.page((samples.DAY, samples.NEXT_DAY, [samples.usage_result(output_tokens=1)])))
    assert "No request was sent to an upstream named “anthropic”." in newer.text
    older, bill = Bill.objects.order_by("pk")
    delete = page_of(bill, "delete")
    assert f'href="{delete}"' in newer.text

    confirmation = browser.get(delete)
    response = browser.post(delete, {"post": "yes"}, follow=True)

    assert "lines: 6" in re.sub(r"\s+", " ", confirmation.text).lower()
    assert response.status_code == 200
    assert list(Bill.objects.values_list("pk", "state", "superseded_by")) == [(older.pk, Bill.State.IMPORTED, None)]
    assert not BillLine.objects.filter(bill_id=bill.pk).exists()
    entries = LogEntry.objects.filter(object_pk=str(bill.pk), action=LogEntry.Action.DELETE)
    assert [entry.changes["upstream"] for entry in entries] == [[UPSTREAM, "None"]]
    assert "1 line imported" not in uploaded(browser, samples.ANTHROPIC_COST, upstream="other").text


def test_a_signed_off_bill_is_not_deleted(browser: Client) -> None:
    uploaded(browser, samples.ANTHROPIC_USAGE)
    bill = Bill.objects.get()
    browser.post(page_of(bill, "sign_off"), {"month": "2026-11-01"})

    confirmation = browser.get(page_of(bill, "delete"))
    browser.post(page_of(bill, "delete"), {"post": "yes"})

    assert "signed off by" in confirmation.text
    assert Bill.objects.get().state == Bill.State.IMPORTED
