"""
Corrections of settled records: other amounts, in one transaction with the differences in rollups and budgets.

It takes its locks in the order of settlements: budget periods, records, rollups. A record that is being written by
another transaction fails the correction, which is repeated later, so that neither can wait for the other.
"""

from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection

from keys.budgets.locked_periods import LockedPeriods
from keys.models import UsageRecord
from keys.models.usage import AMOUNT_COLUMNS
from keys.pricing.rerating import RATED_COLUMNS, Amounts, amounts_of, columns_of
from keys.usage import figures_checksum
from keys.usage.hourly_rollup import RollupWriter
from keys.usage.rows import Row, Status

_READ = [column.attname for column in UsageRecord._meta.concrete_fields]
_WRITTEN: dict[str, Any] = {
    name: UsageRecord._meta.get_field(name) for name in (*RATED_COLUMNS, "interruption", "figures_checksum")
}
Change = Callable[[Row], Amounts | None]
"""Returns the new amounts of a record, or None if it keeps its own."""


def correct(ids: Sequence[str], change: Change, *, is_last_attempt: bool = False) -> list[tuple[Row, Amounts]]:
    """Give records other amounts. Return those that change, as they were, with their new amounts.

    To be called in a transaction. Raise OperationalError if a record is being written, or PeriodsMoved.
    """
    records = UsageRecord.objects.filter(pk__in=ids).order_by()
    periods = LockedPeriods(
        connection=connection,
        required=[],
        reserved=[
            (budget_id, created_at)
            for created_at, reservations in records.values_list("created_at", "reservations")
            for budget_id, _ in reservations
        ],
        is_last_attempt=is_last_attempt,
    )
    rollups = RollupWriter(connection)
    corrected = []
    for row in records.order_by("pk").select_for_update(nowait=True).values(*_READ):
        amounts = change(row)
        if amounts is None or amounts == amounts_of(row):
            continue
        new = _corrected(row, amounts)
        rollups.subtract(row)
        rollups.add(new)
        picos = (new["cost_usd_picos"] or 0) - (row["cost_usd_picos"] or 0)
        uncharged = [[budget_id, 0] for budget_id, _ in row["reservations"]]
        periods.settle(uncharged, at=row["created_at"], picos=picos, tokens=0)
        corrected.append((row, new))
    _write([new for _, new in corrected])
    periods.close()
    rollups.close()
    return [(row, amounts_of(new)) for row, new in corrected]


def _corrected(row: Row, amounts: Amounts) -> Row:
    """Return the record with other amounts. An interrupted one is counted as them until it is really settled."""
    new = row | columns_of(amounts)
    if row["status"] == Status.INTERRUPTED and row["interruption"] is not None:
        counted = {name: value for name, value in row["interruption"].items() if name not in AMOUNT_COLUMNS}
        known = {name: new[name] for name in AMOUNT_COLUMNS if new[name] is not None}
        new["interruption"] = counted | known
    if row["figures_checksum"] and figures_checksum.is_valid(row):  # a changed record must stay detectable
        new["figures_checksum"] = figures_checksum.checksum(new)
    return new


def _write(rows: Sequence[Row]) -> None:
    if not rows:
        return
    columns = ", ".join(f'"{item.column}" = %s' for item in _WRITTEN.values())
    # With the time, by which a partitioned table finds the partition.
    sql = f'UPDATE "{UsageRecord._meta.db_table}" SET {columns} WHERE "id" = %s AND "created_at" = %s'
    created_at: Any = UsageRecord._meta.get_field("created_at")
    with connection.cursor() as cursor:
        cursor.executemany(
            sql,
            [
                [
                    *(item.get_db_prep_save(row[name], connection) for name, item in _WRITTEN.items()),
                    row["id"],
                    created_at.get_db_prep_save(row["created_at"], connection),
                ]
                for row in rows
            ],
        )
