"""
The statements that lock budget periods and write their amounts: one of each per transaction.

By hand, since the ORM takes ten times as long as the database. On SQLite each row is a turn of the interpreter's lock,
for which the threads of a busy worker wait: all rows are one value, as JSON.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from keys.domain.budget_amounts import BudgetAmount, PeriodAmounts
from keys.models import Budget, BudgetPeriod
from lib import direct_sql, sqlite_times


@dataclass(slots=True)
class LockedBudget(BudgetAmount):
    """A budget as it was when its period was locked."""

    id: int
    period: str
    unit: str
    alert_threshold_percent: int | None
    amount: int
    temporary_increase: int
    temporary_increase_until: datetime | None


@dataclass(slots=True)
class LockedPeriod(PeriodAmounts):
    """A locked period. Its amounts are the columns of the model."""

    id: int
    starts_at: datetime
    ends_at: datetime
    alerted_at: datetime | None
    spent: int
    spent_rest_picos: int
    reserved: int
    budget: LockedBudget

    @property
    def budget_id(self) -> int:
        return self.budget.id


_PERIODS, _BUDGETS = BudgetPeriod._meta.db_table, Budget._meta.db_table
_OF_PERIOD = ("id", "starts_at", "ends_at", "alerted_at", "spent", "spent_rest_picos", "reserved")
_OF_BUDGET = (
    "id",
    "period",
    "unit",
    "alert_threshold_percent",
    "amount",
    "temporary_increase",
    "temporary_increase_until",
)
_COLUMNS = ", ".join([*(f'p."{name}"' for name in _OF_PERIOD), *(f'b."{name}"' for name in _OF_BUDGET)])
_TIMES = [position for position, name in enumerate((*_OF_PERIOD, *_OF_BUDGET)) if name.endswith(("_at", "_until"))]
_JOIN = (
    f'JOIN "{_PERIODS}" p ON p."budget_id" = needed.budget_id AND p."ends_at" > needed.after '
    f'JOIN "{_BUDGETS}" b ON b."id" = p."budget_id"'
)
_SELECT = {
    "sqlite": (
        f"SELECT json_group_array(json_array({_COLUMNS})) FROM (SELECT json_extract(value, '$[0]') AS budget_id, "
        f"json_extract(value, '$[1]') AS after FROM json_each(?)) needed {_JOIN}"
    ),
    # Locked in the order of their IDs.
    "postgresql": (
        f"SELECT {_COLUMNS} FROM (SELECT (value ->> 0)::bigint AS budget_id, (value ->> 1)::timestamptz AS after "
        f'FROM json_array_elements(%s::json)) needed {_JOIN} ORDER BY p."id" FOR UPDATE OF p'
    ),
}
_AMOUNTS = ("spent", "spent_rest_picos", "reserved")
_UPDATE = {
    "sqlite": (
        f'UPDATE "{_PERIODS}" AS p SET "alerted_at" = json_extract(value, \'$[1]\'), '
        + ", ".join(f"\"{name}\" = json_extract(value, '$[{number}]')" for number, name in enumerate(_AMOUNTS, 2))
        + " FROM json_each(?) WHERE p.\"id\" = json_extract(value, '$[0]')"
    ),
    "postgresql": (
        f'UPDATE "{_PERIODS}" AS p SET "alerted_at" = (value ->> 1)::timestamptz, '
        + ", ".join(f'"{name}" = (value ->> {number})::bigint' for number, name in enumerate(_AMOUNTS, 2))
        + ' FROM json_array_elements(%s::json) WHERE p."id" = (value ->> 0)::bigint'
    ),
}


def lock(connection: BaseDatabaseWrapper, needed: Mapping[int, datetime]) -> list[LockedPeriod]:
    """Lock the periods of budgets that end after a moment, given by budget. Return them in the order of their IDs."""
    parameter = direct_sql.rows_as_json([(id, _stored(after, connection)) for id, after in needed.items()])
    found: list[Any] = direct_sql.fetch(connection, _SELECT[connection.vendor], [parameter])
    if connection.vendor == "sqlite":
        found = sorted(json.loads(found[0][0]))
        for row in found:
            for position in _TIMES:
                if row[position] is not None:
                    row[position] = sqlite_times.from_text(row[position])
    size = len(_OF_PERIOD)
    return [LockedPeriod(*[*row[:size], LockedBudget(*row[size:])]) for row in found]


def write(connection: BaseDatabaseWrapper, rows: Iterable[LockedPeriod]) -> None:
    """Write the amounts of locked periods."""
    values = [
        (row.id, _stored(row.alerted_at, connection), row.spent, row.spent_rest_picos, row.reserved) for row in rows
    ]
    direct_sql.execute(connection, _UPDATE[connection.vendor], [direct_sql.rows_as_json(values)])


def _stored(moment: datetime | None, connection: BaseDatabaseWrapper) -> datetime | str | None:
    return sqlite_times.to_text(moment) if moment is not None and connection.vendor == "sqlite" else moment
