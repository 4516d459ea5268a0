"""Sample data of an installation after a month: users, teams, prices, routes, and keys in every state.

The usage records come through the ledger and from a seeded random generator: only IDs and raw keys differ.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.utils import timezone

from keys.budgets.reservations import BudgetRef, ReservationRequest
from keys.domain.limits import LimitExceeded
from keys.models import APIKey, Budget, KeySecret, ModelPrice, Team, UsageRecord
from keys.pricing.price_book import prices
from keys.usage import ledger
from keys.usage.rows import Admission, Settlement
from messages_api.middleware import new_request_id
from messages_api.models import Route, RouteTarget, Upstream

DOLLAR = 1_000_000
MODELS = {"claude-sonnet-4-5": ("anthropic", 5), "claude-haiku-4-5": ("anthropic", 9), "qwen3-32b": ("vllm", 4)}
OUTCOMES: dict[str, tuple[int, dict[str, Any]]] = {
    "completed": (94, {"status": "completed", "http_status": 200, "stop_reason": "end_turn"}),
    "failed": (2, {"status": "failed", "http_status": 529, "error_type": "overloaded_error"}),
    "left": (3, {"status": "client_closed", "http_status": 499}),
    "rejected": (1, {"status": "rejected", "http_status": 429, "error_type": "rate_limit_error"}),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleData:
    """The objects that URLs of pages name."""

    busy: APIKey
    disabled: APIKey
    budget: Budget
    team: Team
    price: ModelPrice
    upstream: Upstream
    route: Route
    record: UsageRecord


def create_sample_data(root: User, *, upstream_url: str, requests_per_day: int) -> SampleData:
    """Fill an empty database, and close the ledger of this process."""
    users = {name: User.objects.create_user(name, email=f"{name}@example.org") for name in ("mia.keller", "tom.berg")}
    search = _team("Search", dollars=400, requests_per_minute=600, allowed_models=["claude-*", "qwen3-*"])
    support = _team("Support", dollars=150, requests_per_minute=240, tokens_per_minute=400_000)
    _team("Research", dollars=50).disable()
    price = _prices()
    upstream, route = _routes(upstream_url)
    keys = _keys(root, users, search, support)
    busy = keys["Support bot"]
    budget = Budget.objects.create(api_key=busy, amount=40 * DOLLAR)
    Budget.objects.create(api_key=busy, amount=2_000_000, unit="tokens", period="day")
    prices.clear()
    prices.book()
    _create_requests(keys, requests_per_day)
    for name in ("Old importer", "Paused demo", "Lost laptop"):
        _deactivate(keys[name])
    AccessAttempt.objects.create(
        username="tom.berg", ip_address="203.0.113.9", user_agent="Mozilla/5.0", path_info="/admin/login/",
        failures_since_start=5,
    )  # fmt: skip
    record = UsageRecord.objects.filter(api_key=busy, status="completed").latest("created_at")
    return SampleData(
        busy=busy, disabled=keys["Paused demo"], budget=budget, team=support, price=price, upstream=upstream,
        route=route, record=record,
    )  # fmt: skip


def _team(name: str, *, dollars: int, **rules: Any) -> Team:
    team = Team.objects.create(name=name, email=f"{name.lower()}@example.org", **rules)
    Budget.objects.create(team=team, amount=dollars * DOLLAR)
    return team


def _prices() -> ModelPrice:
    """Create superseded, active, scheduled and free prices. Return the one that is applied to most requests."""
    now = timezone.now()
    rows = [
        ("claude-sonnet-4-5*", now - timedelta(days=400), 3_300_000, 16_500_000),
        ("claude-sonnet-4-5*", now - timedelta(days=100), 3_000_000, 15_000_000),
        ("claude-haiku-4-5*", now - timedelta(days=100), 1_000_000, 5_000_000),
        ("claude-haiku-4-5*", now + timedelta(days=20), 900_000, 4_500_000),
    ]
    for pattern, start, input_price, output_price in rows:
        price = ModelPrice.objects.create(
            model_pattern=pattern,
            valid_from=start,
            input_price=input_price,
            output_price=output_price,
            cache_read_price=input_price // 10,
            cache_write_5m_price=input_price * 5 // 4,
            cache_write_1h_price=input_price * 2,
            source="price list of 2026",
        )
    ModelPrice.objects.create(
        model_pattern="qwen3-*", valid_from=now - timedelta(days=100), is_free=True, source="ours"
    )
    return ModelPrice.objects.exclude(pk=price.pk).filter(model_pattern=price.model_pattern).get()


def _routes(url: str) -> tuple[Upstream, Route]:
    anthropic = Upstream(name="anthropic", dialect="anthropic", base_url="https://api.anthropic.com")
    anthropic.set_credential("not-a-credential")
    anthropic.save()
    local = Upstream.objects.create(name="vllm", dialect="openai", base_url=url)
    for pattern, upstream in (("claude-haiku-4-5", local), ("claude-*", anthropic), ("qwen3-*", local)):
        route = Route.objects.create(pattern=pattern)
        RouteTarget.objects.create(route=route, upstream=upstream)
    return local, route


def _keys(root: User, users: dict[str, User], search: Team, support: Team) -> dict[str, APIKey]:
    """Create a key of each kind, with different ages."""
    now = timezone.now()
    mia, tom = users["mia.keller"], users["tom.berg"]
    rows: list[tuple[str, dict[str, Any], int, int | None]] = [
        # name, fields, days old, days left
        ("Support bot", {"team": support, "purpose": "Answers first questions of customers.",
                         "allowed_models": ["claude-*"], "requests_per_minute": 120, "concurrent_requests": 20,
                         "allowed_ips": ["127.0.0.1", "10.20.0.0/16"],
                         "metadata": {"env": "production"}}, 60, 80),
        ("Search ranking", {"team": search, "allowed_models": ["qwen3-*"]}, 45, 200),
        ("Nightly reports", {"owner": mia, "tokens_per_minute": 200_000}, 90, 120),
        ("Notebook of Mia", {"owner": mia, "purpose": "Experiments."}, 85, 5),
        ("Draft writer", {"owner": tom}, 30, None),
        ("Old importer", {"owner": tom}, 200, 30),
        ("Paused demo", {"owner": mia}, 50, 40),
        ("Lost laptop", {"owner": tom}, 70, 20),
        ("Not used yet", {"team": search}, 2, 88),
    ]  # fmt: skip
    keys: dict[str, APIKey] = {}
    for name, fields, age, left in rows:
        expires_at = None if left is None else now + timedelta(days=left)
        key, _ = APIKey.objects.issue(name=name, created_by=root, expires_at=expires_at, **fields)
        APIKey.objects.filter(pk=key.pk).update(created_at=now - timedelta(days=age))
        KeySecret.objects.filter(api_key=key).update(created_at=now - timedelta(days=age))
        keys[name] = key
    keys["Nightly reports"].rotate(overlap=timedelta(days=7))
    return keys


def _deactivate(key: APIKey) -> None:
    match key.name:
        case "Old importer":
            APIKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(days=3))
        case "Paused demo":
            key.disable()
        case "Lost laptop":
            key.revoke(reason="compromised", note="left in a train")


# ---- A month of requests, oldest first

BUSY = {"Support bot": 12, "Search ranking": 7, "Nightly reports": 4, "Notebook of Mia": 2, "Draft writer": 2}
BUSY |= {"Lost laptop": 1, "Old importer": 1}


def _create_requests(keys: dict[str, APIKey], requests_per_day: int) -> None:
    rng = random.Random(20261125)
    now = timezone.now()
    for days_ago in range(29, -1, -1):
        start = now - timedelta(days=days_ago, hours=18 if days_ago else 0)
        count = round(requests_per_day * (0.4 if start.weekday() >= 5 else 1) * rng.uniform(0.7, 1.3))
        moments = sorted(start + timedelta(hours=rng.uniform(0, 10)) for _ in range(count))
        for moment in moments:
            name = rng.choices(list(BUSY), list(BUSY.values()))[0]
            _create_request(keys[name], rng, at=min(moment, now - timedelta(seconds=40)))
    _create_request(keys["Support bot"], rng, at=now - timedelta(seconds=20), outcome="completed")
    ledger.close()


BUSY_LIMIT = LimitExceeded(scope="key", limit="requests_per_minute", value=120)


def _create_request(key: APIKey, rng: random.Random, *, at: datetime, outcome: str | None = None) -> None:
    own = "qwen3-32b" if key.name == "Search ranking" else ""
    model = own or rng.choices(list(MODELS), [weight for _, weight in MODELS.values()])[0]
    outcome = outcome or rng.choices(list(OUTCOMES), [weight for weight, _ in OUTCOMES.values()])[0]
    admission = Admission(
        id=new_request_id(), api_key_id=key.pk, secret_id=key.secrets.latest("created_at").pk, api_format="anthropic",
        model=model, streamed=rng.random() < 0.7, estimated_input_tokens=900, lease_s=10**7, created_at=at,
        client_ip="10.20.4.7", user_agent="anthropic-python/0.70", reservation_requests=_reservation_requests(key),
        limit_exceeded=BUSY_LIMIT if outcome == "rejected" else None,
    )  # fmt: skip
    if outcome == "rejected":
        ledger.reject(admission, http_status=429, error_type="rate_limit_error")
        return
    ledger.admit(admission)
    first = rng.randrange(180, 1500)
    ledger.settle(
        admission,
        Settlement(
            upstream=MODELS[model][0], upstream_model=model, usage_source="reported",
            attempts=[{"upstream": MODELS[model][0], "status": OUTCOMES[outcome][1]["http_status"]}],
            input_tokens=rng.randrange(200, 9_000), output_tokens=rng.randrange(20, 1_800),
            cache_read_tokens=rng.randrange(0, 20_000), ttft_ms=first,
            duration_ms=first + rng.randrange(300, 20_000), **OUTCOMES[outcome][1],
        ),
    )  # fmt: skip


def _reservation_requests(key: APIKey) -> list[ReservationRequest]:
    """Return a reservation in each budget for a request of this size."""
    scopes = [(budget, "key") for budget in key.budgets.all()]
    if key.team is not None:
        scopes += [(budget, "team") for budget in key.team.budgets.all()]
    return [
        ReservationRequest(
            budget=BudgetRef(id=each.pk, scope=scope, period=each.period, unit=each.unit), amount=100_000
        )
        for each, scope in scopes
    ]
