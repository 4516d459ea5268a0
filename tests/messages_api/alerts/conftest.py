"""Fixtures of alerts: receivers, rules and evaluations at chosen times."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User

from keys.models import APIKey, Notification, UsageRecord
from keys.notifications import delivery
from messages_api.alerts import evaluator
from messages_api.middleware import new_request_id
from messages_api.models import AlertRule, Upstream
from tests.support.receivers import Mailbox, Webhook

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def webhook(settings: Any) -> Iterator[Webhook]:
    with Webhook() as receiver:
        settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRETS = receiver.url, [SECRET]
        yield receiver


@pytest.fixture(autouse=True)
def alert_settings(settings: Any, without_gateway: None) -> None:
    settings.ALERT_EMAILS = ["ops@example.org"]
    settings.PUBLIC_URL = "https://gateway.example.org"
    settings.TIME_ZONE = "UTC"


@pytest.fixture
def api_key(owner: User) -> APIKey:
    return APIKey.objects.issue(name="app", owner=owner)[0]


@pytest.fixture
def upstream_row(db: None) -> Upstream:
    return Upstream.objects.create(name="alpha", dialect="openai", base_url="http://127.0.0.1:9/v1")


def rule(kind: str, **fields: Any) -> AlertRule:
    found = AlertRule(name=f"rule of {kind}", kind=kind, **fields)
    found.full_clean()
    found.save()
    return found


def evaluate(minute: float) -> bool:
    """Evaluate so many minutes after the start. Return whether this process did."""
    with time_machine.travel(START + timedelta(minutes=minute), tick=False):
        return evaluator.run()


def subjects() -> list[str]:
    """Return the subjects of all notifications in order."""
    return list(Notification.objects.order_by("pk").values_list("subject", flat=True))


def deliver() -> None:
    """Send what is queued, whatever time it was queued at."""
    Notification.objects.filter(done_at=None).update(next_attempt_at=START - timedelta(days=1))
    delivery.send_pending()


@pytest.fixture
def record(api_key: APIKey) -> Callable[..., None]:
    """Return a function that adds settled requests at some minute after the start."""

    def add(count: int, *, minute: float, **fields: Any) -> None:
        at = START + timedelta(minutes=minute)
        values: dict[str, Any] = {
            "created_at": at,
            "settled_at": at,
            "status": "completed",
            "api_key": api_key,
            "team_id": api_key.team_id,
            "api_format": "envelope",
            "model": "m",
            "streamed": False,
            "upstream": "alpha",
            "upstream_model": "m",
            "boot_id": "b",
            "duration_ms": 100,
            "ttft_ms": 10,
        }
        UsageRecord.objects.bulk_create(
            UsageRecord(**(values | {"id": new_request_id()} | fields)) for _ in range(count)
        )

    return add


def text_of(mail: Any) -> str:
    return str(mail.get_payload(decode=True).decode())


def mails(box: Mailbox) -> list[str]:
    """Return the subjects of the mails, without the prefix and line breaks."""
    return [" ".join(str(mail["Subject"]).split()).removeprefix("[messages-gateway] ") for _, mail in box.mails]
