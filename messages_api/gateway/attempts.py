"""
The attempts of one call: at a target, at most twice more, then at the next. All of it happens before the first byte.

Every attempt is noted for the usage record. None begins after the total deadline, which is one for all of them.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from messages_api.backend.attempt import Attempt
from messages_api.backend.backoff import backoff_s
from messages_api.backend.endpoint import Target
from messages_api.backend.upstream_error import Aborted, RetryScope, UpstreamError, cause_of
from messages_api.routing.circuit_breaker import CircuitBreaker
from messages_api.routing.circuit_registry import CircuitBreakers

logger = logging.getLogger(__name__)

RETRIES = 2
GATEWAY_TIMEOUT = 504
Result = TypeVar("Result")


class BeginAttempt(Protocol):
    def __call__(self, *, target: Target, expires_at: float) -> Attempt:
        """Create an attempt at a target. `expires_at` is monotonic."""


class Attempts:
    """Goes through the targets of a call until one answers. May be aborted from another thread at any moment."""

    def __init__(self, targets: Sequence[Target], *, circuit_breakers: CircuitBreakers, begin: BeginAttempt) -> None:
        self._targets = targets
        self._circuit_breakers = circuit_breakers
        self._begin = begin
        self._begun_at = time.monotonic()
        self._retries = 0
        self._is_exhausted = False
        self._made: list[dict[str, Any]] = []
        self._abort_error: Exception | None = None
        self._was_aborted = threading.Event()
        self.current: Attempt | None = None
        """The last attempt that began: the one that serves the call, if one does."""

    def run(self, ask: Callable[[Attempt], Result]) -> Result:
        """What `ask` returns of the first attempt that succeeds. Raise the last one's UpstreamError if none does."""
        for target in self._available_targets():
            try:
                return self._ask_target(target, ask)
            except UpstreamError as error:
                last_error = error
                if self._retry_scope(target, error) is RetryScope.NONE or self._time_is_up(target):
                    break
        raise self._final_error(last_error)

    def abort(self, error: Exception | None = None) -> None:
        """End what is going on, and begin nothing more. Whoever waits for it gets `error` (an Aborted by default)."""
        self._abort_error = self._abort_error or error or Aborted()
        self._was_aborted.set()
        if self.current is not None:
            self.current.exchange.abort(error)

    def stop_after_current(self, *, within_s: float) -> None:
        """Let the current attempt go on for so long, and begin no other."""
        self._abort_error = self._abort_error or Aborted()
        self._was_aborted.set()
        if self.current is not None:
            self.current.exchange.end_within(within_s)

    @property
    def is_aborted(self) -> bool:
        return self._abort_error is not None

    def close(self) -> None:
        """Give the connection back. May be called twice."""
        if self.current is not None:
            self.current.exchange.close()

    def finish(self, *, is_whole: bool, error: BaseException | None) -> list[dict[str, Any]]:
        """Tell the circuit how the attempt that served the call ended. Return what the usage record keeps of all."""
        attempt = self.current
        if attempt is None or attempt.error is not None:
            return self._made  # the last one failed, and was noted then
        if is_whole:
            self._circuit(attempt.target).record_success()
        elif isinstance(error, UpstreamError):
            self._note_failure(attempt, error)
            return self._made
        return [*self._made, attempt.summary()]

    # ---- one target after the other

    def _available_targets(self) -> Iterator[Target]:
        """The targets whose circuit lets the call through. If none does, the first: somebody has to be asked."""
        was_any_asked = False
        for target in self._targets:
            if self._circuit(target).allows_request():
                was_any_asked = True
                yield target
        if not was_any_asked:
            yield self._targets[0]

    def _ask_target(self, target: Target, ask: Callable[[Attempt], Result]) -> Result:
        self._circuit(target).retry_budget.record_request()
        while True:
            try:
                return self._ask_once(target, ask)
            except UpstreamError as error:
                if not self._waits_to_ask_again(target, error):
                    raise

    def _ask_once(self, target: Target, ask: Callable[[Attempt], Result]) -> Result:
        attempt = self.current = self._begin(
            target=target, expires_at=self._begun_at + target.endpoint.timeouts.request_timeout_s
        )
        if self._abort_error is not None:
            attempt.exchange.abort(self._abort_error)
        try:
            result = ask(attempt)
        except UpstreamError as error:
            attempt.exchange.close()
            self._note_failure(attempt, error)
            raise
        self._circuit(target).on_first_event()
        return result

    def _note_failure(self, attempt: Attempt, error: UpstreamError) -> None:
        attempt.error = error
        self._made.append(attempt.summary())
        if self.is_aborted:
            return  # by us, which says nothing of the upstream
        if error.is_upstream_fault or error.retry_scope is not RetryScope.NONE:
            why = cause_of(error) or f"status {attempt.exchange.response_status}"
            logger.warning("An attempt at %s failed: %s (%s)", attempt.target.endpoint.name, error.type, why)
        circuit = self._circuit(attempt.target)
        if error.is_upstream_fault:
            circuit.record_failure(error.type)
        elif attempt.exchange.response_status is not None:
            circuit.record_success()

    # ---- again?

    def _waits_to_ask_again(self, target: Target, error: UpstreamError) -> bool:
        """Wait as long as it takes, if another attempt at this target makes sense. Raise what it was aborted with."""
        if self._retry_scope(target, error) is not RetryScope.SAME_TARGET:
            return False
        wait_s = backoff_s(self._retries + 1, retry_after_s=error.retry_after_s)
        if wait_s is None or self._time_is_up(target, in_s=wait_s):
            return False
        if not self._may_retry(self._circuit(target)):
            self._is_exhausted = True
            return False
        if self._was_aborted.wait(wait_s):
            assert self._abort_error is not None
            raise self._abort_error
        return True

    def _may_retry(self, circuit: CircuitBreaker) -> bool:
        if self._retries >= RETRIES or circuit.open_state is not None or not circuit.retry_budget.try_acquire():
            return False
        self._retries += 1
        return True

    def _retry_scope(self, target: Target, error: UpstreamError) -> RetryScope:
        if (
            error.status == GATEWAY_TIMEOUT
            and error.retry_scope is RetryScope.NONE
            and target.endpoint.retry_on_timeout
        ):
            return RetryScope.SAME_TARGET
        return error.retry_scope

    def _time_is_up(self, target: Target, *, in_s: float = 0.0) -> bool:
        return time.monotonic() + in_s >= self._begun_at + target.endpoint.timeouts.request_timeout_s

    def _final_error(self, error: UpstreamError) -> UpstreamError:
        """What the caller is told. One that retries by itself should not, where we have done what could be done."""
        if self._is_exhausted:
            error.headers = {**error.headers, "x-should-retry": "false"}
        return error

    def _circuit(self, target: Target) -> CircuitBreaker:
        return self._circuit_breakers.of(target.endpoint)
