"""The usage records of a generated year, written by the database itself from the sessions, and their hourly rollups."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import CharField, Count, DateTimeField, IntegerField, Value
from django.db.models.expressions import RawSQL

from bench.pages.year_sessions import INTERLEAVED, REQUESTS_OF_SESSION
from keys.models import HourlyLatency, HourlyUsage, UsageRecord
from keys.models.usage import ROLLUP_DIMENSIONS
from keys.usage import rollup_figures
from keys.usage.column_values import EMPTY
from keys.usage.hourly_rollup import DIMENSIONS, LATENCIES, MEASURES

CHUNK = 250_000
RECORDS = UsageRecord._meta.db_table
BLOCK = INTERLEAVED * REQUESTS_OF_SESSION

_LIKELY = {
    # Of 1,000 requests: up to which number they have which status and error type.
    940: ("completed", ""),
    948: ("failed", "overloaded_error"),
    954: ("failed", "api_error"),
    958: ("failed", "timeout_error"),
    962: ("failed", "invalid_request_error"),
    977: ("client_closed", ""),
    980: ("client_stalled", ""),
    982: ("interrupted", ""),
    996: ("rejected", "rate_limit_error"),
    999: ("rejected", "billing_error"),
    1000: ("rejected", "permission_error"),
}


def write(count: int, begin: datetime, end: datetime) -> Iterator[int]:
    """Write the records in the order of time. Yield how many are written."""
    is_postgresql = connection.vendor == "postgresql"
    indexes = _drop_indexes() if is_postgresql else []
    sql = _sql(is_postgresql)
    for first in range(0, count, CHUNK):
        last = min(first + CHUNK, count)
        values = {
            "first": first,
            "last": last,
            "begin": begin.timestamp(),
            "step": (end - begin).total_seconds() / count,
        }
        with transaction.atomic(), connection.cursor() as cursor:
            if is_postgresql:
                cursor.execute("SET LOCAL session_replication_role = replica")  # foreign keys are not checked
            cursor.execute(sql, values)
        yield last
    with connection.cursor() as cursor:
        for statement in indexes:
            cursor.execute(statement)
        cursor.execute("ANALYZE")


def _drop_indexes() -> list[str]:
    """Drop the indexes of the records, and return the statements that create them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
            f"WHERE indrelid = '{RECORDS}'::regclass AND NOT indisprimary"
        )
        found = cursor.fetchall()
        for name, _ in found:
            cursor.execute(f"DROP INDEX {name}")
        return [definition for _, definition in found]


def _case(position: int) -> str:
    conditions = " ".join(f"WHEN outcome < {limit} THEN '{pair[position]}'" for limit, pair in _LIKELY.items())
    return f"CASE {conditions} END"


def _sql(is_postgresql: bool) -> str:
    """Return the statement that writes a chunk. Numbers `u1` to `u6` are random, from 0 to 1."""
    if is_postgresql:
        numbers = "SELECT i FROM generate_series(%(first)s::bigint, %(last)s::bigint - 1) i"
        random, whole = "random()", "floor({})::bigint"
        moment, id = "to_timestamp({})", "'req_' || lpad(i::text, 32, '0')"
        true, json = "true", "::jsonb"
    else:
        numbers = (
            "WITH RECURSIVE n(i) AS (SELECT %(first)s UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %(last)s) "
            "SELECT i FROM n"
        )
        random, whole = "(abs(random() %% 1000000) / 1000000.0)", "CAST({} AS INTEGER)"
        moment, id = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', {}, 'unixepoch')", "printf('req_%%032d', i)"
        true, json = "1", ""
    served = "status <> 'rejected'"
    columns = {
        "id": id,
        "created_at": moment.format("at"),
        "settled_at": moment.format("at + duration / 1000.0"),
        "lease_expires_at": moment.format("at + 600"),
        "status": "status",
        "error_type": "error_type",
        "http_status": "CASE status WHEN 'completed' THEN 200 WHEN 'rejected' THEN 429 WHEN 'failed' THEN 502 END",
        "api_key_id": "api_key_id",
        "secret_id": "secret_id",
        "team_id": "team_id",
        "owner_id": "owner_id",
        "api_format": "api_format",
        "model": "model",
        "is_model_known": true,
        "streamed": "u1 < 0.7" if is_postgresql else "(u1 < 0.7)",
        "session_id": "session_id",
        "agent_id": "agent_id",
        "tags": f"tags{json}",
        "attempts": f"'[{{\"upstream\": \"main\", \"status\": 200}}]'{json}",
        "reservations": f"'[]'{json}",
        "upstream": f"CASE WHEN NOT ({served}) THEN '' WHEN u2 < 0.95 THEN upstream ELSE fallback END",
        "upstream_model": f"CASE WHEN NOT ({served}) THEN '' WHEN u2 < 0.95 THEN model ELSE model || '-fallback' END",
        "served_model": "model",
        "usage_source": f"CASE WHEN NOT ({served}) THEN '' WHEN status = 'completed' THEN 'reported' "
        "WHEN status = 'failed' THEN 'none' WHEN status = 'interrupted' THEN 'estimated' ELSE 'partial' END",
        "input_tokens": f"CASE WHEN {served} THEN input END",
        "output_tokens": f"CASE WHEN {served} THEN output END",
        "cache_read_tokens": f"CASE WHEN {served} AND u3 < 0.4 THEN 3 * input END",
        "cost_usd_picos": f"CASE WHEN {served} THEN input * input_picos + output * output_picos END",
        "cache_savings_usd_picos": f"CASE WHEN {served} AND u3 < 0.4 THEN 2 * input * input_picos END",
        "price_id": f"CASE WHEN {served} THEN price_id END",
        "ttft_ms": f"CASE WHEN {served} AND u1 < 0.7 THEN {whole.format('duration / 4')} END",
        "duration_ms": f"CASE WHEN {served} THEN {whole.format('duration')} END",
        "boot_id": "'bench'",
    }  # fmt: skip
    columns = {name: "''" for name, value in EMPTY.items() if value == "" and name not in columns} | columns
    columns = {
        name: "false" if is_postgresql else "0"
        for name, value in EMPTY.items()
        if isinstance(value, bool) and name not in columns
    } | columns
    randoms = ", ".join(f"{random} AS u{n}" for n in range(1, 7))
    return (
        f"INSERT INTO {RECORDS} ({', '.join(columns)}) "
        f"WITH numbers AS MATERIALIZED (SELECT i, {randoms} FROM ({numbers}) t), "
        "figures AS MATERIALIZED ("
        f"SELECT n.*, s.*, %(begin)s + (i + u6) * %(step)s AS at, {whole.format('u4 * 1000')} AS outcome, "
        f"{whole.format('50 + u3 * u5 * 8000')} AS input, {whole.format('5 + u1 * u5 * 1500')} AS output, "
        "base_ms / (0.08 + u5) AS duration "
        f"FROM numbers n JOIN bench_session s ON s.number = (i / {BLOCK}) * {INTERLEAVED} + i %% {INTERLEAVED}), "
        f"requests AS (SELECT *, {_case(0)} AS status, {_case(1)} AS error_type FROM figures) "
        f"SELECT {', '.join(columns.values())} FROM requests ORDER BY i"
    )


