"""What the scripted upstream received, and how each call ended."""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


@dataclasses.dataclass(kw_only=True, slots=True)
class RecordedRequest:
    """One HTTP exchange as the upstream saw it. Times are those of `time.monotonic()`."""

    id: int
    connection: int
    """Which connection it came on, counted from 1: equal numbers are a connection that was used again."""
    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case; of a repeated header the values are joined with `, `."""
    at: float
    dialect: str
    body: Any = b""
    """Parsed JSON, or bytes where it is none; empty bytes for a script that answers before the body."""
    scenario: str = ""
    """The name that chose the script, without `scripted-`; empty for a queued or the default script."""
    ended_at: float | None = None
    closed_by_peer_at: float | None = None
    """When the peer's close, half-close or reset was noticed: during the call, or later while the connection idled."""
    outcome: str = ""
    """`played` (the script came to its end), `peer_closed`, `peer_reset`, `stopped` (the upstream was closed),
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
        """Whether an OpenAI stream is to end with the usage chunk."""
        options = self.body.get("stream_options") if isinstance(self.body, dict) else None
        return isinstance(options, dict) and options.get("include_usage") is True


class RequestLog:
    """All calls in the order of their arrival; the connections' threads write, a test reads and waits."""

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
        """Note when the peer left; only the first time counts."""
        with self._changed:
            if request.closed_by_peer_at is None:
                request.closed_by_peer_at = at
            self._changed.notify_all()

    def wait_for(
        self, predicate: Callable[[RecordedRequest], object], *, count: int, within_s: float
    ) -> list[RecordedRequest]:
        """Return the calls that satisfy the predicate once there are `count` of them, or raise TimeoutError."""

        def matching() -> list[RecordedRequest]:
            return [request for request in self._requests if predicate(request)]

        with self._changed:
            if self._changed.wait_for(lambda: len(matching()) >= count, within_s):
                return matching()
            raise TimeoutError(f"{len(matching())} of {count} calls within {within_s} s: {self._requests!r:.2000}")
