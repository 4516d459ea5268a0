"""Hygiene checks, the key_hygiene command and the weekly notification."""

import io
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.utils import timezone

from keys.access.rejected_uses import RejectedUseRecorder, rejected_uses
from keys.hygiene import findings, weekly_notification
from keys.models import APIKey, Budget, BudgetPeriod, HourlyUsage, KeySecret, ModelPrice, Notification, Team
from keys.notifications import delivery
from lib import periods
from project.server import application
from project.server.housekeeper import Housekeeper, PeriodicTask
from tests.support.gateway import wait_until
from tests.support.receivers import Mailbox, Webhook

Issue = Callable[..., APIKey]


@pytest.fixture
def issue(owner: User) -> Issue:
    """Issue a key that no check finds, except for the given fields."""

    def issue(name: str, **fields: Any) -> APIKey:
        values: dict[str, Any] = {
            "owner": owner,
            "expires_at": timezone.now() + timedelta(days=100),
            "requests_per_minute": 60,
        }
        api_key: APIKey = APIKey.objects.issue(name=name, **(values | fields))[0]
        api_key.secrets.update(last_used_at=timezone.now() - timedelta(hours=1))
        return api_key

    return issue


def found() -> dict[str, int]:
    """Return the number of keys that each check finds."""
    return {finding.check.condition: finding.count for finding in findings.examine().findings}


def run(*arguments: str) -> tuple[int, str]:
    """Return the exit code of the command, and its output."""
    output = io.StringIO()
    try:
        call_command("key_hygiene", *arguments, stdout=output)
    except SystemExit as exit:
        return int(str(exit.code)), output.getvalue()
    return 0, output.getvalue()


def spend(budget: Budget, spent: int, **more: Any) -> None:
    begin = periods.begin_of(budget.period, timezone.now())
    BudgetPeriod.objects.create(budget=budget, starts_at=begin, spent=spent, **more)


# ---- findings


def test_a_key_in_order_has_no_finding(issue: Issue) -> None:
    issue("in order")

    assert findings.examine() == findings.Hygiene()


def expired(issue: Issue) -> None:
    used = issue("expired", expires_at=timezone.now() - timedelta(days=1))
    used.secrets.update(last_rejected_at=timezone.now() - timedelta(days=6))
    unused = issue("expired and unused", expires_at=timezone.now() - timedelta(days=1))
    unused.secrets.update(last_rejected_at=timezone.now() - timedelta(days=8))


def revoked(issue: Issue) -> None:
    used = issue("revoked")
    used.revoke()
    used.secrets.update(last_rejected_at=timezone.now())


def disabled_before(issue: Issue) -> None:
    issue("works again").secrets.update(last_rejected_at=timezone.now())


def rotated(issue: Issue, *, overlap: timedelta, used_after: timedelta) -> APIKey:
    api_key = issue("rotated")
    now = timezone.now()
    api_key.secrets.update(created_at=now - timedelta(days=50))
    api_key.rotate(overlap=overlap)
    old, new = api_key.secrets.order_by("created_at")
    KeySecret.objects.filter(pk=new.pk).update(created_at=now - timedelta(hours=9), last_used_at=now)
    KeySecret.objects.filter(pk=old.pk).update(last_used_at=now - timedelta(hours=9) + used_after)
    return api_key


def old_in_use(issue: Issue) -> None:
    rotated(issue, overlap=timedelta(days=2), used_after=timedelta(hours=1))


def old_not_used(issue: Issue) -> None:
    rotated(issue, overlap=timedelta(days=2), used_after=timedelta(hours=-1))


def old_expires_later(issue: Issue) -> None:
    rotated(issue, overlap=timedelta(days=7), used_after=timedelta(hours=1))


def old_used_after_expiry(issue: Issue) -> None:
    api_key = rotated(issue, overlap=timedelta(0), used_after=timedelta(hours=-1))
    api_key.secrets.exclude(expires_at=None).update(last_rejected_at=timezone.now() + timedelta(seconds=1))


def owner_inactive(issue: Issue) -> None:
    issue("of an inactive owner", owner=User.objects.create_user("gone", is_active=False))


