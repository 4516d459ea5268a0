"""Invented model names neither blank a report nor fill the hourly rollups."""

import csv
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from keys.models import APIKey, HourlyUsage, UsageRecord
from keys.reports import usage_csv
from keys.reports.date_range import DateRange
from keys.usage import ledger, rollup_check
from keys.usage.names import MAX_NAMES
from messages_api.models import Route, RouteTarget, Upstream
from messages_api.routing.route_table import routes
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.usefixtures("quiet_ledger", "static_files")

Send = Callable[[str], int]


@pytest.fixture
def api_key(owner: User) -> tuple[APIKey, str]:
    return APIKey.objects.issue(name="app", owner=owner)


@pytest.fixture
def send(api_key: tuple[APIKey, str], client: Client) -> Send:
    """Return a function that sends a request for a model and returns the status."""

    def send(model: str) -> int:
        body = {"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}
        headers = {"authorization": f"Bearer {api_key[1]}"}
        return client.post("/api/v1/messages", json.dumps(body), "application/json", headers=headers).status_code

    return send


def route(pattern: str, upstream: ScriptedUpstream) -> None:
    target = Upstream.objects.create(name="local", dialect="openai", base_url=upstream.url)
    RouteTarget.objects.create(route=Route.objects.create(pattern=pattern), upstream=target)
    routes.clear()


def rolled_up() -> dict[str, int]:
    """Return the number of requests in the hourly rollups by model. They match the usage records."""
    ledger.close()
    hour = (timezone.now() - timedelta(hours=2), timezone.now() + timedelta(hours=1))
    assert [rollup_check.mismatches(interval) for interval in rollup_check.iter_intervals(*hour)] in ([[]], [[], []])
    counts: dict[str, int] = {}
    for model, requests in HourlyUsage.objects.values_list("model", "requests"):
        counts[model] = counts.get(model, 0) + requests
    return counts


def test_names_that_no_route_knows_are_one_group(
    send: Send, api_key: tuple[APIKey, str], upstream: ScriptedUpstream, client: Client, admin: User
) -> None:
    route("claude-3", upstream)
    assert send("claude-3") == 200

    assert {send(f"a-model-{n}") for n in range(60)} == {404}

    assert rolled_up() == {"claude-3": 1, "": 60}
    assert UsageRecord.objects.filter(model="a-model-7").count() == 1
    today = DateRange.last_days(1)
    lines = {line["model"]: line["rejected_requests"] for line in csv.DictReader(usage_csv.csv_lines(today))}
    assert lines == {"claude-3": "0", "": "60"}
    for width in ("1m", "1h"):
        assert results(client, api_key[1], width) == {"claude-3": 0, "": 60}
    client.force_login(admin)
    for page in ("/admin/usage/", f"/admin/keys/apikey/{api_key[0].pk}/change/"):
        assert "Unknown models" in client.get(page).text


def results(client: Client, raw_key: str, width: str) -> dict[str, int]:
    """Return the number of rejected requests by model, as the API reports it."""
    query = {"starting_at": (timezone.now() - timedelta(minutes=50)).isoformat(), "bucket_width": width}
    headers = {"authorization": f"Bearer {raw_key}"}
    data: Any = client.get("/api/v1/usage", query | {"group_by": "model"}, headers=headers).json()["data"]
    found: dict[str, int] = {}
    for bucket in data["data"]:
        for each in bucket["results"]:
            found[each["model"]] = found.get(each["model"], 0) + each["rejected_requests"]
    return found


def test_names_that_a_pattern_matches_are_bounded(
    send: Send, api_key: tuple[APIKey, str], upstream: ScriptedUpstream
) -> None:
    route("*", upstream)
    APIKey.objects.update(allowed_models=["claude-*"])
    assert send("claude-3") == 200

    assert {send(f"a-model-{n}") for n in range(3 * MAX_NAMES)} == {403}

    counts = rolled_up()
    assert counts["claude-3"] == 1 and sum(counts.values()) == 3 * MAX_NAMES + 1
    assert MAX_NAMES <= len(counts) <= 2 * MAX_NAMES + 2  # twice where the hour changed meanwhile
