"""Statements of teams: the figures of their period, once each, in the reporting time zone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.core.exceptions import ValidationError

from keys.models import APIKey, ModelPrice, Notification, Team, UsageRecord
from keys.notifications import delivery
from keys.pricing.price_book import prices
from keys.statements import scheduling
from keys.statements.statement import StatementPeriod, statement
from tests.support.usage_rows import UsageRecorder

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def team(db: None) -> Team:
    return Team.objects.create(name="search\r\nBcc: x@example.org", email="search@example.org", statement="month")


@pytest.fixture
def recorded(quiet_ledger: None, team: Team) -> Callable[..., UsageRecord]:
    ModelPrice.objects.create(
        model_pattern="claude*",
        input_price=3_000_000,
        output_price=15_000_000,
        valid_from=NOVEMBER - timedelta(days=90),
    )
    prices.clear()
    recorder = UsageRecorder(APIKey.objects.issue(name="app", team=team)[0])

    def record(**fields: Any) -> UsageRecord:
        served = {"upstream_model": fields.get("model", "claude-3")}
        return recorder.record_rated(**{"input_tokens": 1_000, "output_tokens": 100, **served, **fields})

    return record


@pytest.mark.parametrize(
    "zone, kind, now, begin, end, name, id",
    [
        ("UTC", "month", "2026-11-01T06:00Z", "2026-10-01T00:00Z", "2026-11-01T00:00Z", "October 2026", "2026-10"),
        ("America/New_York", "month", "2026-11-01T03:59Z", "2026-09-01T04:00Z", "2026-10-01T04:00Z", "September 2026",
         "2026-09"),
        ("America/New_York", "month", "2026-12-01T05:00Z", "2026-11-01T04:00Z", "2026-12-01T05:00Z", "November 2026",
         "2026-11"),
        ("Asia/Kolkata", "week", "2026-11-30T00:00Z", "2026-11-22T18:30Z", "2026-11-29T18:30Z",
         "2026-11-23 to 2026-11-29", "2026-W48"),
    ],
)  # fmt: skip
def test_the_last_period_that_has_ended(
    zone: str, kind: str, now: str, begin: str, end: str, name: str, id: str, settings: Any
) -> None:
    settings.TIME_ZONE = zone

    period = StatementPeriod.ended_before(kind, datetime.fromisoformat(now))

    assert (period.begin, period.end) == (datetime.fromisoformat(begin), datetime.fromisoformat(end))
    assert (period.name, period.id) == (name, id)


def test_a_statement_has_the_requests_of_its_team_and_period(
    recorded: Callable[..., UsageRecord], team: Team, settings: Any
) -> None:
    settings.PUBLIC_URL = "https://gateway.example.org"
    recorded(created_at=NOVEMBER - timedelta(seconds=1))
    recorded(created_at=NOVEMBER - timedelta(days=3), model="unknown-price")
    recorded(created_at=NOVEMBER - timedelta(days=40))
    recorded(created_at=NOVEMBER)  # of the next one
    other = APIKey.objects.issue(name="other", team=Team.objects.create(name="other"))[0]
    UsageRecorder(other).record(created_at=NOVEMBER - timedelta(days=1))

    found = statement(team, StatementPeriod.ended_before("month", NOVEMBER))

    assert (found.total.requests, found.total.unpriced, found.before.requests) == (2, 1, 1)
    assert found.total.cost_picos == 4_500_000_000
    assert {row.name: row.totals.requests for row in found.models} == {"claude-3": 1, "unknown-price": 1}
    assert [(row.name, row.totals.requests) for row in found.keys] == [("app", 2)]
    assert "Cost: $0.0045 (+0 % against the period before)" in found.text
    assert "Requests: 2 (+100 % against the period before)" in found.text
    assert "\nBcc" not in found.text
    assert (
        f"https://gateway.example.org/admin/usage/?measure=cost&group=model&team={team.pk}&from=2026-10-01"
        in found.text
    )


def test_further_models_are_one_row_and_the_rows_add_up(
    recorded: Callable[..., UsageRecord], team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keys.statements.statement.SHOWN", 2)
    for i in range(5):
        recorded(created_at=NOVEMBER - timedelta(days=1), model=f"claude-{i}", input_tokens=1000 * (i + 1))

    found = statement(team, StatementPeriod.ended_before("month", NOVEMBER))

    assert [row.name for row in found.models] == ["claude-4", "claude-3", "All others"]
    assert sum(row.totals.cost_picos for row in found.models) == found.total.cost_picos


@pytest.mark.parametrize(
    "now, is_queued",
    [
        ("2026-11-01T05:59Z", False),
        ("2026-11-01T06:00Z", True),
        ("2026-11-05T23:00Z", True),
        ("2026-11-06T01:00Z", False),  # asked for later: the next one
    ],
)
def test_a_statement_is_queued_once_after_its_period(team: Team, now: str, is_queued: bool) -> None:
    with time_machine.travel(now, tick=False):
        assert scheduling.queue_due() == int(is_queued)
        assert scheduling.queue_due() == 0

    assert Notification.objects.count() == int(is_queued)


def test_a_statement_is_sent_to_the_team_and_not_to_the_webhook(team: Team, settings: Any) -> None:
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:9/never"
    Team.objects.create(name="without an address", statement="week")
    Team.objects.create(name="without a statement", email="other@example.org")
    with time_machine.travel("2026-11-02T08:00Z", tick=False):
        scheduling.queue_due()
        delivery.send_pending()

    [message] = mail.outbox
    assert message.to == ["search@example.org"]
    assert "October 2026" in message.subject
    assert "\n" not in message.subject
    assert Notification.objects.get().last_error == ""


def test_a_statement_needs_an_email() -> None:
    with pytest.raises(ValidationError, match="receives the statements"):
        Team(name="search", statement="month").full_clean(validate_unique=False)
