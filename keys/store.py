"""
What several processes know together for a moment: Redis or Valkey, where `REDIS_URL` names one.

Nothing that must be true lives here. An answer that does not come within 50 ms counts as none, and after three of those
the server is left alone for five seconds: whoever asks then goes by what it knows itself, without a delay.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S = 0.05
FAILURES_IN_A_ROW = 3
LEFT_ALONE_S = 5.0
CONNECTIONS = 32

Result = TypeVar("Result")


class Store:
    """The way to the shared store. Connects when it is first asked, in whatever process that is (workers fork)."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._client: redis.Redis | None = None
        self._failures = 0
        self._asked_again_at = 0.0

    @property
    def is_configured(self) -> bool:
        return bool(settings.REDIS_URL)

    @property
    def is_away(self) -> bool:
        """Whether it is not asked for now, because it did not answer."""
        return self._clock() < self._asked_again_at

    def run(self, command: Callable[[redis.Redis], Result], *, otherwise: Result) -> Result:
        """What a command returns; `otherwise` while the store is not configured or away."""
        if not self.is_configured or self.is_away:
            return otherwise
        try:
            result = command(self._connected())
        except redis.RedisError as error:
            self._failed(error)
            return otherwise
        self._failures = 0
        return result

    def close(self) -> None:
        """Give the connections up. May be called twice, and the store may be asked again afterwards."""
        client, self._client = self._client, None
        self._failures, self._asked_again_at = 0, 0.0
        if client is not None:
            client.close()
            client.connection_pool.disconnect()

    def _connected(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                pool = redis.BlockingConnectionPool.from_url(
                    settings.REDIS_URL,
                    max_connections=CONNECTIONS,
                    timeout=ANSWER_WITHIN_S,
                    socket_timeout=ANSWER_WITHIN_S,
                    socket_connect_timeout=ANSWER_WITHIN_S,
                    retry=Retry(NoBackoff(), 0),
                    decode_responses=True,
                )
                self._client = redis.Redis(connection_pool=pool)
            return self._client

    def _failed(self, error: redis.RedisError) -> None:
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW and not self.is_away:
            self._asked_again_at = self._clock() + LEFT_ALONE_S
            logger.warning("Redis does not answer (%s); it is asked again in %g s", type(error).__name__, LEFT_ALONE_S)


store = Store()
