"""
Fills an empty database with the keys and the usage of an installation after a month.

    DATABASE_URL=… python -m bench.pages.fill [--keys 10000] [--requests 1000000] [--session 8]

Keys are used in sessions of several requests, few keys often and many rarely. `--session 1` spreads the requests, so
that nearly each has an hourly rollup of its own: the worst case for a report.
"""

import argparse
import os
import random
from collections import Counter
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from keys.domain.latency_buckets import bucket_of  # noqa: E402
from keys.models import (  # noqa: E402
    APIKey,
    Budget,
    BudgetPeriod,
    HourlyLatency,
    HourlyUsage,
    KeySecret,
    ModelPrice,
    Team,
    UsageRecord,
)
from keys.usage.column_values import EMPTY  # noqa: E402
from keys.usage.hourly_rollup import dimensions_of, measures_of  # noqa: E402
from keys.usage.rollup_statements import DIMENSIONS  # noqa: E402
from lib.periods import bounds_of  # noqa: E402

MODELS = [("claude-3-opus", "anthropic", 40), ("claude-3-haiku", "anthropic", 30), ("llama-3", "local", 20)]
MODELS += [("qwen-2", "local", 9), ("new-model", "local", 1)]
OUTCOMES = [("completed", 95), ("failed", 2), ("client_closed", 2), ("rejected", 1)]
MODEL_WEIGHTS = list(accumulate(weight for *_, weight in MODELS))
OUTCOME_WEIGHTS = list(accumulate(weight for _, weight in OUTCOMES))
CONSTANTS: dict[str, Any] = {
    **{name: "" for name, value in EMPTY.items() if value == ""},
    **{name: int(value) for name, value in EMPTY.items() if isinstance(value, bool)},
    "attempts": "[]",
    "reservations": "[]",
    "api_format": "anthropic",
    "streamed": 1,
    "http_status": 200,
    "duration_ms": 900,
}
DAYS = 30
chance = random.Random(20261125)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("keys", 10_000), ("requests", 1_000_000), ("session", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    now = timezone.now()
    keys = _issue(options.keys, now)
    price = ModelPrice.objects.create(model_pattern="*", input_price=3_000_000, output_price=15_000_000, valid_from=now)
    _record(keys, options.requests, options.session, now, price)
    rows = {model._meta.verbose_name_plural: model.objects.count() for model in (APIKey, UsageRecord, HourlyUsage)}
    print(", ".join(f"{count:,} {name}" for name, count in rows.items()))


def _issue(count: int, now: datetime) -> list[APIKey]:
    User.objects.create_superuser("root", password="a good password of root")
    people = User.objects.bulk_create(User(username=f"person-{i}", email=f"p{i}@example.org") for i in range(400))
    teams = Team.objects.bulk_create(Team(name=f"team {i}", requests_per_minute=i % 3 or None) for i in range(60))
    lists = [[], [], [], *([f"claude-3-{name}", "llama-*"] for name in ("opus", "haiku", "sonnet"))]
    keys = APIKey.objects.bulk_create(
        APIKey(
            name=f"app {i}",
            **({"team": chance.choice(teams)} if i % 3 == 0 else {"owner": chance.choice(people)}),
            allowed_models=chance.choice(lists),
            requests_per_minute=60 if i % 2 else None,
            expires_at=None if i % 10 == 0 else now + timedelta(days=chance.randrange(-30, 365)),
            disabled_at=now if i % 50 == 1 else None,
            revoked_at=now if i % 40 == 2 else None,
        )
        for i in range(count)
    )
    APIKey.objects.filter(pk__in=[key.pk for key in keys[::2]]).update(created_at=now - timedelta(days=120))
    KeySecret.objects.bulk_create(
        KeySecret(
            api_key=key, digest=chance.randbytes(32), pepper_id="0" * 8, hint=f"{i:06d}",
            last_used_at=None if i % 7 == 0 else now - timedelta(days=chance.expovariate(1 / 20)),
        )
        for i, key in enumerate(keys + keys[::10])
    )  # fmt: skip
    budgets = Budget.objects.bulk_create(
        Budget(**scope, amount=10**8)
        for scope in [*({"api_key": key} for key in keys[::3]), *({"team": t} for t in teams)]
    )
    begin, end = bounds_of("month", now)
    BudgetPeriod.objects.bulk_create(
        BudgetPeriod(budget=budget, starts_at=begin, ends_at=end, spent=chance.randrange(10**8)) for budget in budgets
    )
    return keys


def _record(keys: list[APIKey], count: int, session: int, now: datetime, price: ModelPrice) -> None:
    weights = list(accumulate(1 / (rank + 10) for rank in range(len(keys))))
    hours: dict[tuple[Any, ...], Counter[str]] = {}
    written = 0
    while written < count:
        rows: list[dict[str, Any]] = []
        for key in chance.choices(keys, cum_weights=weights, k=5_000 // session):
            moment = now - timedelta(seconds=chance.uniform(60, DAYS * 86_400))
            for i in range(round(chance.expovariate(1 / session)) or 1 if session > 1 else 1):
                rows.append(_row(written + len(rows), key, moment + timedelta(seconds=i * 40), price))
        del rows[count - written :]
        _insert(rows)
        written += len(rows)
        for row in rows:
            hours.setdefault(dimensions_of(EMPTY | CONSTANTS | row), Counter()).update(measures_of(row))
    in_order = sorted(hours.items(), key=lambda item: item[0][1])  # as the ledger writes them
    rollups = HourlyUsage.objects.bulk_create(
        (HourlyUsage(**dict(zip(DIMENSIONS, key, strict=True)), **measures) for key, measures in in_order),
        batch_size=5_000,
    )
    bucket = bucket_of(CONSTANTS["duration_ms"])
    HourlyLatency.objects.bulk_create(
        (
            HourlyLatency(hourly_usage=rollup, measure="duration_ms", bucket=bucket, requests=rollup.requests)
            for rollup in rollups
        ),
        batch_size=5_000,
    )


def _insert(rows: list[dict[str, Any]]) -> None:
    """Insert through the database driver: Django takes five times as long."""
    names = ", ".join(rows[0])
    constants = {
        name: int(value) if value is False else value for name, value in CONSTANTS.items() if name not in rows[0]
    }
    values = ", ".join(f"'{value}'" for value in constants.values())
    placeholders = ", ".join(["%s"] * len(rows[0]))
    statement = f"INSERT INTO keys_usagerecord ({names}, {', '.join(constants)}) VALUES ({placeholders}, {values})"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(statement, [tuple(map(_adapted, row.values())) for row in rows])


def _adapted(value: Any) -> Any:
    return connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value


def _row(i: int, key: APIKey, moment: datetime, price: ModelPrice) -> dict[str, Any]:
    (model, upstream, _) = chance.choices(MODELS, cum_weights=MODEL_WEIGHTS)[0]
    status = chance.choices(OUTCOMES, cum_weights=OUTCOME_WEIGHTS)[0][0]
    was_admitted, is_priced = status != "rejected", model != "new-model"
    return {
        "id": f"req_{i:032d}", "created_at": moment, "settled_at": moment, "status": status, "api_key_id": key.pk,
        "model": model, "upstream": upstream if was_admitted else "", "upstream_model": model,
        "lease_expires_at": moment,
        "error_type": "api_error" if status == "failed" else "", "usage_source": "reported" if was_admitted else "",
        "input_tokens": int(chance.random() * 2_000) if was_admitted else None,
        "output_tokens": int(chance.random() * 500) if was_admitted else None,
        "cost_usd_picos": int(chance.random() * 20_000_000_000) if was_admitted and is_priced else None,
        "price_id": price.pk if was_admitted and is_priced else None,
    }  # fmt: skip


if __name__ == "__main__":
    main()
