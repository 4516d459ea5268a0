"""The statements that make the rollups of a day from its hours, and those of a month from its days."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Model

from keys.models import (
    BuiltPeriod,
    DailyKeyLatency,
    DailyLatency,
    DailyModelLatency,
    DailyUsage,
    HourlyLatency,
    HourlyUsage,
    MonthlyKeyLatency,
    MonthlyLatency,
    MonthlyModelLatency,
    MonthlyUsage,
)
from keys.usage.rollup_statements import DIMENSIONS, MEASURES

SUBJECT = tuple(name for name in DIMENSIONS if name != "hour")
"""The dimensions besides the period."""
_BAR = ("measure", "bucket")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of rollups, and that of their histograms."""

    rollups: str
    column: str
    latencies: str
    rollup_id: str


def _table(rollups: type[Model], column: str, latencies: type[Model], rollup_id: str) -> Table:
    return Table(rollups=rollups._meta.db_table, column=column, latencies=latencies._meta.db_table, rollup_id=rollup_id)


_HOURS = _table(HourlyUsage, "hour", HourlyLatency, "hourly_usage_id")
_DAYS = _table(DailyUsage, "day", DailyLatency, "daily_usage_id")
_MONTHS = _table(MonthlyUsage, "month", MonthlyLatency, "monthly_usage_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class CoarseTier:
    """The tables of a tier, and those that they are made of."""

    tier: str
    made: Table
    source: Table
    without_some: tuple[type[Model], ...]
    """Histograms without some dimensions."""


TIERS = {
    each.tier: each
    for each in (
        CoarseTier(
            tier=BuiltPeriod.Tier.DAY, made=_DAYS, source=_HOURS, without_some=(DailyModelLatency, DailyKeyLatency)
        ),
        CoarseTier(
            tier=BuiltPeriod.Tier.MONTH,
            made=_MONTHS,
            source=_DAYS,
            without_some=(MonthlyModelLatency, MonthlyKeyLatency),
        ),
    )
}


def build(tier: CoarseTier, begin: datetime, end: datetime) -> None:
    """Write the rollups of a period instead of those that it has."""
    if connection.vendor == "postgresql":
        # The statistics do not know the rows that are written here: a loop over them took a minute for a month.
        _execute("SET LOCAL enable_nestloop = off")
    for sql in (
        *_deletions(tier),
        _sums(tier),
        _latencies(tier),
        *(_smaller(tier, each) for each in tier.without_some),
    ):
        _execute(sql, begin=begin, end=end)


def _execute(sql: str, **moments: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, _adapted(moments))


def _adapted(moments: dict[str, datetime]) -> dict[str, Any]:
    return {name: connection.ops.adapt_datetimefield_value(each) for name, each in moments.items()}


def _deletions(tier: CoarseTier) -> Iterator[str]:
    """Yield the statements that delete the rollups of a period, and those of another time zone that begin in it."""
    made = tier.made
    within = _within(made.column)
    rollups = f'WITH chosen AS MATERIALIZED (SELECT "id" FROM "{made.rollups}" WHERE {within})'
    in_range = _in_range(made.rollup_id, "id", "chosen")
    of_rollups = f'"{made.rollup_id}" IN (SELECT "id" FROM chosen)'
    yield f'{rollups} DELETE FROM "{made.latencies}" WHERE {in_range} AND {of_rollups}'
    yield f'DELETE FROM "{made.rollups}" WHERE {within}'
    for each in tier.without_some:
        yield f'DELETE FROM "{each._meta.db_table}" WHERE {within}'


def _within(column: str) -> str:
    return f'"{column}" >= %(begin)s AND "{column}" < %(end)s'


def _in_range(column: str, id: str, rollups: str) -> str:
    """Return the condition that a column is within the IDs of rollups.

    Redundant, and for the planner: those of a period are written together, and a plan without this condition reads the
    histograms of all periods where the statistics do not know the latest ones yet (5 s instead of 0.2 s for a day).
    """
    return f"{column} BETWEEN (SELECT MIN({id}) FROM {rollups}) AND (SELECT MAX({id}) FROM {rollups})"


def _sums(tier: CoarseTier) -> str:
    made, source = tier.made, tier.source
    return (
        f'INSERT INTO "{made.rollups}" ("{made.column}", {_quoted(SUBJECT)}, {_quoted(MEASURES)}) '
        f"SELECT {_moment()}, {_quoted(SUBJECT)}, {_summed(MEASURES)} "
        f'FROM "{source.rollups}" WHERE {_within(source.column)} GROUP BY {_quoted(SUBJECT)}'
    )


def _latencies(tier: CoarseTier) -> str:
    """Return the statement that adds up the histograms of the source for each rollup."""
    made, source = tier.made, tier.source
    is_same = " AND ".join(f'm."{name}" = s."{name}"' for name in SUBJECT)
    return (
        # Materialized: the planner does not know the rollups that were just written.
        "WITH pairs AS MATERIALIZED ("
        f'SELECT s."id" AS source_id, m."id" AS made_id FROM "{source.rollups}" s '
        f'JOIN "{made.rollups}" m ON m."{made.column}" = {_moment()} AND {is_same} WHERE {_within_of("s", source)}) '
        f'INSERT INTO "{made.latencies}" ("{made.rollup_id}", {_quoted(_BAR)}, "requests") '
        f'SELECT pairs.made_id, {_quoted(_BAR)}, SUM(l."requests") FROM pairs '
        f'JOIN "{source.latencies}" l ON l."{source.rollup_id}" = pairs.source_id '
        f"WHERE {_in_range(f'l.{source.rollup_id}', 'source_id', 'pairs')} "
        f'GROUP BY pairs.made_id, {_quoted(_BAR)} HAVING SUM(l."requests") <> 0'
    )


def _smaller(tier: CoarseTier, model: type[Model]) -> str:
    """Return the statement that adds up the histograms of a period over the dimensions that a table lacks."""
    made, subject = tier.made, kept_by(model)
    of_rollups = ", ".join(f'm."{name}"' for name in subject)
    return (
        f'WITH chosen AS MATERIALIZED (SELECT * FROM "{made.rollups}" m WHERE {_within_of("m", made)}) '
        f'INSERT INTO "{model._meta.db_table}" ("{made.column}", {_quoted(subject)}, {_quoted(_BAR)}, "requests") '
        f'SELECT {_moment()}, {of_rollups}, {_quoted(_BAR)}, SUM(l."requests") FROM chosen m '
        f'JOIN "{made.latencies}" l ON l."{made.rollup_id}" = m."id" '
        f"WHERE {_in_range(f'l.{made.rollup_id}', 'id', 'chosen')} "
        f"GROUP BY {of_rollups}, {_quoted(_BAR)}"
    )


def kept_by(model: type[Model]) -> list[str]:
    """Return the dimensions that a table of histograms has."""
    columns = {each.attname for each in model._meta.concrete_fields}
    return [name for name in SUBJECT if name in columns]


def _within_of(alias: str, table: Table) -> str:
    return f'{alias}."{table.column}" >= %(begin)s AND {alias}."{table.column}" < %(end)s'


def _moment(name: str = "begin") -> str:
    return f"%({name})s" + ("::timestamptz" if connection.vendor == "postgresql" else "")


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _summed(names: Sequence[str]) -> str:
    return ", ".join(f'SUM("{name}")' for name in names)


# ---- Retention.


def merge_hours(begin: datetime, end: datetime, noon: datetime) -> None:
    """Replace the hourly rollups of a day with those of the day, as one hour."""
    hours, days = _HOURS, _DAYS
    sums = (
        f'INSERT INTO "{hours.rollups}" ("{hours.column}", {_quoted(SUBJECT)}, {_quoted(MEASURES)}) '
        f"SELECT {_moment('noon')}, {_quoted(SUBJECT)}, {_quoted(MEASURES)} "
        f'FROM "{days.rollups}" WHERE "{days.column}" = {_moment()}'
    )
    is_same = " AND ".join(f'h."{name}" = d."{name}"' for name in SUBJECT)
    latencies = (
        f'INSERT INTO "{hours.latencies}" ("{hours.rollup_id}", {_quoted(_BAR)}, "requests") '
        f'SELECT h."id", {_quoted(_BAR)}, l."requests" FROM "{days.rollups}" d '
        f'JOIN "{hours.rollups}" h ON h."{hours.column}" = {_moment("noon")} AND {is_same} '
        f'JOIN "{days.latencies}" l ON l."{days.rollup_id}" = d."id" WHERE d."{days.column}" = {_moment()}'
    )
    for sql in (sums, latencies):
        _execute(sql, begin=begin, end=end, noon=noon)


# ---- Comparison.

Difference = tuple[tuple[Any, ...], str, int, int]
"""The dimensions of a rollup, the name of a measure or bucket, and its figures: of the source, and as stored."""


def differences(tier: CoarseTier, begin: datetime, end: datetime) -> Iterator[Difference]:
    """Yield where the rollups of a period are not the sums of what they are made of."""
    yield from _different_sums(tier, begin, end)
    yield from _different_latencies(tier, begin, end)
    for model in tier.without_some:
        yield from _different_smaller(tier, model, begin, end)


def _fetch(sql: str, **moments: datetime) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, _adapted(moments))
        return [tuple(row) for row in cursor.fetchall()]


