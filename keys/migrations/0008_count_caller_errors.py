"""Counts the errors of callers in the hours that were there before they were counted.

By itself, so that the hours are not locked while the calls are read.
"""

from collections import Counter
from datetime import timedelta

from django.db import migrations
from django.utils import timezone

CALLER_ERRORS = ("invalid_request_error", "not_found_error", "request_too_large")
PLACE = ["api_key_id", "model", "upstream", "status", "usage_source"]


def count_caller_errors(apps, schema_editor):
    UsageRecord, UsageHour = apps.get_model("keys", "UsageRecord"), apps.get_model("keys", "UsageHour")
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("SET LOCAL statement_timeout = 0")
    settled = UsageRecord.objects.filter(status="failed", error_type__in=CALLER_ERRORS, settled_at__isnull=False)
    found = Counter()
    for created_at, *place in settled.order_by().values_list("created_at", *PLACE).iterator():
        found[begin_of_hour(created_at), *place] += 1
    for (hour, *place), count in found.items():
        UsageHour.objects.filter(hour=hour, **dict(zip(PLACE, place))).update(caller_errors=count)


def begin_of_hour(moment):
    local = timezone.localtime(moment, timezone.get_default_timezone())
    return moment - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


class Migration(migrations.Migration):
    dependencies = [
        ("keys", "0007_whose_errors_they_were"),
    ]

    operations = [
        migrations.RunPython(count_caller_errors, migrations.RunPython.noop, elidable=True),
    ]