def of_disabled_team(issue: Issue) -> None:
    issue("closed", owner=None, team=Team.objects.create(name="closed", disabled_at=timezone.now()))


def budget_used(issue: Issue, spent: int, **budget: Any) -> None:
    fields = {"amount": 1000, "unit": "tokens", "alert_threshold_percent": 80} | budget
    spend(Budget.objects.create(api_key=issue("with a budget"), **fields), spent)


def of_a_team_that_spent(issue: Issue) -> None:
    team = Team.objects.create(name="spenders")
    issue("one of a team", owner=None, team=team)
    issue("another of it", owner=None, team=team)
    spend(Budget.objects.create(team=team, amount=1000, period="week"), 1000)


def spent_last_month(issue: Issue) -> None:
    budget = Budget.objects.create(api_key=issue("spent last month"), amount=1000)
    begin = periods.begin_of("month", timezone.now())
    BudgetPeriod.objects.create(
        budget=budget, starts_at=periods.begin_of("month", begin - timedelta(days=1)), ends_at=begin, spent=1000
    )


INCREASED = {"temporary_increase": 9000, "temporary_increase_until": datetime(2100, 1, 1, tzinfo=UTC)}
INCREASE_ENDED = {"temporary_increase": 9000, "temporary_increase_until": datetime(2020, 1, 1, tzinfo=UTC)}


@pytest.mark.parametrize(
    "make, expected",
    [
        pytest.param(expired, {"used-after-deactivation": 1}, id="expired-and-used"),
        pytest.param(revoked, {"used-after-deactivation": 1}, id="revoked-and-used"),
        pytest.param(disabled_before, {}, id="used-while-it-was-disabled"),
        pytest.param(old_in_use, {"old-secret-in-use": 1}, id="old-secret-in-use-before-its-expiry"),
        pytest.param(old_not_used, {}, id="old-secret-no-longer-used"),
        pytest.param(old_expires_later, {}, id="old-secret-that-expires-later"),
        pytest.param(old_used_after_expiry, {"expired-secret-used": 1}, id="expired-secret-used"),
        pytest.param(owner_inactive, {"owner-inactive": 1}, id="owner-inactive"),
        pytest.param(of_disabled_team, {"team-disabled": 1}, id="team-disabled"),
        pytest.param(lambda issue: budget_used(issue, 799), {}, id="budget-below-its-threshold"),
        pytest.param(lambda issue: budget_used(issue, 800), {"budget-near-limit": 1}, id="budget-at-its-threshold"),
        pytest.param(lambda issue: budget_used(issue, 1000), {"budget-exhausted": 1}, id="budget-exhausted"),
        pytest.param(
            lambda issue: budget_used(issue, 999, alert_threshold_percent=None), {}, id="budget-without-a-threshold"
        ),
        pytest.param(lambda issue: budget_used(issue, 1000, **INCREASED), {}, id="budget-increased"),
        pytest.param(
            lambda issue: budget_used(issue, 1000, **INCREASE_ENDED), {"budget-exhausted": 1}, id="increase-ended"
        ),
        pytest.param(of_a_team_that_spent, {"budget-exhausted": 2}, id="budget-of-a-team"),
        pytest.param(spent_last_month, {}, id="budget-of-last-month"),
    ],
)
def test_findings(make: Callable[[Issue], None], expected: dict[str, int], issue: Issue) -> None:
    issue("in order")
    make(issue)

    assert found() == expected


def test_findings_are_ordered_by_severity_with_their_first_keys(issue: Issue) -> None:
    for i in range(7):
        issue(f"no expiry {i}", expires_at=None)
    for days in (13, 2):
        issue(f"expires in {days}", expires_at=timezone.now() + timedelta(days=days, hours=1))

    expiring, no_expiry = findings.examine().findings

    assert (expiring.title, no_expiry.title) == ("2 keys expire within 14 days", "7 keys never expire")
    assert [key.name for key in expiring.keys] == ["expires in 2", "expires in 13"]
    assert (len(no_expiry.keys), no_expiry.more) == (5, 2)
    assert (expiring.query, findings.Finding(check=_check("used-after-deactivation"), count=1).query) == (
        "finding=expiring",
        "state=used-after-deactivation",
    )


