"""The keyed checksum of a record's figures: written at each settlement, and wrong after any change by hand."""

import timeit
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Q

from keys.models import APIKey, UsageRecord
from keys.usage import figures_checksum, ledger, recovery, rows, statements
from keys.usage.rows import Settlement
from tests.support.usage_rows import SETTLEMENT, UsageRecorder, admission_of

FULL: dict[str, Any] = SETTLEMENT | {"cache_write_1h_tokens": 7, "error_type": "api_error", "message_id": "msg_ä"}


@pytest.fixture
def record(quiet_ledger: None, owner: User) -> Callable[..., UsageRecord]:
    return UsageRecorder(APIKey.objects.issue(name="app", owner=owner)[0]).record


def stored(**conditions: Any) -> dict[str, Any]:
    return dict(UsageRecord.objects.filter(**conditions).values().get())


def is_valid(**conditions: Any) -> bool:
    return figures_checksum.is_valid(stored(**conditions))


def test_every_settled_record_has_one(record: Callable[..., UsageRecord]) -> None:
    created_at = datetime(2026, 7, 1, 12, 0, 0, 123457, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    record(created_at=created_at, tags={"b": "2", "a": "1"}, session_id="s", streamed=True, **FULL)
    record(status="failed", input_tokens=None, usage_source="none")
    record(status="rejected")

    assert [figures_checksum.is_valid(row) for row in UsageRecord.objects.values()] == [True] * 3


def test_an_open_record_has_none(record: Callable[..., UsageRecord]) -> None:
    assert record(status="started").figures_checksum == ""


def test_interruptions_late_settlements_and_replayed_rows_have_one(quiet_ledger: None, owner: User) -> None:
    api_key = APIKey.objects.issue(name="app", owner=owner)[0]
    first, second = admission_of(api_key), admission_of(api_key)
    ledger.admit(first)
    ledger.admit(second)
    recovery.settle_orphans(Q())
    assert is_valid(pk=first.id) and is_valid(pk=second.id)

    statements.settle_rows([statements.closed(first, Settlement(**FULL))])
    spooled = rows.to_json(statements.closed(second, Settlement(**FULL)))
    statements.settle_rows([rows.from_json(spooled)])

    assert stored(pk=first.id)["status"] == stored(pk=second.id)["status"] == "completed"
    assert is_valid(pk=first.id) and is_valid(pk=second.id)


def other_value(field: "models.Field[Any, Any]", value: Any) -> Any:
    if isinstance(field, models.ForeignKey):
        return 1 if value is None else None
    if isinstance(field, models.DateTimeField):
        return value + timedelta(microseconds=1)
    if isinstance(field, models.DecimalField):
        return Decimal("0.9000")
    if isinstance(field, models.JSONField):
        return {"a": 2}
    if isinstance(field, models.BooleanField):
        return not value
    return f"{value}x" if isinstance(field, models.CharField) else (value or 0) + 1


def test_a_change_of_any_figure_is_found(record: Callable[..., UsageRecord]) -> None:
    record(**FULL)
    row = stored()

    unnoticed = [
        field.attname
        for field in UsageRecord._meta.concrete_fields
        if figures_checksum.is_valid(row | {field.attname: other_value(field, row[field.attname])})
    ]

    assert sorted(unnoticed) == sorted(set(figures_checksum.NOT_FIGURES) - {"figures_checksum"})


def test_values_cannot_move_between_columns(record: Callable[..., UsageRecord]) -> None:
    record(**FULL)
    row = stored()

    assert not figures_checksum.is_valid(
        row | {"input_tokens": row["output_tokens"], "output_tokens": row["input_tokens"]}
    )
    assert not figures_checksum.is_valid(row | {"figures_checksum": ""})


def test_a_checksum_is_valid_as_long_as_its_pepper_is(record: Callable[..., UsageRecord], settings: Any) -> None:
    record()
    row, old = stored(), settings.API_KEY_PEPPERS[0]

    settings.API_KEY_PEPPERS = ["new", old]
    assert figures_checksum.is_valid(row) and not figures_checksum.is_current(row)
    settings.API_KEY_PEPPERS = ["new"]
    assert not figures_checksum.is_valid(row)


def test_the_form_of_a_value_does_not_matter() -> None:
    at = datetime(2026, 7, 1, tzinfo=UTC)
    row = {"created_at": at, "price_factor": Decimal("0.9"), "tags": {"a": "1", "b": "2"}}
    same = {
        "created_at": at.astimezone(timezone(timedelta(hours=1))),
        "price_factor": Decimal("0.9000"),
        "tags": {"b": "2", "a": "1"},
    }

    assert figures_checksum.checksum(row) == figures_checksum.checksum(same)


def test_it_is_cheap(quiet_ledger: None, owner: User) -> None:
    """Every settlement makes one: it took 9 µs."""
    admission = admission_of(APIKey.objects.issue(name="app", owner=owner)[0], session_id="s" * 40, tags={"team": "a"})
    row = rows.closed(admission, replace(Settlement(**FULL), price_id=1), boot_id="b")

    fastest_s = min(timeit.repeat(lambda: figures_checksum.checksum(row), number=500, repeat=9)) / 500

    assert fastest_s < 40e-6  # a busy machine is slower
