"""Conditions of error rates and latencies, from the usage records of a window. Two queries per length of window.

At most the newest `MAX_RECORDS` requests of a window count, so that an evaluation takes the same time at any traffic.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

from django.db.models import Count, Q
from django.urls import reverse
from django.utils.http import urlencode

from keys.models import UsageRecord
from keys.models.usage import IS_CLIENT_ERROR, IS_ERROR
from messages_api.alerts.condition import AlertCondition
from messages_api.models.alerts import AlertKind, AlertRule

MAX_RECORDS = 20_000
COLUMNS = {AlertKind.LATENCY: "duration_ms", AlertKind.TTFT: "ttft_ms"}
SLOWEST_PERCENT = 5
"""The share of requests above the 95th percentile."""
FINISHED = ~Q(status="rejected") & ~Q(status="started")


def conditions(rules: list[AlertRule], *, now: datetime) -> Iterator[tuple[AlertRule, AlertCondition]]:
    """Yield the upstreams and teams over the threshold of a rule."""
    by_window = sorted(rules, key=lambda rule: rule.window_minutes)
    for minutes, group in groupby(by_window, key=lambda rule: rule.window_minutes):
        records = _window(now - timedelta(minutes=minutes))
        same_window = list(group)
        rows = _rows(records, same_window)
        for rule in same_window:
            yield from ((rule, condition) for condition in _of_rule(rule, rows, records))


def _window(begin: datetime) -> Any:
    """Return the records of a window, without those beyond the newest `MAX_RECORDS`."""
    records = UsageRecord.objects.filter(created_at__gte=begin)
    newest = records.order_by("-created_at").values_list("created_at", flat=True)
    for moment in newest[MAX_RECORDS : MAX_RECORDS + 1]:
        records = records.filter(created_at__gt=moment)
    return records.filter(FINISHED).exclude(upstream="").order_by()


def _rows(records: Any, rules: list[AlertRule]) -> list[dict[str, Any]]:
    """Return the counts by upstream and team: finished, errors, with each latency, and above each rule's threshold."""
    counts: dict[str, Any] = {
        "finished": Count("pk"),
        "errors": Count("pk", filter=IS_ERROR & ~IS_CLIENT_ERROR),
        **{f"with_{column}": Count(column) for column in COLUMNS.values()},
    }
    for rule in rules:
        if column := COLUMNS.get(AlertKind(rule.kind)):
            counts[f"slow_{rule.pk}"] = Count("pk", filter=Q(**{f"{column}__gt": int(rule.threshold or 0)}))
    return list(records.values("upstream", "team_id").annotate(**counts))


def _of_rule(rule: AlertRule, rows: list[dict[str, Any]], records: Any) -> Iterator[AlertCondition]:
    name = rule.upstream.name if rule.upstream is not None else None
    scoped = [
        row
        for row in rows
        if name in (None, row["upstream"]) and (rule.team_id is None or rule.team_id == row["team_id"])
    ]
    if rule.team is not None:
        where = f"team {rule.team}" + (f" at upstream {name}" if name else "")
        subjects = {f"team:{rule.team_id}": (where, scoped, Q(team_id=rule.team_id))}
    else:
        subjects = {
            f"upstream:{upstream}": (
                f"upstream {upstream}",
                [row for row in scoped if row["upstream"] == upstream],
                Q(upstream=upstream),
            )
            for upstream in sorted({row["upstream"] for row in scoped})
        }
    for subject, (where, found, condition) in subjects.items():
        of_subject = records.filter(condition, **({"upstream": name} if name else {}))
        if (measured := _measured(rule, found, of_subject)) is not None:
            value, title, detail = measured
            path = _path(rule, subject)
            yield AlertCondition(subject=subject, title=title.format(where), detail=detail, path=path, value=value)


def _measured(rule: AlertRule, rows: list[dict[str, Any]], records: Any) -> tuple[float, str, str] | None:
    """Return value, title and detail where the rows are over the threshold, else None."""
    threshold = (rule.threshold or Decimal(0)).normalize()
    window = AlertRule.Window(rule.window_minutes).label
    column = COLUMNS.get(AlertKind(rule.kind))
    if column is None:
        errors, finished = _sum(rows, "errors"), _sum(rows, "finished")
        if finished < rule.min_requests or errors * 100 <= threshold * finished:
            return None
        rate = 100 * errors / finished
        detail = f"{rate:.1f} %: {errors:,} of {finished:,} requests of the last {window} failed."
        return rate, f"Error rate of {{}} is over {threshold:f} %", detail
    slow, measured = _sum(rows, f"slow_{rule.pk}"), _sum(rows, f"with_{column}")
    if measured < rule.min_requests or slow * 100 <= SLOWEST_PERCENT * measured:
        return None
    # The smallest value that 95 % of the requests do not exceed.
    position = measured * SLOWEST_PERCENT // 100
    slowest = records.filter(**{f"{column}__isnull": False}).order_by(f"-{column}").values_list(column, flat=True)
    value = float(next(iter(slowest[position : position + 1]), int(threshold)))
    label = "Latency" if rule.kind == AlertKind.LATENCY else "Time to first token"
    detail = f"{value:,.0f} ms: {slow:,} of {measured:,} requests of the last {window} took longer."
    return value, f"{label} (p95) of {{}} is over {int(threshold):,} ms", detail


def _sum(rows: list[dict[str, Any]], column: str) -> int:
    return sum(row[column] for row in rows)


def _path(rule: AlertRule, subject: str) -> str:
    scope, _, value = subject.partition(":")
    if scope == "upstream":
        return reverse("admin:upstream_health") + f"?range=1h#upstream-{value}"
    return reverse("admin:keys_usagerecord_changelist") + "?" + urlencode({"range": "24h", "team": str(rule.team_id)})