def _check(condition: str) -> findings.Check:
    return next(check for check in findings.CHECKS if check.condition == condition)


def test_a_key_that_was_never_used_is_a_finding_that_needs_no_attention(issue: Issue) -> None:
    issue("new").secrets.update(last_used_at=None)

    assert found() == {"never-used": 1} and not findings.examine().needs_attention


def test_as_many_queries_for_fifty_keys_as_for_five(issue: Issue, django_assert_num_queries: Any) -> None:
    ModelPrice.objects.create(model_pattern="*", input_price=1, output_price=1)
    for expected in (5, 50):
        while APIKey.objects.count() < expected:
            issue(f"no expiry {APIKey.objects.count()}", expires_at=None)
        with django_assert_num_queries(6):  # two that count, two for budgets, the keys of one finding, hours
            findings.examine()
        with django_assert_num_queries(4):
            findings.counts()


# ---- uses of inactive keys


def test_the_use_of_an_inactive_key_is_recorded_without_a_query(
    client: Client, issue: Issue, django_assert_num_queries: Any
) -> None:
    api_key, raw = APIKey.objects.issue(name="inactive", owner=User.objects.get(), requests_per_minute=1)
    api_key.disable()
    client.get("/api/v1/key", headers={"Authorization": f"Bearer {raw}"})
    assert api_key.secrets.get().last_rejected_at is None

    rejected_uses.flush()

    assert api_key.secrets.get().last_rejected_at is not None
    assert found() == {"used-after-deactivation": 1}
    with django_assert_num_queries(0):
        rejected_uses.flush()


def test_constant_use_of_an_inactive_key_is_written_every_five_minutes(issue: Issue) -> None:
    secret, recorder = issue("inactive").secrets.get(), RejectedUseRecorder()
    times = []
    for minutes in (0, 4, 6):
        with time_machine.travel(datetime(2026, 7, 1, 12, minutes, tzinfo=UTC), tick=False):
            recorder.record(secret.pk)
            recorder.flush()
        secret.refresh_from_db()
        times.append(secret.last_rejected_at.minute)  # type: ignore[union-attr]

    assert times == [0, 0, 6]


# ---- the command


def test_the_command_without_findings(issue: Issue) -> None:
    issue("in order")

    assert run() == (0, "No findings.\n")
    assert json.loads(run("--json")[1]) == {"needs_attention": False, "findings": [], "unpriced_models": []}


def test_the_command_prints_findings_and_fails_if_any_needs_attention(issue: Issue) -> None:
    api_key = issue("expires\nsoon", expires_at=timezone.now() + timedelta(days=3))
    HourlyUsage.objects.create(
        hour=periods.begin_of_hour(timezone.now()),
        api_key=api_key,
        model="m",
        upstream="u",
        requests=1,
        unpriced_requests=1,
    )

    (code, text), (json_code, data) = run(), run("--json")

    assert (code, json_code) == (1, 1)
    assert "1 key expires within 14 days." in text and f"- expires?soon ({api_key.public_id}) of owner" in text
    assert "1 model was used without a price: m at u." in text
    [finding] = json.loads(data)["findings"]
    assert (finding["name"], finding["count"], finding["severity"]) == ("expiring", 1, "warning")
    assert finding["keys"] == [{"id": api_key.public_id, "name": "expires\nsoon", "owner": "owner"}]
    assert json.loads(data)["unpriced_models"] == [{"model": "m", "upstream": "u", "requested_models": ["m"]}]


def test_the_command_does_not_fail_for_findings_that_need_no_attention(issue: Issue) -> None:
    issue("new").secrets.update(last_used_at=None)

    code, text = run()

    assert code == 0 and "1 key was never used." in text


# ---- the weekly notification


@pytest.fixture(autouse=True)
def alert_recipients(settings: Any) -> None:
    settings.ALERT_EMAILS = ["ops@example.org"]


