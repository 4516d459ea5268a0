"""Detail page of an API key: status, meters, usage, rejections, secrets, history and edit form."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from keys.budgets.reservations import BudgetRef, ReservationRequest
from keys.budgets.status import for_key
from keys.domain.latency_buckets import bucket_of, middle
from keys.domain.limits import LimitExceeded
from keys.limits import limiter
from keys.limits.limiter import Limits
from keys.models import APIKey, Budget, BudgetPeriod, KeySecret, Team, UsageRecord
from keys.usage import ledger
from tests.support.usage_rows import UsageRecorder

Issue = Callable[..., tuple[APIKey, str]]


def address_of(api_key: APIKey) -> str:
    return reverse("admin:keys_apikey_change", args=[api_key.pk])


def text_of(answer: Any) -> str:
    """Return the text of a page without markup."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


def table(answer: Any, caption: str) -> list[list[str]]:
    """Return the cells of a table's body."""
    part = answer.text.split(f'<caption class="visually-hidden">{caption}</caption>')[1].split("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", part.split("<tbody>")[1], flags=re.S)
    return [
        [
            " ".join(re.sub(r"<[^>]+>", " ", cell).split())
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)
        ]
        for row in rows
    ]


def exceeded(limit: str, *, scope: str = "key", value: int | None = 60, **more: Any) -> LimitExceeded:
    return LimitExceeded(scope=scope, limit=limit, value=value, **more)


# ---- status


def test_the_head_describes_the_key(browser: Client, issue: Issue, admin: User) -> None:
    api_key, raw = issue(
        purpose="Answers tickets.\nAsk Dana.",
        metadata={"ticket": "OPS-17"},
        created_by=admin,
        expires_at=timezone.now() + timedelta(days=10, minutes=1),
        allowed_models=["claude-*"],
        allowed_ips=["10.0.0.0/8"],
        requests_per_minute=60,
    )

    page = browser.get(address_of(api_key))

    said = text_of(page)
    for part in ("Active", str(api_key.secrets.get()), api_key.public_id, "Answers tickets. Ask Dana.", "OPS-17"):
        assert part in said
    assert "Issued now by root" in said and "Expires in 1 week" in said and "Last used never" in said
    assert (
        "Models claude-*" in said
        and "Allowed IP addresses 10.0.0.0/8" in said
        and "Limits 60 requests per minute" in said
    )
    assert f'href="/admin/auth/user/{admin.pk}/change/"' in page.text
    assert raw not in page.text and KeySecret.objects.get().digest.hex() not in page.text