# ---- Hourly rollups of all records, in one statement for each table and month.


def roll_up(begin: datetime, end: datetime) -> None:
    """Write the hourly rollups of the records, and their histograms."""
    moment = begin.replace(minute=0, second=0, microsecond=0)
    while moment < end:
        following = min(moment + timedelta(days=7), end)
        records = UsageRecord.objects.filter(created_at__gte=moment, created_at__lt=following).order_by()
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL enable_nestloop = off")  # the statistics do not know the new rows
            _roll_up(records, moment, following)
        moment = following


def _roll_up(records: Any, begin: datetime, end: datetime) -> None:
    of_records = records.annotate(of_hour=_hour(), **{f"of_{name}": each for name, each in ROLLUP_DIMENSIONS.items()})
    names = [f"of_{name}" for name in DIMENSIONS]
    sums = {f"{name}_sum": rollup_figures._AGGREGATES[name] for name in MEASURES}
    rows = of_records.values(*names).annotate(**sums).values_list(*names, *sums).order_by("of_hour")
    _insert_from(HourlyUsage._meta.db_table, [*DIMENSIONS, *MEASURES], rows)
    for measure in LATENCIES:
        _insert_latencies(of_records, measure, names, begin, end)


def _insert_latencies(of_records: Any, measure: str, names: list[str], begin: datetime, end: datetime) -> None:
    bucket = RawSQL(rollup_figures._bucket_sql(measure), [], output_field=IntegerField())
    with_latency = of_records.filter(**{f"{measure}__isnull": False})
    subject = [*names, "measure", "bucket"]
    rows = (
        with_latency.annotate(measure=Value(measure, output_field=CharField()), bucket=bucket)
        .values(*subject)
        .annotate(number=Count("id"))
        .values_list(*subject, "number")
    )
    sql, values = rows.query.sql_with_params()
    aliases = [*(f"d{n}" for n in range(len(names))), "measure", "bucket", "number"]
    is_same = " AND ".join(f'h."{name}" = l."d{n}"' for n, name in enumerate(DIMENSIONS))
    moments = [connection.ops.adapt_datetimefield_value(each) for each in (begin, end)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH l ({', '.join(aliases)}) AS MATERIALIZED ({sql}) "
            f"INSERT INTO {HourlyLatency._meta.db_table} (hourly_usage_id, measure, bucket, requests) "
            f"SELECT h.id, l.measure, l.bucket, l.number FROM l JOIN {HourlyUsage._meta.db_table} h ON {is_same} "
            "WHERE h.hour >= %s AND h.hour < %s ORDER BY 1, 2, 3",
            (*values, *moments),
        )


def _hour() -> Any:
    if connection.vendor == "postgresql":
        sql = "date_trunc('hour', created_at)"
    else:
        sql = "substr(created_at, 1, 13) || ':00:00'"
    return RawSQL(sql, [], output_field=DateTimeField())


def _insert_from(table: str, columns: list[str], rows: Any) -> None:
    sql, values = rows.query.sql_with_params()
    names = ", ".join(f'"{name}"' for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(f'INSERT INTO "{table}" ({names}) {sql}', values)
