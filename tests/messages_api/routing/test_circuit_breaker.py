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


def fail(circuit: CircuitBreaker, times: int, *, keys: tuple[int, ...] = (1, 2)) -> None:
    """Record failures of these keys in turn."""
    for i in range(times):
        circuit.record_failure("overloaded_error", key_id=keys[i % len(keys)])


def allows(circuit: CircuitBreaker, key_id: int = 1) -> bool:
    return circuit.permit(key_id) is not None


def test_four_consecutive_failures_do_not_open_the_circuit(circuit: CircuitBreaker) -> None:
    fail(circuit, 4)

    assert circuit.open_state is None
    assert allows(circuit)


def test_five_consecutive_failures_open_the_circuit(circuit: CircuitBreaker) -> None:
    fail(circuit, 5)

    assert circuit.open_state is not None
    assert circuit.open_state.reason == "overloaded_error"
    assert not allows(circuit)


def test_a_success_resets_the_failure_count(circuit: CircuitBreaker) -> None:
    fail(circuit, 4)
    circuit.record_success()
    fail(circuit, 4)

    assert circuit.open_state is None


def test_one_request_in_ten_seconds_is_a_probe(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5)
    probes = []
    for second in range(35):
        probes += [second for _ in range(20) if allows(circuit)]
        clock.forward(1)

    assert probes == [10, 20, 30]


def test_a_failed_probe_keeps_the_circuit_open_for_the_first_reason(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5)
    first = circuit.open_state
    clock.forward(10)

    assert allows(circuit)
    circuit.record_failure("timeout_error", key_id=1)

    assert circuit.open_state == first
    assert not allows(circuit)
    assert circuit.next_probe_in_s() == 10


def test_the_first_event_of_a_probe_closes_the_circuit(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5)
    clock.forward(10)
    assert allows(circuit)

    circuit.on_first_event(1)

    assert circuit.open_state is None
    assert all(allows(circuit) for _ in range(100))
    fail(circuit, 4)
    assert circuit.open_state is None


def test_a_response_that_only_starts_does_not_reset_the_failure_count(circuit: CircuitBreaker) -> None:
    for key_id in (1, 2, 1, 2, 1):
        circuit.on_first_event(key_id)
        circuit.record_failure("api_error", key_id=key_id)

    assert circuit.open_state is not None


def test_another_base_url_is_another_circuit(clock: Clock) -> None:
    circuit_breakers = CircuitBreakers(clock=clock)

    fail(circuit_breakers.of(endpoint("http://one")), 5)

    assert not allows(circuit_breakers.of(endpoint("http://one")))
    assert allows(circuit_breakers.of(endpoint("http://two")))


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
    assert allows(circuit)

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


# ---- one key does not decide for the others


def test_failures_of_one_key_open_the_circuit_for_that_key_alone(circuit: CircuitBreaker) -> None:
    fail(circuit, 5, keys=(1,))

    assert not allows(circuit, 1)
    assert allows(circuit, 2)
    assert circuit.open_state is None and circuit.open_keys == 1


def test_any_number_of_failures_of_one_key_leaves_the_circuit_closed_for_others(circuit: CircuitBreaker) -> None:
    fail(circuit, 1000, keys=(1,))

    assert circuit.open_state is None
    circuit.record_failure("api_error", key_id=2)
    assert circuit.open_state is None
    circuit.record_failure("api_error", key_id=2)
    assert circuit.open_state is not None


def test_the_circuit_of_a_key_is_probed_and_closed_like_that_of_all(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5, keys=(1,))
    clock.forward(10)

    assert [allows(circuit, 1) for _ in range(3)] == [True, False, False]
    circuit.on_first_event(1)

    assert allows(circuit, 1) and circuit.consecutive_failures == 0


def test_failures_of_other_requests_do_not_postpone_the_probe(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5)
    for _ in range(9):
        clock.forward(1)
        circuit.record_failure("api_error", key_id=1)  # of a route without another target
    clock.forward(1)

    assert allows(circuit, 2)


def test_a_probe_without_a_result_is_left_to_the_next_request(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5)
    clock.forward(10)
    for _ in range(3):
        probe = circuit.permit(1)
        assert probe is not None and not allows(circuit, 2)

        probe.end(was_abandoned=False)

    assert allows(circuit, 1)


def test_a_key_that_abandons_probes_leaves_them_to_others(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5)
    clock.forward(10)
    probe = circuit.permit(1)
    assert probe is not None

    probe.end(was_abandoned=True)

    assert not allows(circuit, 1)
    assert allows(circuit, 2)


def test_a_request_that_is_no_evidence_is_no_probe_and_changes_nothing(circuit: CircuitBreaker, clock: Clock) -> None:
    counting = circuit.permit(1, is_evidence=False)
    assert counting is not None
    for _ in range(5):
        counting.record_failure("api_error")
    assert circuit.consecutive_failures == 0

    fail(circuit, 5)
    clock.forward(10)
    counting.record_success()
    counting.on_first_event()

    assert circuit.permit(1, is_evidence=False) is None
    assert circuit.open_state is not None and allows(circuit)


# ---- retry budget


def test_three_retries_per_second_are_always_allowed(clock: Clock) -> None:
    budget = RetryBudget(clock=clock)

    assert [budget.try_acquire(1) for _ in range(31)] == [True] * 30 + [False]


def test_a_tenth_of_the_requests_may_be_retries(clock: Clock) -> None:
    budget = RetryBudget(clock=clock)
    for _ in range(1000):
        budget.record_request(1)

    assert sum(budget.try_acquire(1) for _ in range(1000)) == 100


def test_counts_older_than_ten_seconds_expire(clock: Clock) -> None:
    budget = RetryBudget(clock=clock)
    taken = []
    for _ in range(30):
        taken.append(sum(budget.try_acquire(1) for _ in range(30)))
        clock.forward(1)

    assert sum(taken[:10]) == sum(taken[10:20]) == sum(taken[20:]) == 30


def test_keys_share_the_retry_budget(clock: Clock) -> None:
    budget = RetryBudget(clock=clock)
    for key_id in (1, 2):
        budget.record_request(key_id)

    assert sum(budget.try_acquire(1) for _ in range(100)) == 15
    assert sum(budget.try_acquire(2) for _ in range(100)) == 15

    clock.forward(10)
    assert sum(budget.try_acquire(1) for _ in range(100)) == 30  # key 2 has sent nothing since
