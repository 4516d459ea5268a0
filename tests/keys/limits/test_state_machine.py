"""Any order of requests that start, finish, are released or are lost: both forms match a plain model."""

from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from keys.errors import RateLimitExceeded
from keys.limits.limiter import LimitGrant, Limits
from tests.keys.limits.limiters import LEASE_S, TimedLimiter, of_key, of_team, remaining

# One request per ten seconds, one token per five: time advances in steps of ten, so every level is a whole number.
STEP_S = 10
KEY = of_key(requests_per_minute=6, tokens_per_minute=12, concurrent_requests=2)
TEAM = of_team(requests_per_minute=12, tokens_per_minute=24, concurrent_requests=3)
SHADOW = Limits(scope="team", id="team:2", requests_per_minute=6, tokens_per_minute=12, is_shadow=True)
ALL = (KEY, TEAM, SHADOW)


class Model:
    """The plain model of one scope."""

    def __init__(self, limits: Limits) -> None:
        self.requests = self.max_requests = limits.requests_per_minute or 0
        self.tokens = self.max_tokens = limits.tokens_per_minute or 0
        self.slots = limits.concurrent_requests
        self.leases: dict[str, int] = {}

    def allows(self, tokens: int) -> bool:
        has_slot = self.slots is None or len(self.leases) < self.slots
        return self.requests >= 1 and self.tokens >= self.amount(tokens) and has_slot

    def amount(self, tokens: int) -> int:
        return min(max(1, tokens), self.max_tokens)

    def consume(self, request_id: str, tokens: int, lease_ends_at: int) -> None:
        self.requests -= 1
        self.tokens -= self.amount(tokens)
        self.leases[request_id] = lease_ends_at

    def settle(self, request_id: str, *, estimate: int, used: int, requests: int) -> None:
        self.requests = min(self.max_requests, self.requests + requests)
        self.tokens = min(self.max_tokens, self.tokens + self.amount(estimate) - used)
        self.leases.pop(request_id, None)

    def advance(self, seconds: int, now: int) -> None:
        self.requests = min(self.max_requests, self.requests + seconds * self.max_requests // 60)
        self.tokens = min(self.max_tokens, self.tokens + seconds * self.max_tokens // 60)
        self.leases = {
            request_id: lease_ends_at for request_id, lease_ends_at in self.leases.items() if lease_ends_at > now
        }


class Machine(RuleBasedStateMachine):
    """Needs `limiter` as a class attribute."""

    limiter: TimedLimiter
    grants = Bundle("grants")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.models = {limits.id: Model(limits) for limits in ALL}
        self.limiter.reset()

    @rule(
        target=grants, limits=st.sampled_from([(KEY,), (KEY, TEAM), (KEY, SHADOW), (TEAM,)]), tokens=st.integers(0, 30)
    )
    def consume(self, limits: tuple[Limits, ...], tokens: int) -> Any:
        binding = [self.models[each.id] for each in limits if not each.is_shadow]
        shadow = [self.models[each.id] for each in limits if each.is_shadow]
        try:
            grant = self.limiter.consume(*limits, tokens=tokens)
        except RateLimitExceeded:
            assert not all(each.allows(tokens) for each in binding)
            return multiple()
        assert all(each.allows(tokens) for each in binding)
        assert (grant.shadow_exceeded is None) == all(each.allows(tokens) for each in shadow)
        counts = binding + (shadow if grant.shadow_exceeded is None else [])
        for each in counts:
            each.consume(grant.request_id, tokens, self.now + round(LEASE_S))
        self.check(grant, binding)
        return (grant, counts, binding, tokens)

    @rule(consumed=consumes(grants), used=st.integers(0, 40), again=st.booleans())
    def settle(self, consumed: Any, used: int, again: bool) -> None:
        grant, counts, binding, tokens = consumed
        self.limiter.settle(grant, tokens=used)
        if again:
            self.limiter.settle(grant, tokens=0)
        for each in counts:
            each.settle(grant.request_id, estimate=tokens, used=used, requests=0)
        self.check(grant, binding)

    @rule(consumed=consumes(grants))
    def release(self, consumed: Any) -> None:
        grant, counts, binding, tokens = consumed
        self.limiter.release(grant)
        for each in counts:
            each.settle(grant.request_id, estimate=tokens, used=0, requests=1)
        self.check(grant, binding)

    @rule(consumed=consumes(grants))
    def lose(self, consumed: Any) -> None:
        """Do nothing: the slot expires with its lease, the buckets refill."""

    @rule(steps=st.integers(1, 12))
    def let_time_pass(self, steps: int) -> None:
        self.advance(steps * STEP_S)

    def advance(self, seconds: int) -> None:
        self.now += seconds
        self.limiter.time.advance(seconds)
        for each in self.models.values():
            each.advance(seconds, self.now)

    def check(self, grant: LimitGrant, binding: list[Model]) -> None:
        least = min(each.requests for each in binding), min(each.tokens for each in binding)
        assert remaining(grant.headers) == tuple(max(0, each) for each in least)

    @invariant()
    def concurrency_is_within_the_limit(self) -> None:
        for each in self.models.values():
            assert each.slots is None or len(each.leases) <= each.slots

    def teardown(self) -> None:
        """After the last request and the last lease, the limits are as at the start."""
        self.advance(round(LEASE_S) + 3600)
        for limits in ALL:
            grants = [self.limiter.consume(limits) for _ in range(limits.concurrent_requests or 1)]
            assert grants[0].shadow_exceeded is None
            if limits is not SHADOW:
                expected = (limits.requests_per_minute or 0) - 1, (limits.tokens_per_minute or 0) - 1
                assert remaining(grants[0].headers) == expected


@pytest.mark.timeout(300)
def test_both_forms_match_the_model(limiter: TimedLimiter) -> None:
    machine = type("Machine", (Machine,), {"limiter": limiter})

    run_state_machine_as_test(
        machine,
        settings=hypothesis_settings(max_examples=30, stateful_step_count=40, deadline=None, derandomize=True),
    )
