"""Any order of calls that begin, end, are not made, or are lost: both forms do what a plain count says."""

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
from tests.keys.limits.limiters import LEASE_S, Counted, of_key, of_team, remaining

# One request in ten seconds, one token in five: time goes by in steps of ten, so every level is a whole number.
STEP_S = 10
KEY = of_key(requests_per_minute=6, tokens_per_minute=12, concurrent_requests=2)
TEAM = of_team(requests_per_minute=12, tokens_per_minute=24, concurrent_requests=3)
SHADOW = Limits(scope="team", id="team:2", requests_per_minute=6, tokens_per_minute=12, is_shadow=True)
ALL = (KEY, TEAM, SHADOW)


class Plain:
    """The count of one scope."""

    def __init__(self, limits: Limits) -> None:
        self.requests = self.most_requests = limits.requests_per_minute or 0
        self.tokens = self.most_tokens = limits.tokens_per_minute or 0
        self.places = limits.concurrent_requests
        self.running: dict[str, int] = {}

    def can_take(self, tokens: int) -> bool:
        has_place = self.places is None or len(self.running) < self.places
        return self.requests >= 1 and self.tokens >= self.held(tokens) and has_place

    def held(self, tokens: int) -> int:
        return min(max(1, tokens), self.most_tokens)

    def take(self, request_id: str, tokens: int, ends_at: int) -> None:
        self.requests -= 1
        self.tokens -= self.held(tokens)
        self.running[request_id] = ends_at

    def give_back(self, request_id: str, *, held: int, used: int, requests: int) -> None:
        self.requests = min(self.most_requests, self.requests + requests)
        self.tokens = min(self.most_tokens, self.tokens + self.held(held) - used)
        self.running.pop(request_id, None)

    def go_by(self, seconds: int, now: int) -> None:
        self.requests = min(self.most_requests, self.requests + seconds * self.most_requests // 60)
        self.tokens = min(self.most_tokens, self.tokens + seconds * self.most_tokens // 60)
        self.running = {request_id: ends_at for request_id, ends_at in self.running.items() if ends_at > now}


class Machine(RuleBasedStateMachine):
    """Set `counted` before it is run."""

    counted: Counted
    grants = Bundle("grants")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.plain = {limits.id: Plain(limits) for limits in ALL}
        self.counted.begin_anew()

    @rule(
        target=grants, limits=st.sampled_from([(KEY,), (KEY, TEAM), (KEY, SHADOW), (TEAM,)]), tokens=st.integers(0, 30)
    )
    def take(self, limits: tuple[Limits, ...], tokens: int) -> Any:
        binding = [self.plain[each.id] for each in limits if not each.is_shadow]
        shadow = [self.plain[each.id] for each in limits if each.is_shadow]
        try:
            grant = self.counted.take(*limits, tokens=tokens)
        except RateLimitExceeded:
            assert not all(each.can_take(tokens) for each in binding)
            return multiple()
        assert all(each.can_take(tokens) for each in binding)
        assert (grant.shadow_exceeded is None) == all(each.can_take(tokens) for each in shadow)
        counts = binding + (shadow if grant.shadow_exceeded is None else [])
        for each in counts:
            each.take(grant.request_id, tokens, self.now + round(LEASE_S))
        self.check(grant, binding)
        return (grant, counts, binding, tokens)

    @rule(taken=consumes(grants), used=st.integers(0, 40), again=st.booleans())
    def settle(self, taken: Any, used: int, again: bool) -> None:
        grant, counts, binding, tokens = taken
        self.counted.settle(grant, tokens=used)
        if again:
            self.counted.settle(grant, tokens=0)
        for each in counts:
            each.give_back(grant.request_id, held=tokens, used=used, requests=0)
        self.check(grant, binding)

    @rule(taken=consumes(grants))
    def release(self, taken: Any) -> None:
        grant, counts, binding, tokens = taken
        self.counted.release(grant)
        for each in counts:
            each.give_back(grant.request_id, held=tokens, used=0, requests=1)
        self.check(grant, binding)

    @rule(taken=consumes(grants))
    def lose(self, taken: Any) -> None:
        """Nobody gives it back: its place is free after the lease, what it took flows in again."""

    @rule(steps=st.integers(1, 12))
    def let_time_go_by(self, steps: int) -> None:
        self.go_by(steps * STEP_S)

    def go_by(self, seconds: int) -> None:
        self.now += seconds
        self.counted.time.go_by(seconds)
        for each in self.plain.values():
            each.go_by(seconds, self.now)

    def check(self, grant: LimitGrant, binding: list[Plain]) -> None:
        least = min(each.requests for each in binding), min(each.tokens for each in binding)
        assert remaining(grant.headers) == tuple(max(0, each) for each in least)

    @invariant()
    def no_more_calls_run_than_may(self) -> None:
        for each in self.plain.values():
            assert each.places is None or len(each.running) <= each.places

    def teardown(self) -> None:
        """After the last call and the last lease there is room for as much as at the beginning."""
        self.go_by(round(LEASE_S) + 3600)
        for limits in ALL:
            grants = [self.counted.take(limits) for _ in range(limits.concurrent_requests or 1)]
            assert grants[0].shadow_exceeded is None
            if limits is not SHADOW:
                left = (limits.requests_per_minute or 0) - 1, (limits.tokens_per_minute or 0) - 1
                assert remaining(grants[0].headers) == left


@pytest.mark.timeout(300)
def test_both_forms_do_what_a_plain_count_says(counted: Counted) -> None:
    machine = type("Machine", (Machine,), {"counted": counted})

    run_state_machine_as_test(
        machine,
        settings=hypothesis_settings(max_examples=30, stateful_step_count=40, deadline=None, derandomize=True),
    )
