"""
Attempts of one request: first attempt, retries at the same target, fallback to the next one.

All attempts happen before the first byte of the response. Each is recorded for the usage record. No attempt begins
after the request timeout, which covers all of them. Circuits learn from attempts that reached an upstream.
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
from messages_api.routing.circuit_breaker import CircuitBreaker, CircuitBreakers, Permit

logger = logging.getLogger(__name__)

MAX_RETRIES = 2
GATEWAY_TIMEOUT = 504
Result = TypeVar("Result")


class BeginAttempt(Protocol):
    def __call__(self, *, target: Target, expires_at: float) -> Attempt:
        """Create an attempt at a target. `expires_at` is monotonic."""


class Attempts:
    """Tries the targets of a request until one responds. Another thread may abort it at any moment."""

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        circuit_breakers: CircuitBreakers,
        key_id: int,
        request_id: str,
        begin: BeginAttempt,
        is_evidence: bool = True,
    ) -> None:
        """Do not send yet. With `is_evidence` False, circuits are obeyed and learn nothing from the attempts."""
        self._targets = targets
        self._circuit_breakers = circuit_breakers
        self._key_id = key_id
        self._request_id = request_id
        self._begin = begin
        self._is_evidence = is_evidence
        self._permit: Permit | None = None
        self._started_at = time.monotonic()
        self._retries = 0
        self._is_exhausted = False
        self._summaries: list[dict[str, Any]] = []
        self._abort_error: Exception | None = None
        self._was_aborted: threading.Event | None = None
        """Set by an abort. Created when the request waits for a retry, since most do not."""
        self.first: Attempt | None = None
        self.current: Attempt | None = None
        """The most recent attempt: the one that serves the request, once one does."""

    def run(self, send: Callable[[Attempt], Result]) -> Result:
        """Return the result of `send` for the first attempt that succeeds.

        Raise the UpstreamError of the last attempt if none succeeds, and the error of an abort.
        """
        for target, permit in self._available_targets():
            self._permit = permit
            try:
                return self._try_target(target, send)
            except UpstreamError as error:
                last_error = error
                if self._retry_scope(target, error) is RetryScope.NONE or self._is_timed_out(target):
                    break
        raise self._final_error(last_error)

    def abort(self, error: Exception | None = None) -> None:
        """Abort the current attempt and begin no other. `run` raises `error`, or Aborted without one."""
        self._end_waiting(error or Aborted())
        if self.current is not None:
            self.current.exchange.abort(error)

    def stop_after_current(self, *, within_s: float) -> None:
        """Let the current attempt continue for `within_s` seconds and begin no other."""
        self._end_waiting(Aborted())
        if self.current is not None:
            self.current.exchange.end_within(within_s)

    def _end_waiting(self, error: Exception) -> None:
        self._abort_error = self._abort_error or error
        if self._was_aborted is not None:
            self._was_aborted.set()

    @property
    def is_aborted(self) -> bool:
        return self._abort_error is not None

    def close(self) -> None:
        """Release the connection. May be called twice."""
        if self.current is not None:
            self.current.exchange.close()

    def finish(self, *, is_complete: bool, error: BaseException | None) -> list[dict[str, Any]]:
        """Record the outcome of the last attempt with its circuit breaker. Return the summaries of all attempts."""
        attempt = self.current
        if attempt is None or attempt.error is not None:
            return self._summaries  # a failed attempt was recorded when it failed
        if is_complete:
            self._record_success(attempt)
        elif isinstance(error, UpstreamError):
            self._record_failure(attempt, error)
            return self._summaries
        return [*self._summaries, attempt.summary()]

    # ---- targets

    def _available_targets(self) -> Iterator[tuple[Target, Permit]]:
        """Yield the targets whose circuit breaker allows the request. If none does, yield the first target."""
        is_any_available = False
        for target in self._targets:
            if (permit := self._breaker(target).permit(self._key_id, is_evidence=self._is_evidence)) is not None:
                is_any_available = True
                yield target, permit
        if not is_any_available:
            first = self._targets[0]
            yield first, Permit(self._breaker(first), self._key_id, is_evidence=self._is_evidence)

    def _try_target(self, target: Target, send: Callable[[Attempt], Result]) -> Result:
        self._breaker(target).retry_budget.record_request(self._key_id)
        try:
            while True:
                try:
                    return self._try_once(target, send)
                except UpstreamError as error:
                    if not self._wait_for_retry(target, error):
                        raise
        finally:
            self._end_permit(target)

    def _try_once(self, target: Target, send: Callable[[Attempt], Result]) -> Result:
        if self._abort_error is not None:
            raise self._abort_error
        expires_at = self._started_at + target.endpoint.timeouts.request_timeout_s
        attempt = self.current = self._begin(target=target, expires_at=expires_at)
        self.first = self.first or attempt
        if self._abort_error is not None:
            attempt.exchange.abort(self._abort_error)
        try:
            result = send(attempt)
        except UpstreamError as error:
            attempt.exchange.close()
            self._record_failure(attempt, error, with_tokens=True)
            raise
        if attempt.exchange.response_status is not None and self._permit is not None:
            self._permit.on_first_event()  # without a status, the adapter responded by itself
        return result

    def _record_failure(self, attempt: Attempt, error: UpstreamError, *, with_tokens: bool = False) -> None:
        """Record a failed attempt, `with_tokens` unless the record itself has those of its response."""
        attempt.error = error
        self._summaries.append(attempt.summary(with_tokens=with_tokens))
        if self.is_aborted:
            return  # the gateway ended it, so it says nothing about the upstream's health
        if error.is_upstream_fault or error.retry_scope is not RetryScope.NONE:
            name, cause = attempt.target.endpoint.name, cause_of(error)
            reason = f"{error.reason} ({cause})" if cause else error.reason
            logger.warning("%s attempt at %s failed: %s, %s", self._request_id, name, error.type, reason)
        if error.is_upstream_fault and self._permit is not None:
            self._permit.record_failure(error.type)

    def _record_success(self, attempt: Attempt) -> None:
        if attempt.exchange.response_status is not None and self._permit is not None:
            self._permit.record_success()

    def _end_permit(self, target: Target) -> None:
        attempt = self.current
        was_abandoned = attempt is not None and attempt.target is target and attempt.exchange.is_abandoned
        if self._permit is not None:
            self._permit.end(was_abandoned=was_abandoned)

    # ---- retries

    def _wait_for_retry(self, target: Target, error: UpstreamError) -> bool:
        """Return True after the backoff, or False where no retry is possible. Raise the error of an abort."""
        if self._retry_scope(target, error) is not RetryScope.SAME_TARGET:
            return False
        wait_s = backoff_s(self._retries + 1, retry_after_s=error.retry_after_s)
        if wait_s is None or self._is_timed_out(target, in_s=wait_s):
            return False
        if not self._acquire_retry(self._breaker(target)):
            self._is_exhausted = True
            return False
        self._was_aborted = threading.Event()
        if self._abort_error is None:  # otherwise it was aborted before there was an event
            self._was_aborted.wait(wait_s)
        if self._abort_error is not None:
            raise self._abort_error
        return True

    def _acquire_retry(self, breaker: CircuitBreaker) -> bool:
        if self._retries >= MAX_RETRIES or breaker.open_state_for(self._key_id) is not None:
            return False
        if not breaker.retry_budget.try_acquire(self._key_id):
            return False
        self._retries += 1
        return True

    def _retry_scope(self, target: Target, error: UpstreamError) -> RetryScope:
        is_timeout = error.status == GATEWAY_TIMEOUT and error.retry_scope is RetryScope.NONE
        return RetryScope.SAME_TARGET if is_timeout and target.endpoint.retry_on_timeout else error.retry_scope

    def _is_timed_out(self, target: Target, *, in_s: float = 0.0) -> bool:
        return time.monotonic() + in_s >= self._started_at + target.endpoint.timeouts.request_timeout_s

    def _final_error(self, error: UpstreamError) -> UpstreamError:
        """Return the error for the client, with a header against retries of its own once ours are exhausted."""
        if self._is_exhausted:
            error.headers = {**error.headers, "x-should-retry": "false"}
        return error

    def _breaker(self, target: Target) -> CircuitBreaker:
        return self._circuit_breakers.of(target.endpoint)
