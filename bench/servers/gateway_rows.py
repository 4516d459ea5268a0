"""
Prepares the database of a gateway and prints a raw key: schema, upstreams in both dialects, routes, a price, a key.

    cd CHECKOUT; DATABASE_URL=... UPSTREAM=http://127.0.0.1:9100 python bench/servers/gateway_rows.py [--keys 10000]

Everything that costs time per request is on: rate limits, concurrency limit, a monthly budget in dollars, a price. All
are out of reach. Run in the checkout of any revision: fields that were renamed are found by either name.
"""

import argparse
import os
import secrets
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import django

sys.path[0] = os.getcwd()  # the code of the checkout, not of this file
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from django.apps import apps  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import models, transaction  # noqa: E402

MODELS = {"chat": ("openai", "mock"), "claude": ("anthropic", "mock"), "chat-40-chunks": ("openai", "mock-n40-i1")}
"""The model of a request, with the dialect of the upstream that it is routed to and the model there."""
POLICY = {"requests_per_minute": 100_000_000, "tokens_per_minute": 10**12, "concurrent_requests": 100_000}
RENAMED = {
    "concurrent_requests": "concurrent_calls",
    "model_pattern": "pattern",
    "input_price": "input",
    "output_price": "output",
}
"""Names of fields until commit fcd4d99."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1, help="number of keys, printed one per line")
    options = parser.parse_args()
    settings.STATE_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    call_command("migrate", interactive=False, verbosity=0)
    with transaction.atomic():
        upstreams = {dialect: _upstream(dialect, os.environ["UPSTREAM"]) for dialect in ("openai", "anthropic")}
        for name, (dialect, model) in MODELS.items():
            route = _create(_model("messages_api", "Route"), pattern=name)
            _create(_model("messages_api", "RouteTarget"), route=route, upstream=upstreams[dialect], model=model)
        _create(
            _model("keys", "ModelPrice"), model_pattern="*", input_price=3_000_000, output_price=15_000_000,
            valid_from=datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        owner = User.objects.create_superuser("bench", password=secrets.token_urlsafe(20))
        for number in range(options.keys):
            print(_issue(f"bench {number}", owner))


def _upstream(dialect: str, base_url: str) -> Any:
    upstream = _model("messages_api", "Upstream")(name=dialect, dialect=dialect, base_url=base_url)
    upstream.set_credential("upstream")
    upstream.full_clean()
    upstream.save()
    return upstream


def _issue(name: str, owner: User) -> str:
    key_model = _model("keys", "APIKey")
    fields = {"name": name, "owner": owner, "expires_at": datetime.now(UTC) + timedelta(days=30), **POLICY}
    api_key, raw_key = key_model.objects.issue(**_named(key_model, fields))
    budget = _model("keys", "Budget")
    unit = budget._meta.get_field("unit").default
    _create(budget, api_key=api_key, period="month", unit=unit, amount=10**12)
    return str(raw_key)


def _create(table: Any, /, **fields: Any) -> Any:
    return table.objects.create(**_named(table, fields))


def _named(model: type[models.Model], fields: dict[str, Any]) -> dict[str, Any]:
    known = {field.name for field in model._meta.get_fields()}
    return {name if name in known else RENAMED[name]: value for name, value in fields.items()}


def _model(app: str, name: str) -> Any:
    return apps.get_model(app, name)


if __name__ == "__main__":
    main()
