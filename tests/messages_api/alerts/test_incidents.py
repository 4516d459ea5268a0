"""Incidents: one message each and one for the end, whatever happens meanwhile."""

import multiprocessing
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connection, connections

from keys.models import APIKey, Notification
from lib import periods
from messages_api.alerts import circuits, evaluator, incidents, messages
from messages_api.alerts.condition import AlertCondition
from messages_api.alerts.quiet_hours import is_quiet
from messages_api.models import AlertRule, AlertState, Incident, Upstream
from tests.messages_api.alerts.conftest import SECRET, START, deliver, evaluate, mails, rule, subjects, text_of
from tests.messages_api.alerts.test_kinds import report
from tests.support.gateway import Gateway, GatewayServer, wait_until
from tests.support.receivers import Mailbox, Webhook
from tests.upstream import ScriptedUpstream, failure

OPEN = "Circuit of upstream alpha is open"
HELLO = {"model": "m", "max_tokens": 20, "messages": [{"role": "user", "content": "Hi"}]}
Add = Callable[..., None]


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def step(alert_rule: AlertRule, minute: float, *subjects: str, **fields: Any) -> None:
    """Follow the conditions of a rule at some minute, and queue the messages that are due."""
    conditions = [AlertCondition(subject=each, title=f"{each} is wrong", **fields) for each in subjects]
    incidents.follow(alert_rule, conditions, now=at(minute))
    messages.queue(alert_rule, now=at(minute))


# ---- Flapping, floods, restarts.


def test_a_condition_that_returns_within_the_window_continues_its_incident(db: None) -> None:
    flapping = rule("circuit", ends_after_minutes=5)
    for minute in range(0, 60, 2):
        step(flapping, minute, *(["a"] if minute % 4 == 0 else []))
    for minute in (60, 62, 64):
        step(flapping, minute)

    assert subjects() == ["Alert: a is wrong", "Ended: a is wrong"]
    (incident,) = Incident.objects.all()
    assert (incident.occurrences, incident.ended_at) == (15, at(58))


def test_after_the_window_it_is_another_incident(db: None) -> None:
    recurring = rule("circuit", ends_after_minutes=5)
    for minute in (0, 1, 7):
        step(recurring, minute, *(["a"] if minute == 0 else []))
    step(recurring, 8, "a")

    assert subjects() == ["Alert: a is wrong", "Ended: a is wrong", "Alert: a is wrong"]


def test_many_incidents_at_a_time_are_one_message(db: None) -> None:
    flooded = rule("unpriced", ends_after_minutes=0)
    step(flooded, 0, *(f"model {i}" for i in range(30)))
    step(flooded, 1)

    assert subjects() == ["30 incidents of rule rule of unpriced"] * 2
    first = Notification.objects.order_by("pk")[0]
    assert "- model 0 is wrong, since 2026-11-24 12:00:00 UTC" in first.text and "- and 10 more" in first.text
    assert (first.data["count"], len(first.data["incidents"])) == (30, 20)


def test_a_rule_sends_a_bounded_number_of_messages_per_hour_and_counts_the_rest(db: None) -> None:
    flooded = rule("unpriced", ends_after_minutes=0)
    for minute in range(40):
        step(flooded, minute, f"model {minute}")
    sent = Notification.objects.count()
    step(flooded, 80)

    assert sent == messages.MAX_PER_HOUR
    assert Notification.objects.count() == sent + 1
    last = Notification.objects.order_by("-pk")[0]
    counted = sum(int(each.data.get("count", 1)) for each in Notification.objects.all())
    assert last.subject.endswith("incidents of rule rule of unpriced")
    # Each incident twice, but those once that ended before their first message.
    assert counted == 80 - Incident.objects.filter(announced_at=at(80)).count()
    assert not Incident.objects.filter(end_announced_at=None).exists()


