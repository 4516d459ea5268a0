"""Partitions of the usage records: PostgreSQL alone. On SQLite the command says so and changes nothing."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, models
from django.db.models import ForeignKey

from keys.models import APIKey, UsageRecord
from keys.usage import ledger, record_table
from keys.usage.rows import Settlement
from tests.support.usage_rows import SETTLEMENT, UsageRecorder, admission_of

IS_POSTGRES = connection.vendor == "postgresql"


def run(*arguments: str) -> list[str]:
    stdout = io.StringIO()
    call_command("partition_usage", *arguments, stdout=stdout)
    return stdout.getvalue().splitlines()


def places() -> dict[str, str]:
    """Return the partition of each record."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, tableoid::regclass::text FROM {record_table.TABLE}")
        return dict(cursor.fetchall())


def is_constrained(field: Any) -> bool:
    """Return whether the database has a constraint for a foreign key."""
    return bool(field.db_constraint)


def test_no_foreign_key_refers_to_usage_records() -> None:
    """The ID alone is no key of a partitioned table."""
    fields = (field for model in apps.get_models() for field in model._meta.get_fields())
    found = [
        str(field)
        for field in fields
        if isinstance(field, ForeignKey) and field.related_model is UsageRecord and is_constrained(field)
    ]

    assert found == []


def test_sqlite_has_no_partitions(quiet_ledger: None) -> None:
    if IS_POSTGRES:
        return
    with pytest.raises(CommandError, match=r"Only PostgreSQL partitions tables\."):
        run()
    assert record_table.create_coming() == []


def test_a_conversion_keeps_records_indexes_and_constraints(record_table_form: str, owner: User) -> None:
    if record_table_form == "plain":
        assert record_table.create_coming() == []
        return
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, record_table.TABLE)
    expected = {each.name for each in [*UsageRecord._meta.indexes, *UsageRecord._meta.constraints]}
    foreign_keys = {tuple(each["columns"]) for each in constraints.values() if each["foreign_key"]}

    assert expected <= constraints.keys()
    assert [each["columns"] for each in constraints.values() if each["primary_key"]] == [["id", "created_at"]]
    constrained = (field for field in UsageRecord._meta.concrete_fields if isinstance(field, models.ForeignKey))
    assert foreign_keys == {(field.attname,) for field in constrained if is_constrained(field)}


def test_records_are_in_the_partition_of_their_month(record_table_form: str, owner: User) -> None:
    if record_table_form == "plain":
        return
    record = UsageRecorder(APIKey.objects.issue(name="app", owner=owner)[0]).record
    now = datetime.now(UTC)
    this, early = record(created_at=now), record(created_at=datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC))
    late = record(created_at=datetime(now.year + 1, now.month, 2, tzinfo=UTC))
    default = record_table.DEFAULT
    assert places() == {this.pk: f"{record_table.TABLE}_{now:%Y_%m}", early.pk: default, late.pk: default}

    created = run("--months", "13")

    month_of_late = f"{record_table.TABLE}_{now.year + 1}_{now:%m}"
    assert month_of_late in created
    assert places()[late.pk] == month_of_late and places()[early.pk] == default
    assert run("--months", "13") == ["All partitions exist."]


def test_the_table_is_partitioned_while_the_ledger_writes(
    quiet_ledger: None, record_table_form: str, owner: User
) -> None:
    """The form that the ledger has noted is wrong once, in both directions."""
    if not IS_POSTGRES:
        return
    api_key = APIKey.objects.issue(name="app", owner=owner)[0]
    for noted in (False, True):
        record_table._is_partitioned = noted
        admission = admission_of(api_key, created_at=datetime.now(UTC) - timedelta(days=40))
        ledger.admit(admission)
        record_table._is_partitioned = noted
        ledger.settle(admission, Settlement(**SETTLEMENT))

    assert set(UsageRecord.objects.values_list("status", flat=True)) == {"completed"}


def test_a_conversion_copies_every_record(plain_again: None, owner: User) -> None:
    record = UsageRecorder(APIKey.objects.issue(name="app", owner=owner)[0]).record
    for month in (1, 2, 5):
        record(created_at=datetime(2026, month, 3, tzinfo=UTC), tags={"a": "b"})
    record(status="rejected")
    before = list(UsageRecord.objects.order_by("pk").values())
    if not IS_POSTGRES:
        return
    record_table.partition()

    assert list(UsageRecord.objects.order_by("pk").values()) == before
    assert {f"{record_table.TABLE}_2026_0{month}" for month in (1, 2, 5)} <= set(places().values())
    with pytest.raises(record_table.NotPartitionable, match="partitioned already"):
        record_table.partition()