def _different_sums(tier: CoarseTier, begin: datetime, end: datetime) -> Iterator[Difference]:
    """Add up the source and subtract what is stored: one statement, which returns a row for each difference."""
    source, made = tier.source, tier.made
    both = " UNION ALL ".join(
        f"SELECT {_quoted(SUBJECT)}, {', '.join(_sides(name, is_made) for name in MEASURES)} "
        f'FROM "{table.rollups}" WHERE {_within(table.column)}'
        for table, is_made in ((source, False), (made, True))
    )
    sums = ", ".join(f'SUM("{name}") AS "{name}", SUM("{name}_made") AS "{name}_made"' for name in MEASURES)
    is_different = " OR ".join(f'SUM("{name}") <> SUM("{name}_made")' for name in MEASURES)
    rows = _fetch(
        f"SELECT {_quoted(SUBJECT)}, {sums} FROM ({both}) t GROUP BY {_quoted(SUBJECT)} HAVING {is_different}",
        begin=begin,
        end=end,
    )
    for row in rows:
        subject, figures = row[: len(SUBJECT)], row[len(SUBJECT) :]
        for number, name in enumerate(MEASURES):
            of_source, stored = int(figures[2 * number]), int(figures[2 * number + 1])
            if of_source != stored:
                yield subject, name, of_source, stored


