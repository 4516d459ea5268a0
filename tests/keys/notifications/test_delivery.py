"""Notifications are delivered by real e-mail and a real webhook: once, and retried after a failure."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from keys.models import Budget, Notification
from keys.notifications import delivery
from tests.support.gateway import Gateway, GatewayServer, wait_until
from tests.support.receivers import Mailbox, Webhook
from tests.upstream import Reply, ScriptedUpstream, replied

SECRET = "a secret of the webhook"


@pytest.fixture
def webhook(settings: Any) -> Iterator[Webhook]:
    with Webhook() as receiver:
        settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET = receiver.url, SECRET
        yield receiver


def pending(**fields: Any) -> Notification:
    values: dict[str, Any] = {
        "dedup_key": "budget-1",
        "kind": "budget_alert",
        "subject": "Budget alert: 80 % used",
        "text": "The budget is nearly exhausted.\n",
        "recipients": ["owner@example.org", "boss@example.org"],
        "data": {"kind": "budget_alert", "spent": 80},
        "next_attempt_at": timezone.now(),
    }
    return Notification.objects.create(**(values | fields))


def test_a_notification_is_sent_once_to_every_recipient(db: None, mailbox: Mailbox, webhook: Webhook) -> None:
    pending()

    assert (delivery.send_pending(), delivery.send_pending()) == (1, 0)

    ((recipients, mail),) = mailbox.mails
    assert recipients == ["owner@example.org", "boss@example.org"]
    assert mail["Subject"] == "[messages-gateway] Budget alert: 80 % used"
    ((headers, body),) = webhook.posts
    assert json.loads(body)["spent"] == 80 and json.loads(body)["id"] == "budget-1"
    assert headers["x-gateway-signature"] == delivery.signature(body, secret=SECRET)


def test_only_the_failed_channel_is_retried(db: None, mailbox: Mailbox, webhook: Webhook) -> None:
    waiting = pending()
    webhook.statuses = [500]

    delivery.send_pending()
    waiting.refresh_from_db()
    assert waiting.done_at is None and waiting.emailed_at is not None
    assert waiting.last_error == "webhook: status 500"
    assert waiting.next_attempt_at > timezone.now() + timedelta(seconds=10)
    Notification.objects.update(next_attempt_at=timezone.now())
    delivery.send_pending()

    waiting.refresh_from_db()
    assert waiting.done_at is not None and (len(mailbox.mails), len(webhook.posts)) == (1, 2)


def test_retries_end_after_the_last_attempt(db: None, mailbox: Mailbox) -> None:
    mailbox.rejects = True
    pending()

    for _ in range(delivery.MAX_ATTEMPTS + 2):
        Notification.objects.filter(done_at=None).update(next_attempt_at=timezone.now())
        delivery.send_pending()

    waiting = Notification.objects.get()
    assert (waiting.attempts, waiting.emailed_at) == (delivery.MAX_ATTEMPTS, None)
    assert waiting.done_at is not None and waiting.last_error.startswith("mail: SMTP")


def test_a_text_that_no_header_can_hold_does_not_block_others(db: None, mailbox: Mailbox) -> None:
    pending(subject="Budget of key a\rb")
    pending(dedup_key="budget-2", recipients=["nobody@example.org\r"])
    pending(dedup_key="budget-3")

    assert delivery.send_pending() == 3

    subjects = [mail["Subject"] for _, mail in mailbox.mails]
    assert subjects == ["[messages-gateway] Budget of key a b", "[messages-gateway] Budget alert: 80 % used"]
    assert Notification.objects.get(dedup_key="budget-2").last_error.startswith("mail: ")


def test_a_notification_is_reserved_by_one_process(db: None, mailbox: Mailbox) -> None:
    seen_by_first = pending()
    same = Notification.objects.get()

    assert (delivery._reserve(seen_by_first), delivery._reserve(same)) == (True, False)


def _is_delivered(box: Mailbox, receiver: Webhook) -> bool:
    """Return whether both channels delivered. Requeue what another gateway on the test database sent nowhere."""
    sent_elsewhere = Notification.objects.filter(done_at__isnull=False)
    if not box.mails and sent_elsewhere.exists():
        sent_elsewhere.update(done_at=None, emailed_at=None, posted_at=None, next_attempt_at=timezone.now())
    return bool(box.mails and receiver.posts)


def test_a_running_gateway_sends_a_budget_alert(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User
) -> None:
    with Mailbox() as box, Webhook() as receiver:
        environment = {
            "EMAIL_URL": box.url,
            "ALERT_EMAILS": "ops@example.org",
            "ALERT_WEBHOOK_URL": receiver.url,
            "ALERT_WEBHOOK_SECRET": SECRET,
            "PUBLIC_URL": "https://gateway.example.org/",
        }
        with GatewayServer(**environment) as server:
            gateway = Gateway(server, upstream, owner)
            Budget.objects.create(
                api_key=gateway.key, unit="tokens", period="month", amount=100, alert_threshold_percent=20
            )
            upstream.queue(replied(Reply(usage=(9, 12))))
            hello = {"model": "m", "max_tokens": 20, "messages": [{"role": "user", "content": "Hi"}]}
            assert gateway.post("/api/v1/messages", hello).status == 200

            wait_until(lambda: _is_delivered(box, receiver), within_s=60)

    assert box.mails[0][0] == ["ops@example.org"]
    assert "21 % of the monthly budget" in str(box.mails[0][1]["Subject"]).replace("\n", "")
    posted = json.loads(receiver.posts[0][1])
    link = f"https://gateway.example.org/admin/keys/apikey/{gateway.key.pk}/change/"
    assert (posted["key"], posted["link"]) == (gateway.key.public_id, link)
    assert link in box.mails[0][1].get_payload(decode=True).decode()  # type: ignore[union-attr]