def test_a_process_that_dies_between_the_steps_repeats_no_message(
    upstream_row: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule("circuit", ends_after_minutes=1)
    report(upstream_row.endpoint().identity, minute=0)
    with monkeypatch.context() as patched:
        patched.setattr(messages, "queue", _dies)
        with pytest.raises(SystemExit):
            evaluate(0)
    assert (Incident.objects.count(), Notification.objects.count()) == (1, 0)
    AlertState.objects.update(evaluator="a process that died")

    assert not evaluate(0.5)  # its lease
    report(upstream_row.endpoint().identity, minute=1)
    assert evaluate(1.1) and evaluate(1.5) and evaluate(2)
    assert subjects()[:1] == [f"Alert: {OPEN}"]
    report(upstream_row.endpoint().identity, minute=3, is_open=False)
    for minute in (3, 4, 5):
        evaluate(minute)

    assert subjects() == [f"Alert: {OPEN}", f"Ended: {OPEN}"]


def _dies(*args: object, **kwargs: object) -> None:
    raise SystemExit


def test_an_error_of_one_kind_keeps_its_incidents_open_and_the_others_working(
    upstream_row: Upstream, record: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule("circuit", ends_after_minutes=0)
    rule("error_rate", threshold=10, min_requests=1)
    report(upstream_row.endpoint().identity, minute=0)
    evaluate(0)
    monkeypatch.setattr(circuits, "conditions", _fails)
    record(9, minute=0.9, status="failed", error_type="api_error")
    evaluate(1)

    assert set(Incident.objects.filter(ended_at=None).values_list("kind", flat=True)) == {"circuit", "error_rate"}


def _fails(*args: object, **kwargs: object) -> None:
    raise ValueError


def test_incidents_of_a_disabled_or_deleted_rule_end_silently(db: None) -> None:
    disabled, deleted = rule("circuit"), rule("unpriced")
    step(disabled, 0, "a")
    step(deleted, 0, "b")
    AlertRule.objects.filter(pk=disabled.pk).update(enabled=False)
    deleted.delete()

    evaluate(1)

    assert not Incident.objects.filter(ended_at=None).exists()
    assert subjects() == ["Alert: a is wrong", "Alert: b is wrong"]
    assert not evaluate(2)


# ---- Several processes.


def _evaluate_in_process(begin: Any, moment: datetime) -> None:
    connections.close_all()
    evaluator.process_name._made.reset()
    with time_machine.travel(moment, tick=False):
        state, _ = AlertState.objects.get_or_create(pk=evaluator.STATE_ID)
        begin.wait(30)
        evaluator.evaluate(state, now=moment)
    connections.close_all()


def test_processes_that_evaluate_at_the_same_time_open_one_incident_and_send_one_message(
    transactional_db: None, mailbox: Mailbox, webhook: Webhook
) -> None:
    """Without the lease, which a slow process may exceed."""
    Upstream.objects.create(name="alpha", dialect="openai", base_url="http://127.0.0.1:9/v1")
    rule("circuit", ends_after_minutes=0)
    identity = Upstream.objects.get().endpoint().identity
    for number, is_open in enumerate((True, False)):
        report(identity, minute=2 * number, is_open=is_open)
        context = multiprocessing.get_context("fork")
        begin = context.Barrier(4)
        processes = [context.Process(target=_evaluate_in_process, args=(begin, at(2 * number))) for _ in range(4)]
        connections.close_all()
        if connection.vendor == "postgresql":  # a fork must not share the sockets of the pool
            connection.close_pool()  # type: ignore[attr-defined]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * 4
    deliver()

    assert Incident.objects.count() == 1
    assert mails(mailbox) == [f"Alert: {OPEN}", f"Ended: {OPEN}"] and len(webhook.posts) == 2


def test_one_process_evaluates_until_its_lease_ends(upstream_row: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    rule("circuit")
    assert evaluate(0) and not evaluate(0.1) and evaluate(0.3)
    monkeypatch.setattr(evaluator, "process_name", "another")
    assert not evaluate(0.6) and not evaluate(1.2)
    assert evaluate(1.4)


def test_a_clock_that_was_in_the_future_does_not_stop_evaluations(upstream_row: Upstream) -> None:
    rule("circuit")

    assert evaluate(600) and evaluate(0)


# ---- Quiet hours.


def test_quiet_hours_delay_messages_and_send_one_about_what_has_ended(db: None, settings: Any) -> None:
    quiet = rule("circuit", quiet_from=time(22), quiet_until=time(7), ends_after_minutes=0)
    step(quiet, 11 * 60, "a", "b")  # 23:00
    step(quiet, 13 * 60, "b")
    step(quiet, 18 * 60 + 59, "b")
    assert subjects() == []
    step(quiet, 19 * 60, "b")  # 07:00
    step(quiet, 19 * 60 + 1)

    assert subjects() == ["Alert, already over: a is wrong", "Alert: b is wrong", "Ended: b is wrong"]


def quiet_rule(start: time, end: time) -> AlertRule:
    return AlertRule(quiet_from=start, quiet_until=end)


@pytest.fixture
def berlin(settings: Any) -> Any:
    settings.TIME_ZONE = "Europe/Berlin"
    yield


@pytest.mark.parametrize(
    ("start", "end", "moment", "expected"),
    [
        (time(22), time(7), "2026-11-24T21:59:59+01:00", False),
        (time(22), time(7), "2026-11-24T22:00:00+01:00", True),
        (time(22), time(7), "2026-11-25T00:00:00+01:00", True),
        (time(22), time(7), "2026-11-25T06:59:59+01:00", True),
        (time(22), time(7), "2026-11-25T07:00:00+01:00", False),
        (time(12), time(13), "2026-11-25T12:30:00+01:00", True),
        (time(12), time(13), "2026-11-25T13:00:00+01:00", False),
        # The night with 23 hours: 02:00 to 03:00 does not exist.
        (time(22), time(7), "2026-03-29T06:59:00+02:00", True),
        (time(22), time(7), "2026-03-29T07:00:00+02:00", False),
        (time(22), time(2, 30), "2026-03-29T03:29:00+02:00", True),
        (time(22), time(2, 30), "2026-03-29T03:30:00+02:00", False),
        # The night with 25 hours: 02:00 to 03:00 occurs twice.
        (time(22), time(7), "2026-10-25T06:59:00+01:00", True),
        (time(22), time(7), "2026-10-25T07:00:00+01:00", False),
        (time(22), time(2, 30), "2026-10-25T02:29:00+02:00", True),
        (time(22), time(2, 30), "2026-10-25T02:30:00+02:00", False),
        (time(22), time(2, 30), "2026-10-25T02:15:00+01:00", False),
        (time(2, 30), time(5), "2026-10-25T02:15:00+01:00", True),
    ],
)
def test_quiet_hours_are_those_of_the_reporting_time_zone(
    berlin: None, start: time, end: time, moment: str, expected: bool
) -> None:
    assert str(periods.zone()) == "Europe/Berlin"
    assert is_quiet(quiet_rule(start, end), datetime.fromisoformat(moment).astimezone(UTC)) is expected


# ---- Receivers and hostile names.


def test_a_rule_names_its_own_recipients_and_may_leave_out_the_webhook(
    db: None, mailbox: Mailbox, webhook: Webhook
) -> None:
    step(rule("circuit", recipients=["night@example.org"], is_for_webhook=False), 0, "a")
    deliver()

    assert [recipients for recipients, _ in mailbox.mails] == [["night@example.org"]] and webhook.posts == []


def test_without_receivers_no_message_waits(db: None, settings: Any) -> None:
    settings.ALERT_EMAILS, settings.ALERT_WEBHOOK_URL = [], ""
    step(rule("circuit"), 0, "a")

    assert Incident.objects.count() == 1 and not Notification.objects.exists()


def test_hostile_names_are_inert_in_mails(record: Add, api_key: APIKey, mailbox: Mailbox, webhook: Webhook) -> None:
    APIKey.objects.filter(pk=api_key.pk).update(name="a\r\nBcc: eve@example.org\x1b[2J<script>")
    rule("new_network")
    record(1, minute=-5, client_ip="192.0.2.7")
    evaluate(0)
    record(1, minute=1, client_ip="198.51.100.7")
    evaluate(2)
    deliver()

    ((recipients, mail),) = mailbox.mails
    assert recipients == ["ops@example.org"] and mail["Bcc"] is None
    assert mail.get_content_type() == "text/plain"
    text = text_of(mail)
    assert "\x1b" not in text and "a??Bcc: eve@example.org?[2J<script>" in text
    assert len(webhook.posts) == 1


# ---- A running gateway.


def test_a_running_gateway_sends_the_incident_of_a_circuit_that_its_requests_opened(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User
) -> None:
    rule("circuit")
    with Mailbox() as box, Webhook() as receiver:
        environment = {
            "EMAIL_URL": box.url,
            "ALERT_EMAILS": "ops@example.org",
            "ALERT_WEBHOOK_URL": receiver.url,
            "ALERT_WEBHOOK_SECRETS": SECRET,
        }
        with GatewayServer(**environment) as server:
            gateway = Gateway(server, upstream, owner)
            keys = [gateway.raw_key, APIKey.objects.issue(name="other", owner=owner)[1]]
            upstream.queue(failure(500), times=None)

            def is_delivered() -> bool:
                for gateway.raw_key in keys:
                    gateway.post("/api/v1/messages", HELLO)
                return bool(box.mails and receiver.posts)

            wait_until(is_delivered, within_s=100)

    assert mails(box) == ["Alert: Circuit of upstream scripted is open"]
    assert Incident.objects.count() == 1 and len(receiver.posts) == 1
