"""Record of the requests that the scripted upstream received."""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


@dataclasses.dataclass(kw_only=True, slots=True)
class RecordedRequest:
    """One HTTP exchange, as seen by the upstream. Times are `time.monotonic()`."""

    id: int
    connection: int
    """The number of its connection, from 1: equal numbers are a reused connection."""
    method: str
    path: str
    headers: dict[str, str]
    """Names are in lower case; values of a repeated header are joined with `, `."""
    at: float
    dialect: str
    body: Any = b""
    """Parsed JSON, or bytes if it is not JSON; empty bytes for a script that responds before the body."""
    scenario: str = ""
    """The name that selected the script, without `scripted-`; empty for a queued or the default script."""
    ended_at: float | None = None
    closed_by_peer_at: float | None = None
    """When the peer's close, half-close or reset was detected, during the request or on the idle connection."""
    outcome: str = ""
    """`played` (the script completed), `peer_closed`, `peer_reset`, `stopped` (the upstream was closed),
    `script_failed` (it raised); empty while it runs."""
    sent_bytes: int = 0

    @property
    def model(self) -> str:
        return str(self.body.get("model", "")) if isinstance(self.body, dict) else ""

    @property
    def is_streamed(self) -> bool:
        return isinstance(self.body, dict) and self.body.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """Whether an OpenAI stream must end with the usage chunk."""
        options = self.body.get("stream_options") if isinstance(self.body, dict) else None
        return isinstance(options, dict) and options.get("include_usage") is True


class RequestLog:
    """All requests in the order of their arrival. Connection threads write to it; tests read it and wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[RecordedRequest] = []

    def add(self, request: RecordedRequest) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def all(self) -> list[RecordedRequest]:
        with self._changed:
            return list(self._requests)

    def end(self, request: RecordedRequest, *, outcome: str, sent_bytes: int) -> None:
        with self._changed:
            request.outcome = outcome
            request.sent_bytes = sent_bytes
            request.ended_at = time.monotonic()
            self._changed.notify_all()
        duration_s = request.ended_at - request.at
        logger.info(
            "#%d %s %s %s -> %s, %d bytes, %.3f s",
            *(
                request.id,
                request.method,
                request.path,
                request.model or request.scenario,
                outcome,
                sent_bytes,
                duration_s,
            ),
        )

    def record_disconnect(self, request: RecordedRequest, *, at: float) -> None:
        """Record when the peer disconnected. Only the first time counts."""
        with self._changed:
            if request.closed_by_peer_at is None:
                request.closed_by_peer_at = at
            self._changed.notify_all()

    def wait_for(
        self, predicate: Callable[[RecordedRequest], object], *, count: int, within_s: float
    ) -> list[RecordedRequest]:
        """Return the requests that satisfy the predicate once there are `count` of them, or raise TimeoutError."""

        def matching() -> list[RecordedRequest]:
            return [request for request in self._requests if predicate(request)]

        with self._changed:
            if self._changed.wait_for(lambda: len(matching()) >= count, within_s):
                return matching()
            raise TimeoutError(f"{len(matching())} of {count} requests within {within_s} s: {self._requests!r:.2000}")
