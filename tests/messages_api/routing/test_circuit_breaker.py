"""Circuit breaker and retry budget of an upstream."""

import pytest

from messages_api.routing.circuit_breaker import CircuitBreaker, CircuitBreakers, LocalState, OpenState
from messages_api.routing.retry_budget import RetryBudget
from tests.messages_api.backend.test_upstream_errors import endpoint
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("upstream", LocalState(), clock=clock)


def fail(circuit: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        circuit.record_failure("overloaded_error")


def test_four_consecutive_failures_do_not_open_the_circuit(circuit: CircuitBreaker) -> None:
    fail(circuit, 4)

    assert circuit.open_state is None
    assert circuit.allows_request()


def test_five_consecutive_failures_open_the_circuit(circuit: CircuitBreaker) -> None:
    fail(circuit, 5)

    assert circuit.open_state is not None
    assert circuit.open_state.reason == "overloaded_error"
    assert not circuit.allows_request()


def test_a_success_resets_the_failure_count(circuit: CircuitBreaker) -> None:
    fail(circuit, 4)
    circuit.record_success()
    fail(circuit, 4)

    assert circuit.open_state is None


def test_one_request_in_ten_seconds_is_a_probe(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5)
    probes = []
    for second in range(35):
        probes += [second for _ in range(20) if circuit.allows_request()]
        clock.forward(1)

    assert probes == [10, 20, 30]


def test_a_failed_probe_keeps_the_circuit_open_for_the_first_reason(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5)
    first = circuit.open_state
    clock.forward(10)

    assert circuit.allows_request()
    circuit.record_failure("timeout_error")

    assert circuit.open_state == first
    assert not circuit.allows_request()
    assert circuit.next_probe_in_s == 10


def test_the_first_event_of_a_probe_closes_the_circuit(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5)
    clock.forward(10)
    assert circuit.allows_request()

    circuit.on_first_event()

    assert circuit.open_state is None
    assert all(circuit.allows_request() for _ in range(100))
    fail(circuit, 4)
    assert circuit.open_state is None


def test_a_response_that_only_starts_does_not_reset_the_failure_count(circuit: CircuitBreaker) -> None:
    for _ in range(5):
        circuit.on_first_event()
        circuit.record_failure("api_error")

    assert circuit.open_state is not None


def test_another_base_url_is_another_circuit(clock: Clock) -> None:
    circuit_breakers = CircuitBreakers(clock=clock)

    fail(circuit_breakers.of(endpoint("http://one")), 5)

    assert not circuit_breakers.of(endpoint("http://one")).allows_request()
    assert circuit_breakers.of(endpoint("http://two")).allows_request()


class OtherProcess(LocalState):
    """Shared state that another process has set."""

    def __init__(self) -> None:
        self.state: OpenState | None = None

    def get_open(self, upstream: str, *, default: OpenState | None) -> OpenState | None:
        return self.state

    def set_open(self, upstream: str, state: OpenState) -> None:
        self.state = state


def test_the_state_of_another_process_is_read_within_a_second(clock: Clock) -> None:
    other = OtherProcess()
    circuit = CircuitBreaker("upstream", other, clock=clock)
    assert circuit.allows_request()

    other.state = OpenState(since=0, reason="api_error")
    clock.forward(1)

    assert circuit.open_state == other.state


def test_a_success_in_another_process_resets_the_failure_count(clock: Clock) -> None:
    other = OtherProcess()
    circuit = CircuitBreaker("upstream", other, clock=clock)
    fail(circuit, 5)
    assert circuit.open_state is not None

    other.state = None  # the probe of the other process succeeded
    clock.forward(1)
    assert circuit.open_state is None
    fail(circuit, 4)

    assert circuit.open_state is None


# ---- retry budget


def test_three_retries_per_second_are_always_allowed(clock: Clock) -> None:
    budget = RetryBudget(clock=clock)

    assert [budget.try_acquire() for _ in range(31)] == [True] * 30 + [False]


def test_a_tenth_of_the_requests_may_be_retries(clock: Clock) -> None:
    budget = RetryBudget(clock=clock)
    for _ in range(1000):
        budget.record_request()

    assert sum(budget.try_acquire() for _ in range(1000)) == 100


def test_counts_older_than_ten_seconds_expire(clock: Clock) -> None:
    budget = RetryBudget(clock=clock)
    taken = []
    for _ in range(30):
        taken.append(sum(budget.try_acquire() for _ in range(30)))
        clock.forward(1)

    assert sum(taken[:10]) == sum(taken[10:20]) == sum(taken[20:]) == 30
