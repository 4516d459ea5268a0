"""Overview page: usage, items that need attention and recent errors, each for users who can view it."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.conf import settings as django_settings
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from keys.models import APIKey, HourlyUsage, ModelPrice
from keys.usage import ledger
from keys.usage.backlog import spool_folder
from lib import periods
from messages_api.models import Route, Upstream
from messages_api.routing.redis_circuits import circuit_breakers
from tests.support.usage_rows import UsageRecorder

NOW = datetime(2026, 7, 15, 12, tzinfo=UTC)
YESTERDAY = NOW - timedelta(days=1)
ROLES = {"K": "Key manager", "N": "Analyst", "U": "Auditor"}


@pytest.fixture(autouse=True)
def in_july() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def client_as(db: None) -> Callable[[str], Client]:
    def sign_in(role: str) -> Client:
        user = User.objects.create_user(role, is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def local(db: None) -> Iterator[Upstream]:
    upstream = Upstream.objects.create(name="local", dialect="openai", base_url="http://127.0.0.1:9/v1")
    yield upstream
    circuit_breakers.of(upstream.endpoint()).record_success()


@pytest.fixture
def spool() -> Iterator[Path]:
    """The folder of spools, empty before and after."""
    ledger.close()  # its maintenance would replay what the test writes
    folder = spool_folder()
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / "gone.spool", folder / "quarantine.jsonl"]
    yield folder
    for path in made:
        path.unlink(missing_ok=True)


def text_of(page: str) -> str:
    content = page.partition('id="content-main"')[2].partition('class="app-')[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", content))


def items_for(answer: Any) -> list[str]:
    return [item.title for item in answer.context.get("attention_items") or []]


# ---- Usage.


def test_today_is_compared_with_yesterday(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record(created_at=NOW)
    for _ in range(3):
        recorder.record(created_at=YESTERDAY)
    recorder.record(created_at=YESTERDAY, status="failed")

    page = browser.get("/admin/").text

    cards = re.findall(r"<dt>([\w ]+)</dt>\s*<dd[^>]*>([^<]+)</dd>\s*<dd class=\"note\">([^<]+) yesterday</dd>", page)
    assert {name: (today, yesterday) for name, today, yesterday in cards} == {
        "Requests": ("1", "4"),
        "Input tokens": ("9", "36"),
        "Output tokens": ("12", "48"),
        "Cost": ("unpriced", "unpriced"),
        "Errors": ("0", "1"),
        "Rejected": ("0", "0"),
    }
    assert "Today so far, compared with all of yesterday. Time zone: UTC." in text_of(page)


def test_the_last_two_weeks_are_a_chart_and_its_table(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record(created_at=NOW - timedelta(days=13))
    recorder.record(created_at=NOW - timedelta(days=14))

    page = browser.get("/admin/").text

    block = re.search(r'<script id="requests-by-day" type="application/json">(.*?)</script>', page)
    assert block
    chart = json.loads(block[1])
    assert (chart["labels"][0], len(chart["labels"]), chart["series"][0]["values"][:2]) == ("02 Jul", 14, [1, 0])
    assert '<time datetime="2026-07-02">' in page and "2026-07-01" not in page


def test_the_recent_errors_link_to_their_records(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record()
    failed = recorder.record(status="failed", error_type="timeout_error", http_status=504)

    answer = browser.get("/admin/")

    assert [record.pk for record in answer.context["errors"]] == [failed.pk]
    assert "timeout_error" in answer.text and f">{recorder.api_key.name}</a>" in answer.text


# ---- First steps.


def test_the_first_steps_are_marked_done_one_by_one_until_there_is_a_request(
    browser: Client, recorder: UsageRecorder
) -> None:
    def done() -> list[bool]:
        return [step["done"] for step in browser.get("/admin/").context["first_steps"]]

    APIKey.objects.update(name="app")
    assert done() == [False, False, False, True, False]
    Upstream.objects.create(name="local", dialect="openai", base_url="http://127.0.0.1:9/v1")
    Route.objects.create(pattern="*")
    ModelPrice.objects.create(model_pattern="*", input_price=1, output_price=1)
    assert done() == [True, True, True, True, False]

    recorder.record()

    assert "Get started" not in browser.get("/admin/").text


def test_first_steps_are_shown_to_users_who_can_complete_them(client_as: Callable[[str], Client]) -> None:
    assert "Get started" in client_as("Administrator").get("/admin/").text
    for role in ROLES.values():
        assert "Get started" not in client_as(role).get("/admin/").text


# ---- Attention items.


def test_nothing_needs_attention_in_a_sound_installation(browser: Client, local: Upstream) -> None:
    assert items_for(browser.get("/admin/")) == []
    assert "No open items." in browser.get("/admin/").text


def test_items_of_keys_and_models_link_to_their_lists(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record(upstream_model="new-model", created_at=NOW)

    answer = browser.get("/admin/")

    assert items_for(answer) == [
        "1 key has no limit and no budget",
        "1 key never expires",
        "1 model was used without a price",
    ]
    assert 'href="/admin/keys/apikey/?finding=no-expiry"' in answer.text
    assert 'href="/admin/keys/modelprice/">1 model was used without a price</a>' in answer.text
    assert "new-model" in answer.text
    assert browser.get("/admin/keys/apikey/?finding=no-expiry").context["cl"].result_count == 1


def test_an_upstream_with_an_open_circuit_is_critical(browser: Client, local: Upstream) -> None:
    circuit = circuit_breakers.of(local.endpoint())
    for key_id in range(2):
        circuit.record_failure("timeout_error", key_id=key_id)
    failing = browser.get("/admin/")
    for key_id in range(3):
        circuit.record_failure("timeout_error", key_id=key_id)
    opened = browser.get("/admin/")

    assert items_for(failing) == ["local: high error rate"] and "2 consecutive failures" in failing.text
    assert items_for(opened) == ["local: circuit open"] and "timeout_error since" in opened.text
    assert [item.severity for item in opened.context["attention_items"]] == ["critical"]


def test_an_upstream_that_fails_for_one_key_is_a_warning(browser: Client, local: Upstream) -> None:
    for _ in range(5):
        circuit_breakers.of(local.endpoint()).record_failure("timeout_error", key_id=1)

    page = browser.get("/admin/")

    assert items_for(page) == ["local: high error rate"]
    assert "5 consecutive failures, circuit open for 1 API key" in page.text


@pytest.mark.parametrize("failed, made, is_reported", [(5, 20, True), (4, 7, False), (5, 21, False)])
def test_an_upstream_with_errors_for_a_quarter_of_the_requests_is_reported_by_every_process(
    failed: int, made: int, is_reported: bool, browser: Client, local: Upstream, admin: User
) -> None:
    api_key, _ = APIKey.objects.issue(
        name="app", owner=admin, expires_at=NOW + timedelta(days=90), requests_per_minute=1
    )
    client_errors = 3
    for model, status, requests, of_clients in (
        ("m", "failed", failed, 0),
        ("m", "completed", made - failed - client_errors, 0),
        ("unknown", "failed", client_errors, client_errors),
    ):
        HourlyUsage.objects.create(
            hour=NOW - timedelta(hours=1),
            api_key=api_key,
            model=model,
            upstream="local",
            status=status,
            requests=requests,
            client_errors=of_clients,
        )

    answer = browser.get("/admin/")

    assert ("local: high error rate" in items_for(answer)) == is_reported
    assert (f"{failed} of {made} requests since 11:00" in answer.text) == is_reported


def test_interrupted_requests_of_the_last_day_are_counted(
    browser: Client, local: Upstream, recorder: UsageRecorder
) -> None:
    for hours, requests in ((1, 2), (23, 1), (25, 7)):
        hour = periods.begin_of_hour(NOW - timedelta(hours=hours))
        HourlyUsage.objects.create(
            hour=hour, api_key=recorder.api_key, model="m", upstream="local", status="interrupted", requests=requests
        )

    answer = browser.get("/admin/")

    assert "3 requests were interrupted in the last 24 hours" in items_for(answer)
    assert 'href="/admin/keys/usagerecord/?status__exact=interrupted&amp;time=day"' in answer.text
    assert browser.get("/admin/keys/usagerecord/?status__exact=interrupted&time=day").status_code == 200


def test_spooled_usage_records_are_reported(browser: Client, local: Upstream, spool: Path) -> None:
    (spool / "gone.spool").touch()
    assert items_for(browser.get("/admin/")) == []

    (spool / "gone.spool").write_text("{}\n")
    (spool / "quarantine.jsonl").write_text("{}\n")

    assert items_for(browser.get("/admin/")) == [
        "Some usage records could not be replayed",
        "Usage records are spooled on disk (1 file)",
    ]


def test_insecure_settings_are_reported(browser: Client, local: Upstream, settings: Any) -> None:
    settings.BIND, settings.HTTPS, settings.DEBUG = "0.0.0.0:8000", False, True
    exposed = items_for(browser.get("/admin/"))
    settings.BIND, settings.HTTPS, settings.DEBUG = "127.0.0.1:8000", True, False
    settings.SECURE_SSL_REDIRECT, settings.ADMIN_TWO_FACTOR = False, "off"
    open_to_passwords = items_for(browser.get("/admin/"))
    settings.ADMIN_TWO_FACTOR = "optional"

    assert [title.partition(":")[0] for title in exposed] == [
        "HTTPS is off while BIND is reachable from other machines",
        "DEBUG is on",
    ]
    assert open_to_passwords == ["A password alone opens the admin."]
    assert items_for(browser.get("/admin/")) == []


def test_several_workers_without_shared_limits_are_critical(
    browser: Client, local: Upstream, admin: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEB_CONCURRENCY, settings.REDIS_URL = 2, ""
    monkeypatch.setitem(django_settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    assert items_for(browser.get("/admin/")) == []

    APIKey.objects.issue(name="app", owner=admin, expires_at=NOW + timedelta(days=90), requests_per_minute=1)

    answer = browser.get("/admin/")
    [item] = [item for item in answer.context["attention_items"] if item.severity == "critical"]
    assert "each worker would count alone" in item.title and "REDIS_URL" in item.detail


# ---- Permissions.


def test_each_part_is_shown_to_users_who_can_view_it(
    client_as: Callable[[str], Client], recorder: UsageRecorder, local: Upstream, spool: Path
) -> None:
    APIKey.objects.update(name="app of a team")
    recorder.api_key.refresh_from_db()
    recorder.record(status="failed", upstream_model="new-model", created_at=NOW)
    ledger.close()  # its maintenance would replay the spool
    (spool / "gone.spool").write_text("{}\n")
    of_keys = ["1 key has no limit and no budget", "1 key never expires"]
    of_prices, of_disk = ["1 model was used without a price"], ["Usage records are spooled on disk (1 file)"]

    pages = {letter: client_as(role).get("/admin/") for letter, role in ROLES.items()}

    assert items_for(pages["K"]) == of_keys + of_prices
    assert items_for(pages["N"]) == of_prices
    assert items_for(pages["U"]) == of_keys + of_prices + of_disk
    assert recorder.api_key.name in text_of(pages["K"].text)
    hint = recorder.api_key.secrets.get().hint
    for secret in (hint, recorder.api_key.name, recorder.api_key.public_id, "/admin/hygiene/", "/admin/keys/apikey/"):
        assert secret not in pages["N"].text
    assert "Recent errors" in pages["N"].text


def test_staff_without_a_role_sees_an_empty_page(browser_of: Callable[..., Client], recorder: UsageRecorder) -> None:
    recorder.record(status="failed")

    page = browser_of().get("/admin/").text

    for heading in ("Today", "Needs attention", "Recent errors", "Get started", "canvas"):
        assert heading not in page


# ---- Scale.


def test_as_many_queries_for_fifty_keys_as_for_five(browser: Client, recorder: UsageRecorder, local: Upstream) -> None:
    taken = {}
    for expected in (5, 50):
        while APIKey.objects.count() < expected:
            api_key, _ = APIKey.objects.issue(name=f"app {APIKey.objects.count()}", owner=recorder.api_key.owner)
            recorder.record(as_key=api_key, status="failed", created_at=NOW)
        with CaptureQueriesContext(connection) as captured:
            browser.get("/admin/")
        taken[expected] = len(captured)

    # session, user, any usage record, days, errors (2), keys (2), models (4), interrupted, upstreams (2), time zone,
    # actions
    assert taken == {5: 18, 50: 18}
