"""
The statement that writes when secrets were last used: one per transaction.

By hand, as `record_writer`: a busy worker settles requests of hundreds of keys in one transaction.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from keys.models import KeySecret
from keys.usage.backlog import LAST_USED_INTERVAL, backlog
from lib import direct_sql, sqlite_times

_SECRETS = KeySecret._meta.db_table
_UPDATE = {
    "sqlite": (
        f'UPDATE "{_SECRETS}" AS s SET "last_used_at" = json_extract(value, \'$[1]\') FROM json_each(?) '
        "WHERE s.\"id\" = json_extract(value, '$[0]') "
        'AND (s."last_used_at" IS NULL OR s."last_used_at" < json_extract(value, \'$[2]\'))'
    ),
    # Locked in the order of their IDs, so that no two transactions deadlock.
    "postgresql": (
        f'UPDATE "{_SECRETS}" AS s SET "last_used_at" = used.at FROM ('
        'SELECT stale."id", (value ->> 1)::timestamptz AS at FROM json_array_elements(%s::json) '
        f'JOIN "{_SECRETS}" stale ON stale."id" = (value ->> 0)::bigint '
        'WHERE stale."last_used_at" IS NULL OR stale."last_used_at" < (value ->> 2)::timestamptz '
        'ORDER BY stale."id" FOR NO KEY UPDATE OF stale) used WHERE s."id" = used."id"'
    ),
}


def write(last_uses: Mapping[int, datetime], connection: BaseDatabaseWrapper) -> None:
    """Write the times at which secrets were used, given by their IDs, except for those that were written just before.

    A process writes a secret every LAST_USED_INTERVAL at most.
    """
    is_sqlite = connection.vendor == "sqlite"
    rows: list[tuple[int, Any, Any]] = []
    for secret_id, used_at in last_uses.items():
        if backlog.should_write_last_used(secret_id, used_at):
            times = (used_at, used_at - LAST_USED_INTERVAL)
            rows.append((secret_id, *(map(sqlite_times.to_text, times) if is_sqlite else times)))
    if rows:
        direct_sql.execute(connection, _UPDATE[connection.vendor], [direct_sql.rows_as_json(rows)])
