"""Key info and key usage: what an API key may read about itself."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from keys.limits import limiter
from keys.limits.limiter import Limits
from keys.models import APIKey, Budget, ModelPrice, Team, UsageRecord
from keys.pricing.price_book import prices
from keys.reports.key_usage import BucketQuery, start_of_bucket
from keys.usage import ledger
from keys.usage.rows import Admission, Settlement, Status
from messages_api.middleware import new_request_id

KEY, USAGE = "/api/v1/key", "/api/v1/usage"


@pytest.fixture
def issued(quiet_ledger: None, owner: User) -> tuple[APIKey, str]:
    team = Team.objects.create(name="Research", allowed_models=["claude-*"])
    return APIKey.objects.issue(name="search", team=team)


@pytest.fixture
def get(issued: tuple[APIKey, str], client: Client) -> Any:
    """Return the data of a response to the issued key: `get(USAGE, bucket_width="1h")`."""

    def get(path: str, *, status: int = 200, **query: str) -> Any:
        response = client.get(path, query, headers={"authorization": f"Bearer {issued[1]}"})
        assert response.status_code == status, response.content
        return response.json()["data"]

    return get


def use(key: APIKey, at: datetime, *, model: str = "claude-3", output: int = 20, cost: bool = False) -> None:
    admission = Admission(
        id=new_request_id(),
        api_key_id=key.pk,
        secret_id=key.secrets.all()[0].pk,
        api_format="envelope",
        model=model,
        streamed=False,
        estimated_input_tokens=5,
        lease_s=10**7,
        created_at=at,
    )
    ledger.admit(admission)
    ledger.settle(
        admission,
        Settlement(
            status=Status.COMPLETED,
            upstream="u",
            upstream_model="priced" if cost else "unpriced",
            input_tokens=10,
            output_tokens=output,
            usage_source="reported",
        ),
    )


def test_key_info_has_no_owner_ip_addresses_or_secrets(issued: tuple[APIKey, str], get: Any) -> None:
    key, raw = issued
    Budget.objects.create(api_key=key, unit="usd", period="month", amount=25_000_000)
    Budget.objects.create(team=key.team, unit="tokens", period="total", amount=1000)

    found = get(KEY)

    assert (found["id"], found["name"], found["team"]) == (key.public_id, "search", "Research")
    assert found["hint"] == raw[:10]
    assert found["models"] == {"allowed": ["claude-*"], "available": []}
    assert [(each["scope"], each["unit"], each["limit"], each["remaining"]) for each in found["budgets"]] == [
        ("key", "usd", "25.000000", "25.000000"),
        ("team", "tokens", "1000", "1000"),
    ]
    assert raw not in str(found)


def test_key_info_has_the_remaining_limits_and_consumes_none(issued: tuple[APIKey, str], get: Any) -> None:
    key, _ = issued
    key.requests_per_minute, key.concurrent_requests = 6, 3
    key.save()
    team = Team.objects.get()
    team.tokens_per_minute, team.shadow_mode = 6, True
    team.save()
    grant = limiter.consume("req_1", [Limits.of("key", key), Limits.of("team", team)], lease_s=60)
    limiter.consume_tokens(grant, tokens=4)

    get(KEY)
    found = {(each["scope"], each["limit"]): each for each in get(KEY)["limits"]}
    limiter.release(grant)

    assert {of: (each["value"], each["remaining"], each["shadow"]) for of, each in found.items()} == {
        ("key", "requests_per_minute"): (6, 5, False),
        ("key", "concurrent_requests"): (3, 2, False),
        ("team", "tokens_per_minute"): (6, 2, True),
    }
    resets_at = datetime.fromisoformat(found["team", "tokens_per_minute"]["resets_at"])
    assert timedelta(seconds=30) < resets_at - timezone.now() <= timedelta(seconds=42)
    assert found["key", "concurrent_requests"]["resets_at"] is None


def test_key_info_has_the_usage_of_the_current_periods(issued: tuple[APIKey, str], get: Any) -> None:
    ModelPrice.objects.create(model_pattern="priced", input_price=3_000_000, output_price=15_000_000)
    prices.book()
    now = timezone.now()
    use(issued[0], now, cost=True)
    use(issued[0], now)
    use(issued[0], now - timedelta(days=40))
    other, _ = APIKey.objects.issue(name="other", team=issued[0].team)
    use(other, now)

    usage = get(KEY)["usage"]

    assert usage["today"] | {"since": ""} == {
        "since": "",
        "requests": 2,
        "errors": 0,
        "client_errors": 0,
        "rejected_requests": 0,
        "input_tokens": 20,
        "output_tokens": 40,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "cost_usd": "0.000330",
        "unpriced_requests": 1,
    }
    assert usage["this_month"]["requests"] == 2


NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(("width", "edge"), [("1m", NOON), ("1h", NOON), ("1d", NOON.replace(hour=0))])
def test_buckets_start_at_their_width_and_hold_the_requests_in_them(
    issued: tuple[APIKey, str], get: Any, width: str, edge: datetime
) -> None:
    use(issued[0], NOON + timedelta(seconds=59))
    use(issued[0], NOON + timedelta(days=1, seconds=1))

    page = get(
        USAGE, starting_at=NOON.isoformat(), ending_at=(NOON + timedelta(days=2)).isoformat(), bucket_width=width
    )

    first = page["data"][0]
    assert datetime.fromisoformat(first["starting_at"]) == edge
    assert [result["requests"] for result in first["results"]] == [1]
    assert page["time_zone"] == "UTC"


def test_usage_is_grouped_by_model_on_request(issued: tuple[APIKey, str], get: Any) -> None:
    use(issued[0], NOON, model="claude-3")
    use(issued[0], NOON, model="claude-4", output=7)
    span = {"starting_at": NOON.isoformat(), "ending_at": (NOON + timedelta(hours=1)).isoformat()}

    (grouped,) = get(USAGE, **span, bucket_width="1h", group_by="model")["data"]
    (together,) = get(USAGE, **span, bucket_width="1h")["data"]

    assert [(each["model"], each["output_tokens"]) for each in grouped["results"]] == [
        ("claude-3", 20),
        ("claude-4", 7),
    ]
    assert [(each["model"], each["output_tokens"]) for each in together["results"]] == [(None, 27)]


@pytest.mark.parametrize("width", ["1m", "1h"])
def test_usage_is_grouped_by_a_tag_on_request(issued: tuple[APIKey, str], get: Any, width: str) -> None:
    for tags, output in ({"team": "a", "other": "x"}, 1), ({"team": "b"}, 2), ({"team": "a"}, 4), (None, 8):
        use(issued[0], NOON, output=output)
        UsageRecord.objects.filter(output_tokens=output).update(tags=tags)
    span = {"starting_at": NOON.isoformat(), "ending_at": (NOON + timedelta(minutes=1)).isoformat()}

    (bucket,) = get(USAGE, **span, bucket_width=width, group_by="tag:team")["data"]

    counted = [(each["tag"], each["requests"], each["output_tokens"]) for each in bucket["results"]]
    assert sorted(counted, key=str) == sorted([("a", 2, 5), ("b", 1, 2), (None, 1, 8)], key=str)
    assert "model" not in bucket["results"][0]


def test_pages_follow_each_other_without_a_gap(issued: tuple[APIKey, str], get: Any) -> None:
    for hours in range(5):
        use(issued[0], NOON + timedelta(hours=hours))
    query = {
        "starting_at": NOON.isoformat(),
        "ending_at": (NOON + timedelta(hours=5)).isoformat(),
        "bucket_width": "1h",
        "limit": "2",
    }

    pages = [get(USAGE, **query)]
    while pages[-1]["has_more"]:
        pages.append(get(USAGE, **query, page=pages[-1]["next_page"]))

    buckets = [bucket for page in pages for bucket in page["data"]]
    assert [len(page["data"]) for page in pages] == [2, 2, 1]
    assert [bucket["results"][0]["requests"] for bucket in buckets] == [1] * 5
    assert all(one["ending_at"] == other["starting_at"] for one, other in pairwise(buckets))


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"bucket_width": "2h"}, "bucket_width"),
        ({"group_by": "owner"}, "group_by"),
        ({"group_by": "tag:"}, "group_by"),
        ({"group_by": "tag:team"}, "bucket_width"),
        ({"group_by": "tag:team", "bucket_width": "1h", "limit": "25"}, "limit"),
        ({"starting_at": ""}, "starting_at"),
        ({"page": ""}, "page"),
        ({"limit": "0"}, "limit"),
        ({"limit": "32"}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"starting_at": "yesterday"}, "starting_at"),
        ({"starting_at": "2026-11-25"}, "starting_at"),
        ({"ending_at": "0001-01-01T00:00:00Z"}, "ending_at"),
        ({"starting_at": "2026-11-26T00:00:00Z", "ending_at": "2026-11-25T00:00:00Z"}, "starting_at"),
        ({"page": "2"}, "page"),
    ],
)
def test_an_invalid_parameter_is_a_400_that_names_it(get: Any, query: dict[str, str], param: str) -> None:
    assert get(USAGE, status=400, **query)["error"]["param"] == param


@pytest.mark.parametrize("path", [KEY, USAGE, KEY + "/", USAGE + "/"])
def test_a_key_is_required(db: None, client: Client, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 401
    assert response.json()["data"]["error"]["type"] == "authentication_error"
    assert client.post(path).status_code in (401, 405)


@pytest.mark.parametrize(
    ("own", "of_team", "allowed"),
    [
        ([], [], ["*"]),
        ([], ["a"], ["a"]),
        (["a", "b"], ["a"], ["a"]),
        (["claude-*"], ["claude-haiku-*", "b"], ["claude-haiku-*"]),
        (["a"], ["b"], []),
    ],
)
def test_allowed_models_are_those_that_key_and_team_both_allow(
    issued: tuple[APIKey, str], get: Any, own: list[str], of_team: list[str], allowed: list[str]
) -> None:
    team = Team.objects.create(name="crew", allowed_models=of_team)
    APIKey.objects.update(owner=None, team=team, allowed_models=own)

    assert get("/api/v1/key")["models"]["allowed"] == allowed


def test_hourly_buckets_follow_a_clock_change_of_half_an_hour(settings: Any) -> None:
    settings.TIME_ZONE = "Australia/Lord_Howe"  # on 2026-04-04 at 15:00 UTC
    begin = datetime(2026, 4, 4, 12, tzinfo=UTC)
    query = BucketQuery(
        starting_at=begin, ending_at=begin + timedelta(hours=8), bucket_width="1h", limit=100, by_model=False
    )

    edges = query.edges()

    assert [f"{edge:%H:%M}" for edge in edges[:5]] == ["12:00", "13:00", "14:00", "15:30", "16:30"]
    assert edges[-1] >= query.ending_at and all(start_of_bucket(edge, "1h") == edge for edge in edges)
    assert {start_of_bucket(begin + timedelta(minutes=minutes), "1h") for minutes in (120, 155, 185, 209)} == {edges[2]}
