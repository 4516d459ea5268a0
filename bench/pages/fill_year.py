"""
Fills an empty database with the usage of a year: rollups of all tiers, sessions, agents, tags, errors and upstreams.

    DATABASE_URL=… python -m bench.pages.fill_year [--requests 10000000] [--keys 300] [--teams 30]

Without --requests: 10,000,000 on PostgreSQL, as its superuser, and 1,000,000 on SQLite. Records have no checksum.
"""

import argparse
import os
import random
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from bench.pages import year_records, year_sessions  # noqa: E402
from keys.models import DailyUsage, HourlyLatency, HourlyUsage, MonthlyLatency, MonthlyUsage, UsageRecord  # noqa: E402
from keys.usage import coarse_rollups  # noqa: E402

COUNTED = (UsageRecord, HourlyUsage, HourlyLatency, DailyUsage, MonthlyUsage, MonthlyLatency)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = 10_000_000 if connection.vendor == "postgresql" else 1_000_000
    for name, number in (("requests", default), ("keys", 300), ("teams", 30)):
        parser.add_argument(f"--{name}", type=int, default=number)
    options = parser.parse_args()
    if connection.vendor == "postgresql":  # statements take as long as they take
        connection.settings_dict["OPTIONS"] |= {"options": "-c statement_timeout=0", "answer_within_s": 10.0**6}
    chance, begin, end = random.Random(20261130), year_sessions.begin_of_year(), timezone.now()
    _tell("keys and sessions")
    clients, price = year_sessions.issue(options.keys, options.teams, chance)
    year_sessions.write(options.requests // year_sessions.REQUESTS_OF_SESSION + 64, clients, price, chance)
    for written in year_records.write(options.requests, begin, end):
        _tell(f"{written:,} records")
    _tell("hourly rollups")
    year_records.roll_up(begin, end)
    _tell("days and months")
    coarse_rollups.build_all()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    print(", ".join(f"{model.objects.count():,} {model._meta.verbose_name_plural}" for model in COUNTED))


def _tell(step: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {step}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