def _sides(name: str, is_made: bool) -> str:
    return f'0 AS "{name}", "{name}" AS "{name}_made"' if is_made else f'"{name}", 0 AS "{name}_made"'


def _different_latencies(tier: CoarseTier, begin: datetime, end: datetime) -> Iterator[Difference]:
    parts = [_bars(table, SUBJECT, is_made) for table, is_made in ((tier.source, False), (tier.made, True))]
    yield from _different_bars(parts, SUBJECT, begin, end)


def _different_smaller(tier: CoarseTier, model: type[Model], begin: datetime, end: datetime) -> Iterator[Difference]:
    subject = kept_by(model)
    stored = (
        f'SELECT {_quoted(subject)}, {_quoted(_BAR)}, 0 AS "requests", "requests" AS "made" '
        f'FROM "{model._meta.db_table}" WHERE {_within(tier.made.column)}'
    )
    yield from _different_bars([_bars(tier.made, subject, False), stored], subject, begin, end)


def _bars(table: Table, subject: Sequence[str], is_made: bool) -> str:
    names = ", ".join(f'u."{name}"' for name in subject)
    figures = '0 AS "requests", l."requests" AS "made"' if is_made else 'l."requests", 0 AS "made"'
    return (
        f'SELECT {names}, {_quoted(_BAR)}, {figures} FROM "{table.rollups}" u '
        f'JOIN "{table.latencies}" l ON l."{table.rollup_id}" = u."id" WHERE {_within_of("u", table)}'
    )


def _different_bars(
    parts: Sequence[str], subject: Sequence[str], begin: datetime, end: datetime
) -> Iterator[Difference]:
    names = f"{_quoted(subject)}, {_quoted(_BAR)}"
    rows = _fetch(
        f'SELECT {names}, SUM("requests"), SUM("made") FROM ({" UNION ALL ".join(parts)}) t '
        f'GROUP BY {names} HAVING SUM("requests") <> SUM("made")',
        begin=begin,
        end=end,
    )
    for row in rows:
        known = dict(zip(subject, row, strict=False))
        *_, measure, bucket, of_source, stored = row
        yield tuple(known.get(name, "") for name in SUBJECT), f"{measure} {bucket}", int(of_source), int(stored)