def test_the_notification_is_sent_by_email_and_webhook(issue: Issue, mailbox: Mailbox, settings: Any) -> None:
    api_key = issue("no expiry", expires_at=None)
    with Webhook() as webhook:
        settings.ALERT_WEBHOOK_URL = webhook.url
        weekly_notification.queue()
        assert delivery.send_pending() == 1

    ((recipients, mail),) = mailbox.mails
    text = mail.get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert recipients == ["ops@example.org"]
    assert mail["Subject"] == "[messages-gateway] API keys: 1 finding needs attention"
    assert "1 key never expires." in text and api_key.public_id in text and "/admin/hygiene/" in text
    ((_, body),) = webhook.posts
    posted = json.loads(body)
    assert posted["kind"] == "key_hygiene" and posted["findings"][0]["keys"][0]["id"] == api_key.public_id


def test_the_notification_links_to_the_keys(issue: Issue, mailbox: Mailbox, settings: Any) -> None:
    settings.PUBLIC_URL = "https://gateway.example.org"
    issue("no expiry", expires_at=None)

    weekly_notification.queue()

    notification = Notification.objects.get()
    url = "https://gateway.example.org/admin/keys/apikey/?finding=no-expiry"
    assert f"\n  {url}\n" in notification.text and "(https://gateway.example.org/admin/hygiene/)" in notification.text
    assert notification.data["findings"][0]["link"] == url


def test_a_week_begins_on_the_monday_of_the_reporting_time_zone(issue: Issue, mailbox: Mailbox, settings: Any) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"  # twelve hours ahead
    with time_machine.travel(datetime(2026, 7, 1, tzinfo=UTC)):
        issue("no expiry", expires_at=None)
    for moment in ("2026-07-12T11:00", "2026-07-12T11:59", "2026-07-12T12:01", "2026-07-19T11:59"):
        with time_machine.travel(f"{moment}+00:00", tick=False):
            weekly_notification.queue()

    assert sorted(Notification.objects.values_list("dedup_key", flat=True)) == ["hygiene-2026-W28", "hygiene-2026-W29"]


def test_no_notification_is_queued_if_no_finding_needs_attention(issue: Issue, mailbox: Mailbox) -> None:
    issue("new").secrets.update(last_used_at=None)

    weekly_notification.queue()

    assert not Notification.objects.exists()


def test_no_notification_is_queued_without_recipients(issue: Issue, settings: Any) -> None:
    settings.ALERT_EMAILS, settings.ALERT_WEBHOOK_URL = [], ""
    issue("no expiry", expires_at=None)

    weekly_notification.queue()

    assert not Notification.objects.exists()


def test_several_workers_queue_one_notification(transactional_db: None, issue: Issue, mailbox: Mailbox) -> None:
    issue("no expiry", expires_at=None)
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        try:
            weekly_notification.queue()
        finally:
            connections.close_all()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    delivery.send_pending()

    assert Notification.objects.count() == 1 and len(mailbox.mails) == 1


def test_all_housekeepers_send_one_notification(transactional_db: None, issue: Issue, mailbox: Mailbox) -> None:
    issue("no expiry", expires_at=None)
    tasks = [task.run for task in application.PERIODIC_TASKS]
    assert {weekly_notification.queue, rejected_uses.flush, delivery.send_pending} <= set(tasks)
    often = [PeriodicTask(run=run, every_s=0.05) for run in (weekly_notification.queue, delivery.send_pending)]
    housekeepers = [Housekeeper(often), Housekeeper(often)]
    for housekeeper in housekeepers:
        housekeeper.start()
    try:
        wait_until(lambda: Notification.objects.exclude(done_at=None).exists(), within_s=20)
    finally:
        for housekeeper in housekeepers:
            housekeeper.close()

    assert len(mailbox.mails) == 1


def test_a_key_without_expiry_but_with_a_reason_needs_no_attention(issue: Issue) -> None:
    issue("meter", expires_at=None, no_expiry_reason="no clock")

    code, text = run()

    assert found() == {"no-expiry-with-reason": 1}
    assert code == 0 and "1 key never expires (reason given)." in text


def test_a_budget_of_zero_is_exhausted_before_any_request(issue: Issue) -> None:
    api_key = issue("paused by its budget")
    budget = Budget.objects.create(api_key=api_key, amount=0)

    assert found() == {"budget-exhausted": 1}
    budget.temporary_increase, budget.temporary_increase_until = 5, timezone.now() + timedelta(days=1)
    budget.save()
    assert found() == {}
