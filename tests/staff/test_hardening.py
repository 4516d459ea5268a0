"""Security headers, error pages, templates, and URLs with arbitrary values."""

import itertools
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib import admin as django_admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.exceptions import SuspiciousOperation
from django.db import models, transaction
from django.test import Client, RequestFactory, override_settings
from django.urls import reverse

from keys.models import Team
from tests.support import ROOT
from tests.support.admin_urls import address_of
from tests.support.role_matrix import PAGES, TABLES

OWN = sorted(
    path
    for package in ("audit", "keys", "lib", "messages_api", "project", "staff")
    for path in (ROOT / package).rglob("templates/**/*.*")
)


# ---- Headers.


def check_headers(answer: Any) -> None:
    policy = answer["Content-Security-Policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "data:" not in policy and "*" not in policy and "http:" not in policy
    for name, value in django_settings.PAGE_HEADERS.items():
        assert answer[name] == value or (name, answer[name]) == ("Referrer-Policy", "no-referrer"), name
    assert "camera=()" in answer["Permissions-Policy"]
    assert not answer.has_header("Server") and not answer.has_header("X-Powered-By")


@pytest.mark.parametrize("mode", ["off", "optional"])
def test_every_page_has_the_security_headers_and_no_inline_script_or_style(
    mode: str, browser: Client, objects: dict[str, Any], settings: Any
) -> None:
    settings.ADMIN_TWO_FACTOR = mode
    for name in PAGES:
        answer = browser.get(address_of(name, objects))
        check_headers(answer)
        if not answer.streaming and answer.get("Content-Type", "").startswith("text/html"):
            assert inline(answer.text) == [], name
        if answer.status_code == 200 and name != "jsi18n":
            assert "private" in answer["Cache-Control"], name


def inline(html: str) -> list[str]:
    """Return the inline scripts, styles and handlers of a page, without the escaped data of `json_script`."""
    scripts = [tag for tag in re.findall(r"<script[^>]*>", html) if "src=" not in tag and "application/json" not in tag]
    attributes = [
        attribute
        for tag in re.findall(r"<[a-z][^>]*>", html)
        for attribute in re.findall(r"\s(on[a-z]+|style)\s*=", tag)
    ]
    return [*scripts, *re.findall(r"<style[^>]*>", html), *attributes, *re.findall(r"(?:href|src)=.javascript:", html)]


def test_pages_before_the_login_have_the_security_headers(client: Client, db: None) -> None:
    for address in ("/admin/login/", "/", "/admin/", "/livez", "/readyz", "/nothing", "/admin/nothing/"):
        check_headers(client.get(address))


# ---- Error pages.


@pytest.mark.parametrize(
    "status, address",
    [
        (400, "/admin/auth/user/?password__startswith=x"),
        (403, "/admin/keys/apikey/1/nothing/delete/"),
        (404, "/nothing"),
    ],
)
def test_error_pages_are_those_of_the_gateway(status: int, address: str, browser: Client) -> None:
    answer = browser.get(address)

    assert answer.status_code in (status, 302)
    if answer.status_code == status:
        check_error_page(answer)


def check_error_page(answer: Any) -> None:
    check_headers(answer)
    assert inline(answer.text) == []
    assert "gateway/theme" in answer.text and "Back to the overview" in answer.text
    assert "Traceback" not in answer.text and "Django" not in answer.text


def test_a_403_is_a_page_of_the_gateway(browser_of: Any) -> None:
    answer = browser_of().get("/admin/auth/user/")

    assert answer.status_code == 403
    check_error_page(answer)


def test_a_form_without_a_csrf_token_gets_a_page_of_the_gateway(admin: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)
    answer = client.post("/admin/auth/group/add/", {"name": "forged"})

    assert answer.status_code == 403 and "Nothing was changed" in answer.text
    check_error_page(answer)


def test_a_500_is_a_page_of_the_gateway_without_the_database(
    client: Client, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.ROOT_URLCONF = "tests.support.broken_urls"
    answer = client.get("/broken/")

    assert answer.status_code == 500
    check_error_page(answer)


@pytest.mark.parametrize("https", [True, False])
def test_an_unknown_host_gets_a_page_of_the_gateway(https: bool) -> None:
    with override_settings(SECURE_SSL_REDIRECT=https):
        answer = Client(raise_request_exception=False).get("/admin/", HTTP_HOST="elsewhere.test")

    assert answer.status_code == 400
    check_error_page(answer)


# ---- Templates.


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_template_has_inline_script_style_or_unescaped_text(path: Path) -> None:
    text = path.read_text()
    if path.suffix == ".html":
        assert inline(re.sub(r"{%.*?%}|{{.*?}}", "", text)) == []
    assert not re.search(r"\|\s*safe\b|safeseq|autoescape off", text)


def test_no_code_marks_text_as_safe() -> None:
    for package in ("audit", "keys", "lib", "messages_api", "project", "staff"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text()
            assert "mark_safe" not in text and "SafeString(" not in text, path
            assert not re.search(r"format_html\(\s*(?:f['\"]|[^'\"]*%|[a-z_]+\s*\+)", text), path


# ---- Values in the URL.

VALUES = ["99999999999", "0", "9" * 40, "\0", "é", "2026-13-45", "1,"]
LOOKUPS = ["", "__year", "__month", "__gte", "__in", "__isnull", "__date", "__contains", "__range", "__hour", "__none"]
NO_FIELDS = ["pk", "none", "q", "p", "o", "all", "_facets", "_to_field", "_popup", "before", "after", "time", "state"]


def lists() -> list[str]:
    return [f"{table}_changelist" for table in TABLES]


@pytest.mark.parametrize("name", lists())
def test_no_filter_in_the_url_fails_a_list(name: str, admin: Any, objects: dict[str, Any]) -> None:
    model, model_admin = next(
        (model, model_admin)
        for model, model_admin in django_admin.site._registry.items()
        if name == f"{model._meta.app_label}_{model._meta.model_name}_changelist"
    )
    kinds = {
        field.get_internal_type(): field.name for field in model._meta.get_fields() if isinstance(field, models.Field)
    }
    asked = [f"{field}{lookup}" for field in kinds.values() for lookup in LOOKUPS] + NO_FIELDS
    for query, value in itertools.product(asked, VALUES):
        request = RequestFactory().get("/", {query: value})
        request.user = admin
        request._messages = CookieStorage(request)  # type: ignore[attr-defined]
        with suppress(IncorrectLookupParameters, SuspiciousOperation), transaction.atomic():
            list(model_admin.get_changelist_instance(request).result_list)


@pytest.mark.parametrize("name", lists())
def test_an_invalid_lookup_redirects_to_the_unfiltered_list(name: str, browser: Client) -> None:
    fields = {
        "keys_apikey_changelist": "created_at",
        "keys_usagerecord_changelist": "settled_at",
        "messages_api_upstream_changelist": "created_at",
        "messages_api_route_changelist": "created_at",
        "auth_user_changelist": "date_joined",
        "staff_auditentry_changelist": "timestamp",
        "staff_login_changelist": "attempt_time",
        "staff_failedlogin_changelist": "attempt_time",
    }
    address = reverse(f"admin:{name}")

    answer = browser.get(f"{address}?{fields.get(name, 'id')}__year=99999999999", follow=True)

    assert answer.status_code == 200
    assert answer.redirect_chain == [(f"{address}?e=1", 302)] or name == "auth_group_changelist"


@pytest.mark.parametrize("lookup", ["name__regex=(a%2B)%2B$", "name__iregex=("])
def test_a_regular_expression_in_a_filter_is_rejected(lookup: str, browser: Client) -> None:
    assert browser.get(f"/admin/keys/apikey/?{lookup}").status_code == 400


IDS = ["0", "-1", "9" * 30, "a", "%00", "..%2f..", "_00", "é", "%22%3E%3Cscript%3E", "1_2F2"]


@pytest.mark.parametrize("page", [f"{table}_change" for table in TABLES])
def test_no_id_in_the_url_fails_a_page(page: str, browser: Client) -> None:
    table = reverse(f"admin:{page}list")
    for id, last in itertools.product(IDS, ("change/", "delete/", "history/", "")):
        answer = browser.get(f"{table}{id}/{last}")
        assert answer.status_code in (301, 302, 403, 404), (id, last, answer.status_code)
        assert "<script>" not in answer.text
    told = browser.get("/admin/")  # the target of the redirects, with a message for each ID
    assert told.status_code == 200 and "<script>" not in told.text


def test_a_search_for_wildcards_is_fast(browser: Client, recorder: Any) -> None:
    for _ in range(200):
        recorder.record()
    for address in ("keys/apikey/?q", "keys/usagerecord/?q", "staff/auditentry/?object", "staff/auditentry/?actor"):
        started = time.monotonic()
        assert browser.get(f"/admin/{address}={'%25' * 100}").status_code == 200
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("moment", [("9999-12-31", "23:59"), ("0001-01-01", "00:00")])
def test_no_date_at_the_end_of_the_calendar_fails_a_form(
    zone: str, moment: tuple[str, str], browser: Client, settings: Any
) -> None:
    settings.TIME_ZONE = zone
    team = Team.objects.create(name="crew")
    day, hour = moment
    budget = {"amount": "5", "unit": "usd", "period": "day", "alert_threshold_percent": "80", "temporary_increase": "1"}
    budget |= {"temporary_increase_until_0": day, "temporary_increase_until_1": hour}
    rows = {f"budgets-0-{name}": value for name, value in budget.items()}
    rows |= {"budgets-TOTAL_FORMS": "1", "budgets-INITIAL_FORMS": "0"}

    of_team = browser.post(f"/admin/keys/team/{team.pk}/change/", {"name": "crew"} | rows)
    price = {"model_pattern": "m", "input_price": "1", "output_price": "1", "valid_from_0": day, "valid_from_1": hour}
    of_price = browser.post("/admin/keys/modelprice/add/", price)

    for answer in (of_team, of_price):
        assert answer.status_code == 200 and "Enter a year from" in answer.text


def test_no_number_of_rows_fails_a_form(browser: Client) -> None:
    rows = {"add_budget": "yes", "budgets-TOTAL_FORMS": "9" * 5_000, "budgets-INITIAL_FORMS": "0"}

    assert browser.post("/admin/keys/apikey/add/", rows).status_code == 200
