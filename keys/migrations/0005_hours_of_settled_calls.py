"""Fills the hours with the calls that were settled before there were hours.

An hour is written anew from all its rows, so calls that are in it already are not counted twice.
"""

from datetime import UTC, timedelta

from django.db import migrations
from django.db.models import Count, Min, Q, Sum
from django.utils import timezone

HOUR = timedelta(hours=1)
QUARTER = timedelta(minutes=15)
PLACE = ["api_key_id", "model", "upstream", "status", "usage_source"]
ADDED = [
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "thinking_tokens",
    "cost_usd_micros",
]
WAS_MADE = ~Q(status="refused")
SUMS = {
    "calls": Count("pk"),
    **{name: Sum(name, default=0) for name in ADDED},
    "unknown_calls": Count("pk", filter=WAS_MADE & (Q(input_tokens=None) | Q(output_tokens=None))),
    "unpriced_calls": Count("pk", filter=WAS_MADE & Q(cost_usd_micros=None)),
}


def fill_hours(apps, schema_editor):
    UsageRecord, UsageHour = apps.get_model("keys", "UsageRecord"), apps.get_model("keys", "UsageHour")
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("SET LOCAL statement_timeout = 0")
    settled = UsageRecord.objects.filter(settled_at__isnull=False).order_by()
    moment = settled.aggregate(first=Min("created_at"))["first"]
    while moment is not None:
        hour, begin, end = stretch_of(moment)
        rows = settled.filter(created_at__gte=begin, created_at__lt=end).values(*PLACE)
        sums = rows.annotate(**{f"{name}_sum": sum for name, sum in SUMS.items()})
        UsageHour.objects.filter(hour=hour).delete()
        UsageHour.objects.bulk_create(
            UsageHour(
                hour=hour,
                **{name: row[name] for name in PLACE},
                **{name: row[f"{name}_sum"] for name in SUMS},
            )
            for row in sums
        )
        moment = settled.filter(created_at__gte=end).aggregate(next=Min("created_at"))["next"]


def stretch_of(moment):
    """The hour that a moment belongs to, and from when to when moments do."""
    hour = begin_of_hour(moment)
    quarters = [hour + i * QUARTER for i in range(4) if begin_of_hour(hour + i * QUARTER) == hour]
    return hour, quarters[0], quarters[-1] + QUARTER


def begin_of_hour(moment):
    local = timezone.localtime(moment, timezone.get_default_timezone())
    return (moment - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)).astimezone(
        UTC
    )


class Migration(migrations.Migration):
    dependencies = [
        ("keys", "0004_lists_and_reports"),
    ]

    operations = [
        migrations.RunPython(fill_hours, migrations.RunPython.noop, elidable=True),
    ]
