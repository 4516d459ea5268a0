"""The sessions of a generated year: who sends which requests to which model. Written to a temporary table."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from keys.models import APIKey, KeySecret, ModelPrice, Team

REQUESTS_OF_SESSION = 8
INTERLEAVED = 8
"""Sessions that send requests at the same time."""
UPSTREAMS = ["anthropic", "bedrock", "vertex", "openai", "azure", "local"]
FAMILIES = ["claude-opus", "claude-sonnet", "claude-haiku", "gpt", "gemini", "llama", "qwen", "mistral"]
MODELS = [f"{family}-{version}" for family in FAMILIES for version in range(1, 6)]
UNPRICED = "mistral-5"
FORMATS = ["anthropic", "anthropic", "anthropic", "envelope", "openai"]
COLUMNS = {
    "number": "bigint", "api_key_id": "bigint", "secret_id": "bigint", "team_id": "bigint", "owner_id": "bigint",
    "model": "text", "upstream": "text", "fallback": "text", "api_format": "text", "session_id": "text",
    "agent_id": "text", "tags": "text", "input_picos": "bigint", "output_picos": "bigint", "base_ms": "bigint",
    "price_id": "bigint",
}  # fmt: skip
BATCH = 50_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """A key, with the models that it uses."""

    key: APIKey
    secret_id: int
    api_format: str
    models: list[int]


def issue(keys: int, teams: int, chance: random.Random) -> tuple[list[Client], ModelPrice]:
    """Create the keys, their teams and owners, and a user who sees all of them."""
    User.objects.create_superuser("root", password="a good password of root")
    people = User.objects.bulk_create(User(username=f"person-{i}", email=f"p{i}@example.org") for i in range(40))
    of_teams = Team.objects.bulk_create(Team(name=f"team {i}") for i in range(teams))
    made = APIKey.objects.bulk_create(
        APIKey(
            name=f"app {i}",
            **({"owner": chance.choice(people)} if i % 6 == 5 else {"team": chance.choice(of_teams)}),
            created_at=timezone.now() - timedelta(days=400),
        )
        for i in range(keys)
    )
    secrets = KeySecret.objects.bulk_create(
        KeySecret(api_key=key, digest=chance.randbytes(32), pepper_id="0" * 8, hint=f"{i:06d}")
        for i, key in enumerate(made)
    )
    price = ModelPrice.objects.create(
        model_pattern="*", input_price=3_000_000, output_price=15_000_000, valid_from=timezone.now()
    )
    clients = [
        Client(
            key=key,
            secret_id=secret.pk,
            api_format=chance.choice(FORMATS),
            models=chance.sample(range(len(MODELS)), k=chance.choice([1, 2, 3, 4])),
        )
        for key, secret in zip(made, secrets, strict=True)
    ]
    return clients, price


def write(count: int, clients: list[Client], price: ModelPrice, chance: random.Random) -> None:
    """Create the temporary table of sessions."""
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE bench_session ({columns}, PRIMARY KEY (number))")
    sessions = _sessions(count, clients, price, chance)
    while batch := [row for row, _ in zip(sessions, range(BATCH), strict=False)]:
        _insert(batch)


def _insert(rows: list[tuple[Any, ...]]) -> None:
    if connection.vendor == "postgresql":
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY bench_session ({', '.join(COLUMNS)}) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(row)
        return
    places = ", ".join(["%s"] * len(COLUMNS))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO bench_session VALUES ({places})", rows)


def _sessions(count: int, clients: list[Client], price: ModelPrice, chance: random.Random) -> Iterator[tuple[Any, ...]]:
    weights = list(accumulate(1 / (rank + 5) for rank in range(len(clients))))
    for number in range(count):
        client = chance.choices(clients, cum_weights=weights)[0]
        place = client.models[int(chance.random() ** 2 * len(client.models))]
        upstream = place // 5 % len(UPSTREAMS)
        model = MODELS[place]
        is_priced = model != UNPRICED
        picos = (place % 5 + 1) * 700_000
        tags = {"project": f"project-{chance.randrange(60)}", "environment": chance.choice(["live", "test"])}
        yield (
            number, client.key.pk, client.secret_id, client.key.team_id, client.key.owner_id,
            model, UPSTREAMS[upstream], UPSTREAMS[(upstream + 1) % len(UPSTREAMS)], client.api_format,
            f"session-{number:08d}", f"agent-{chance.randrange(200):03d}" if chance.random() < 0.6 else "",
            json.dumps(tags) if chance.random() < 0.7 else None,
            picos if is_priced else None, 5 * picos if is_priced else None, 120 + 90 * (place % 7),
            price.pk if is_priced else None,
        )  # fmt: skip


def begin_of_year() -> datetime:
    return timezone.now() - timedelta(days=365)