def test_the_last_use_shows_client_ip_and_user_agent(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record(client_ip="192.0.2.7", user_agent="curl/8", created_at=timezone.now() - timedelta(minutes=2))
    recorder.record(status="rejected", client_ip="198.51.100.9", user_agent="another")

    page = browser.get(address_of(recorder.api_key))

    assert "2 minutes ago from 192.0.2.7 with curl/8" in text_of(page)


def test_the_last_use_is_found_behind_many_rejections(browser: Client, recorder: UsageRecorder) -> None:
    recorder.record(client_ip="192.0.2.7", user_agent="curl/8", created_at=timezone.now() - timedelta(minutes=2))
    for _ in range(25):
        recorder.record(status="rejected", client_ip="198.51.100.9")

    page = browser.get(address_of(recorder.api_key))

    assert "from 192.0.2.7 with curl/8" in text_of(page)


def test_a_blocked_key_says_why(browser: Client, issue: Issue, owner: User) -> None:
    api_key, _ = issue(owner=owner, expires_at=timezone.now() - timedelta(days=1))
    api_key.disable()
    owner.is_active = False
    owner.save()

    said = text_of(browser.get(address_of(api_key)))
    api_key.revoke(reason="compromised", note="found in a repository")
    revoked = text_of(browser.get(address_of(api_key)))

    assert (
        "Expired on" in said
        and "Disabled since" in said
        and "The owner owner is inactive: requests are rejected." in said
    )
    assert "compromised; found in a repository" in revoked


def test_keys_of_a_disabled_team_say_so(browser: Client, issue: Issue) -> None:
    team = Team.objects.create(name="Search")
    api_key, _ = issue(owner=None, team=team)
    team.disable()

    assert "Team Search is disabled: requests with its keys are rejected." in text_of(browser.get(address_of(api_key)))


# ---- budgets and limits


@pytest.fixture
def spender(recorder: UsageRecorder) -> Callable[..., None]:
    """Return a function that spends tokens of the key's budgets and reserves some with an in-flight request."""

    def spend(*, spent: int, held: int = 0, days_ago: int = 0) -> None:
        rows = [standing.budget for standing in for_key(recorder.api_key)]
        at = timezone.now() - timedelta(days=days_ago)
        reservation_requests = [
            ReservationRequest(
                budget=BudgetRef(id=row.pk, scope="key", period=row.period, unit=row.unit), amount=max(spent, held)
            )
            for row in rows
        ]
        if spent:
            recorder.record(
                reservation_requests=reservation_requests,
                input_tokens=spent,
                output_tokens=0,
                cache_read_tokens=0,
                created_at=at,
            )
        if held:
            recorder.record(reservation_requests=reservation_requests, status="started", created_at=at)

    return spend


def test_a_budget_of_money_has_all_digits_and_adds_up(browser: Client, recorder: UsageRecorder) -> None:
    budget = Budget.objects.create(api_key=recorder.api_key, amount=10_000_000, unit="usd", period="total")
    BudgetPeriod.objects.create(
        budget=budget, starts_at=datetime(1970, 1, 1, tzinfo=UTC), spent=2, spent_rest_picos=900_000, reserved=1_000_000
    )

    said = text_of(browser.get(address_of(recorder.api_key)))

    assert "$10.00 in total" in said
    assert "Spent $0.0000029 Reserved $1.00 Remaining $8.9999971" in said


def test_a_budget_shows_spent_reserved_and_remaining(browser: Client, recorder: UsageRecorder, spender: Any) -> None:
    Budget.objects.create(api_key=recorder.api_key, amount=1000, unit="tokens", period="total")
    spender(spent=300, held=500)

    page = browser.get(address_of(recorder.api_key))

    said = text_of(page)
    assert "1,000 tokens in total" in said
    assert "Spent 300 tokens" in said and "Reserved 500 tokens" in said and "Remaining 200 tokens" in said
    assert '<progress max="100" value="80"' in page.text


def test_a_budget_of_the_team_is_shown_at_its_keys(browser: Client, issue: Issue) -> None:
    team = Team.objects.create(name="Search", requests_per_minute=100, shadow_mode=True)
    Budget.objects.create(team=team, amount=200_000_000, period="month")
    api_key, _ = issue(owner=None, team=team, concurrent_requests=5)

    said = text_of(browser.get(address_of(api_key)))

    assert "$200.00 per month , shared with team Search" in said or "$200.00 per month, shared with team Search" in said
    assert "5 concurrent requests" in said and "100 requests per minute, shared with team Search" in said
    assert "Shadow mode: not enforced." in said


def test_a_limit_shows_its_current_use(browser: Client, issue: Issue) -> None:
    api_key, _ = issue(requests_per_minute=60, concurrent_requests=4)
    grant = limiter.consume("req_1", [Limits.of("key", api_key)], lease_s=60)

    said = text_of(browser.get(address_of(api_key)))
    limiter.release(grant)

    assert "60 requests per minute 2 % 1 in use; fully replenished in 1 s." in said
    assert "4 concurrent requests 25 % 1 in use." in said


@pytest.mark.parametrize(
    ("amount", "period", "said"),
    [
        # 65 tokens in six and a half days: 10 per day.
        pytest.param(100, "total", "At the 7-day average, exhausted in 3 days", id="never begins anew"),
        pytest.param(100, "month", "At the 7-day average, exhausted in 3 days", id="too little"),
        pytest.param(1000, "month", "At the 7-day average, about 210 tokens spent by the reset.", id="enough"),
        pytest.param(65, "month", "Budget exhausted: requests are rejected with 402.", id="nothing left"),
    ],
)
def test_a_budget_is_forecast_from_the_last_seven_days(
    amount: int, period: str, said: str, browser: Client, recorder: UsageRecorder, spender: Any, admin: User
) -> None:
    with time_machine.travel("2026-06-16T12:00:00+00:00", tick=False):
        browser.force_login(admin)
        APIKey.objects.update(created_at=timezone.now() - timedelta(days=100))
        Budget.objects.create(api_key=recorder.api_key, amount=amount, unit="tokens", period=period)
        for days_ago in range(1, 7):
            spender(spent=11 if days_ago > 1 else 10, days_ago=days_ago)

        page = browser.get(address_of(recorder.api_key))

    assert BudgetPeriod.objects.get().spent == 65
    assert said in text_of(page)


def test_a_budget_without_spending_has_no_forecast(browser: Client, recorder: UsageRecorder) -> None:
    Budget.objects.create(api_key=recorder.api_key, amount=100, unit="tokens")

    assert "No spending in the last 7 days." in text_of(browser.get(address_of(recorder.api_key)))


# ---- usage


def test_the_last_thirty_days_are_added_up_from_hourly_rollups(browser: Client, recorder: UsageRecorder) -> None:
    other, _ = APIKey.objects.issue(name="other", owner=recorder.api_key.owner)
    now = timezone.now()
    recorder.record(created_at=now, model="a")
    recorder.record(created_at=now - timedelta(days=3), model="b", status="failed", error_type="overloaded_error")
    recorder.record(created_at=now - timedelta(days=3), model="b", status="failed", error_type="invalid_request_error")
    recorder.record(created_at=now - timedelta(days=3), model="b", status="client_closed", duration_ms=9_900)
    recorder.record(created_at=now, model="b", status="rejected")
    recorder.record(created_at=now - timedelta(days=31), model="c")
    recorder.record(created_at=now, model="a", as_key=other)

    page = browser.get(address_of(recorder.api_key))

    assert "4 requests, 50 % errors; 1 rejected; 84 tokens, unpriced." in text_of(page)
    median, p95 = (round(middle(bucket_of(value))) for value in (20, 9_900))
    assert f"Latency: median {median} ms, 95th percentile {p95:,} ms. Time to first token: median 5 ms" in text_of(page)
    assert table(page, "Top models") == [
        ["b", "0", "1", "1", "1", "1", "63", "unpriced"],
        ["a", "1", "0", "0", "0", "0", "21", "unpriced"],
    ]
    chart = {each["name"]: sum(each["values"]) for each in page.context["chart"]["series"]}
    ended = {"Completed": 1, "Client disconnected": 1, "Client errors": 1, "Upstream errors": 1, "Rejected": 1}
    assert chart == ended | {"In flight": 0}
    assert len(table(page, "Requests per day")) == 30 + 1


def test_recent_errors_and_requests_link_to_their_records(browser: Client, recorder: UsageRecorder) -> None:
    failed = recorder.record(status="failed", error_type="overloaded_error", http_status=529)
    for _ in range(25):
        recorder.record()

    page = browser.get(address_of(recorder.api_key))

    assert [row[1:4] for row in table(page, "Recent errors")] == [["Failed overloaded_error", "529", "claude-3"]]
    assert len(table(page, "Recent requests")) == 20
    assert reverse("admin:keys_usagerecord_change", args=[failed.pk.replace("_", "_5F")]) in page.text
    links = re.findall(rf'href="([^"]*api_key__public_id={recorder.api_key.public_id}[^"]*)"', page.text)
    assert len(links) > 2
    for link in links:
        assert browser.get(link.replace("&amp;", "&")).status_code == 200


def test_rejections_are_counted_by_rule(browser: Client, recorder: UsageRecorder) -> None:
    lately = timezone.now() - timedelta(days=1)
    for _ in range(3):
        recorder.record(status="rejected", limit_exceeded=exceeded("requests_per_minute"), created_at=lately)
    recorder.record(
        status="rejected", limit_exceeded=exceeded("budget", scope="team", value=20_000_000, period="month", unit="usd")
    )
    recorder.record(limit_exceeded=exceeded("concurrent_requests", value=5, shadow=True), created_at=lately)
    recorder.record(limit_exceeded=exceeded("concurrent_requests", value=5, shadow=True), created_at=lately)
    recorder.record(status="rejected", limit_exceeded=exceeded("allowed_ips", value=None), created_at=lately)
    recorder.record(
        status="rejected", limit_exceeded=exceeded("allowed_models", value=None), created_at=lately - timedelta(days=7)
    )
    recorder.record(status="rejected")

    rows = table(browser.get(address_of(recorder.api_key)), "Rejected requests by rule")

    assert sorted(row[:3] for row in rows) == [
        ["$20.00 per month of its team", "1", "0"],
        ["5 concurrent requests of this key", "0", "2"],
        ["60 requests per minute of this key", "3", "0"],
        ["IP allowlist of this key", "1", "0"],
    ]


def test_the_page_says_when_not_all_rejections_are_counted(
    browser: Client, recorder: UsageRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keys.reports.rejections.MOST", 3)
    for _ in range(4):
        recorder.record(status="rejected", limit_exceeded=exceeded("requests_per_minute"))

    page = browser.get(address_of(recorder.api_key))

    assert table(page, "Rejected requests by rule")[0][1] == "3"
    assert "Only the latest 5,000 requests are counted." in text_of(page)


def test_a_key_without_requests_says_so(browser: Client, issue: Issue) -> None:
    said = text_of(browser.get(address_of(issue()[0])))

    assert "No requests in the last 30 days." in said and "No requests were rejected." in said
    assert "No requests yet." in said and "No recent errors." in said


def test_usage_needs_its_permission(browser_of: Callable[..., Client], recorder: UsageRecorder) -> None:
    recorder.record(model="a-model-that-is-nobodys-business", client_ip="192.0.2.7")

    page = browser_of("view_apikey").get(address_of(recorder.api_key))

    assert "The last 30 days" not in page.text and "192.0.2.7" not in page.text
    assert "a-model-that-is-nobodys-business" not in page.text


# ---- secrets and changes


def test_the_previous_secret_of_a_rotation_is_marked(browser: Client, issue: Issue) -> None:
    api_key, _ = issue()
    api_key.rotate(overlap=timedelta(hours=24))

    page = browser.get(address_of(api_key))

    new, old = table(page, "Secrets of this key")
    assert new[1] == "Current" and old[1].startswith("Previous until ") and "in 23 hours" in old[1]
    assert "Still in use" not in page.text


@pytest.mark.parametrize(
    ("used_at", "now", "warning"),
    [
        pytest.param(-1, 0, "", id="used before the rotation only"),
        pytest.param(1, 2, "Still in use: clients that use it are rejected when it expires.", id="used after it"),
        pytest.param(20, 25, "Used until shortly before its expiry", id="used in its last hours"),
        pytest.param(2, 25, "", id="not used in its last hours"),
    ],
)
def test_a_previous_secret_in_use_has_a_warning(
    used_at: int, now: int, warning: str, browser: Client, issue: Issue
) -> None:
    api_key, _ = issue()
    begin = timezone.now()
    api_key.rotate(overlap=timedelta(hours=24))
    KeySecret.objects.filter(expires_at__isnull=False).update(last_used_at=begin + timedelta(hours=used_at))

    with time_machine.travel(begin + timedelta(hours=now, seconds=5)):
        browser.force_login(User.objects.get(username="root"))
        page = browser.get(address_of(api_key))

    assert warning in page.text
    assert bool(warning) == ('<p class="warning"><code' in page.text)


def test_changes_are_listed(browser: Client, issue: Issue, admin: User) -> None:
    api_key, _ = issue()
    another, _ = issue()
    browser.post(f"{address_of(another)[:-7]}disable/")
    browser.post(f"{address_of(api_key)[:-7]}disable/")

    rows = table(browser.get(address_of(api_key)), "Changes, newest first")

    who, what, where = rows[0][1:]
    assert (who, where) == ("root", "127.0.0.1") and "Disabled at: 20" in what
    assert all(another.public_id not in row[2] for row in rows)


def test_snippets_have_a_placeholder_for_the_key(browser: Client, issue: Issue) -> None:
    api_key, raw = issue(allowed_models=["claude-haiku"])

    page = browser.get(address_of(api_key))

    assert all("mgw_YOUR_KEY" in snippet.text for snippet in page.context["snippets"])
    assert "claude-haiku" in page.context["snippets"][1].text and raw not in page.text


# ---- edit form


@pytest.fixture
def form(browser: Client, issue: Issue) -> tuple[APIKey, dict[str, str]]:
    """Return a key with a budget, and the data of the form on its page."""
    api_key, _ = issue(requests_per_minute=5, metadata={"a": "b"}, allowed_ips=["10.0.0.0/8"])
    Budget.objects.create(api_key=api_key, amount=20_000_000, period="month")
    context = browser.get(address_of(api_key)).context
    sent: dict[str, str] = {}
    for part in [context["form"], context["budgets"].management_form, *context["budgets"].forms]:
        for bound in part:
            value = bound.value()
            if value not in (None, False):
                sent[bound.html_name] = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return api_key, sent | {"metadata": "a=b", "allowed_ips": "10.0.0.0/8", "allowed_models": ""}


def test_saving_without_a_change_changes_nothing(browser: Client, form: tuple[APIKey, dict[str, str]]) -> None:
    api_key, sent = form
    before = [APIKey.objects.values().get(), Budget.objects.values().get()]

    answer = browser.post(address_of(api_key), sent, follow=True)

    assert "Saved. Takes effect everywhere within 0 seconds." in answer.text
    assert [APIKey.objects.values().get(), Budget.objects.values().get()] == before


def test_limits_and_budgets_are_changed_added_and_removed(browser: Client, form: tuple[APIKey, dict[str, str]]) -> None:
    api_key, sent = form

    browser.post(address_of(api_key), sent | {"requests_per_minute": "50", "budgets-0-amount": "30.5"})
    assert APIKey.objects.get().requests_per_minute == 50
    assert Budget.objects.get().amount == 30_500_000

    another = {"budgets-1-amount": "7", "budgets-1-unit": "tokens", "budgets-1-period": "day"}
    browser.post(address_of(api_key), sent | {"requests_per_minute": ""} | another)
    assert APIKey.objects.get().requests_per_minute is None
    assert set(Budget.objects.values_list("unit", "amount")) == {("usd", 20_000_000), ("tokens", 7)}

    browser.post(address_of(api_key), sent | {"budgets-0-DELETE": "on"})
    assert Budget.objects.get().unit == "tokens"


def test_a_stored_budget_keeps_its_unit_and_period(browser: Client, form: tuple[APIKey, dict[str, str]]) -> None:
    api_key, sent = form

    browser.post(address_of(api_key), sent | {"budgets-0-unit": "tokens", "budgets-0-period": "day"})

    assert Budget.objects.values_list("unit", "period", "amount").get() == ("usd", "month", 20_000_000)


def test_a_budget_of_another_key_is_not_changed_here(
    browser: Client, form: tuple[APIKey, dict[str, str]], issue: Issue
) -> None:
    api_key, sent = form
    other = Budget.objects.create(api_key=issue()[0], amount=1)

    browser.post(address_of(api_key), sent | {"budgets-0-id": str(other.pk), "budgets-0-amount": "999"})

    assert set(Budget.objects.values_list("amount", flat=True)) == {20_000_000, 1}


def test_errors_are_shown_and_nothing_is_saved(browser: Client, form: tuple[APIKey, dict[str, str]]) -> None:
    api_key, sent = form

    answer = browser.post(address_of(api_key), sent | {"name": "new", "budgets-0-amount": "x"})

    assert "Not saved: see the errors" in answer.text and "Enter an amount in dollars, such as 12.50." in answer.text
    assert APIKey.objects.get().name == "app" and "<h1>app</h1>" in answer.text


def test_without_permission_for_budgets_the_rest_can_be_changed(
    browser_of: Callable[..., Client], form: tuple[APIKey, dict[str, str]]
) -> None:
    api_key, sent = form
    clerk = browser_of("view_apikey", "change_apikey")

    page = clerk.get(address_of(api_key)).text
    clerk.post(address_of(api_key), sent | {"name": "new", "budgets-0-amount": "999"})

    assert "budgets-TOTAL_FORMS" not in page
    assert APIKey.objects.get().name == "new" and Budget.objects.get().amount == 20_000_000


def test_budgets_are_added_and_removed_with_their_own_permissions(
    browser_of: Callable[..., Client], form: tuple[APIKey, dict[str, str]]
) -> None:
    api_key, sent = form
    clerk = browser_of("view_apikey", "change_apikey", "change_budget")
    more = {"budgets-TOTAL_FORMS": "2", "budgets-1-amount": "5", "budgets-1-unit": "tokens", "budgets-1-period": "day"}

    for initial in ("1", "0"):  # what a form says about itself is not trusted
        crafted = sent | more | {"budgets-1-alert_threshold_percent": "80", "budgets-INITIAL_FORMS": initial}
        clerk.post(address_of(api_key), crafted)
    assert 'name="add_budget"' not in clerk.get(address_of(api_key)).text
    removed = {"budgets-TOTAL_FORMS": "1", "budgets-0-DELETE": "on", "budgets-0-amount": "30"}
    clerk.post(address_of(api_key), sent | removed)

    assert Budget.objects.get().amount == 30_000_000


@pytest.mark.parametrize("state", ["owner-inactive", "team-disabled"])
def test_a_key_whose_owner_is_inactive_is_not_shown_as_active(
    state: str, browser: Client, issue: Issue, owner: User
) -> None:
    if state == "owner-inactive":
        api_key, _ = issue(owner=owner)
        User.objects.filter(pk=owner.pk).update(is_active=False)
    else:
        team = Team.objects.create(name="crew", disabled_at=timezone.now())
        api_key, _ = issue(owner=None, team=team)

    assert APIKey.objects.get().state == state
    assert f">{state.replace('-', ' ').capitalize()}</span>" in browser.get(address_of(api_key)).text


def test_a_key_moves_to_a_team_only_within_its_rules(browser: Client, form: tuple[APIKey, dict[str, str]]) -> None:
    api_key, sent = form
    team = Team.objects.create(name="Search", requests_per_minute=4)

    answer = browser.post(address_of(api_key), sent | {"owner_choice": f"team-{team.pk}"})
    assert "The team Search has 4 requests per minute for all its keys: enter 4 or less." in answer.text

    browser.post(address_of(api_key), sent | {"owner_choice": f"team-{team.pk}", "requests_per_minute": "4"})
    moved = APIKey.objects.get()
    assert (moved.team, moved.owner) == (team, None)


# ---- queries


def test_the_page_takes_a_constant_number_of_queries(
    browser: Client, recorder: UsageRecorder, admin: User, django_assert_max_num_queries: Any
) -> None:
    of_keys = ContentType.objects.get_for_model(APIKey)
    team = Team.objects.create(name="Search")
    Budget.objects.create(team=team, amount=10**9)
    Budget.objects.create(api_key=recorder.api_key, amount=10**9)
    APIKey.objects.update(team=team, owner=None)
    # session, user, key, its secrets, its creator, its team, the team's budgets; routes, users, teams, their budgets,
    # the key's budgets; hours, their latencies, budgets of key and team, their periods, the team's hours; requests,
    # errors, rejections; content type, changes; whether the key may be deleted
    with django_assert_max_num_queries(25) as first:
        browser.get(address_of(recorder.api_key))
    for i in range(30):
        recorder.record(
            model=f"m{i % 5}",
            status=["completed", "failed", "rejected"][i % 3],
            limit_exceeded=exceeded("allowed_models"),
        )
        LogEntry.objects.create(user=admin, content_type=of_keys, object_id=str(recorder.api_key.pk), action_flag=2)
        recorder.api_key.secrets.issue()
    ledger.close()
    with django_assert_max_num_queries(25) as second:
        browser.get(address_of(recorder.api_key))

    assert UsageRecord.objects.count() == 30
    assert len(second) <= len(first) + 1  # the last use, if it is not among the newest requests


def test_requests_errors_and_rejections_are_each_found_by_an_index(browser: Client, recorder: UsageRecorder) -> None:
    """Explain a query with bound parameters: for literals the database may choose another plan."""
    asked: list[tuple[str, Any]] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        browser.get(address_of(recorder.api_key))

    of_calls = [(sql, params) for sql, params in asked if 'FROM "keys_usagerecord"' in sql]
    plans = [explained(sql, params) for sql, params in of_calls]
    assert len(plans) == 5  # requests, errors, the limit and counts of rejections, whether there is any request
    assert all("usage_key_" in plan for plan in plans)
    assert sum("usage_key_errors" in plan for plan in plans) == 1
    assert sum("usage_key_limit_exceeded" in plan for plan in plans) == 2


def explained(sql: str, params: Any) -> str:
    is_postgres = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        if is_postgres:
            cursor.execute("SET enable_seqscan = off")  # a small table is scanned as a whole
        cursor.execute(f"EXPLAIN {'' if is_postgres else 'QUERY PLAN '}{sql}", params)
        plan = repr(cursor.fetchall())
        if is_postgres:
            cursor.execute("RESET enable_seqscan")
    return plan
