"""
What several processes know together for a moment: Redis or Valkey, where `REDIS_URL` names one.

Nothing that must be true lives here. An answer that does not come within 50 ms counts as none, and after three of those
the server is left alone: whoever asks then goes by what it knows itself, without a delay, until a thread of the store's
own has had an answer.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S = 0.05
FAILURES_IN_A_ROW = 3
ASKED_AGAIN_EVERY_S = 1.0
CONNECTIONS = 32

Result = TypeVar("Result")


class Store:
    """The way to the shared store. Connects when it is first asked, in whatever process that is (workers fork)."""

    def __init__(self, *, answer_within_s: float = ANSWER_WITHIN_S) -> None:
        self._answer_within_s = answer_within_s
        self._lock = threading.Lock()
        self._client: redis.Redis | None = None
        self._failures = 0
        self._is_away = False

    @property
    def is_configured(self) -> bool:
        return bool(settings.REDIS_URL)

    @property
    def is_away(self) -> bool:
        """Whether it is not asked for now, because it did not answer."""
        return self._is_away

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
        self._failures, self._is_away = 0, False
        if client is not None:
            client.close()
            client.connection_pool.disconnect()

    def _connected(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                pool = redis.BlockingConnectionPool.from_url(
                    settings.REDIS_URL,
                    max_connections=CONNECTIONS,
                    timeout=self._answer_within_s,
                    socket_timeout=self._answer_within_s,
                    socket_connect_timeout=self._answer_within_s,
                    retry=Retry(NoBackoff(), 0),
                    decode_responses=True,
                )
                self._client = redis.Redis(connection_pool=pool)
            return self._client

    def _failed(self, error: redis.RedisError) -> None:
        with self._lock:
            self._failures += 1
            if self._failures < FAILURES_IN_A_ROW or self._is_away:
                return
            self._is_away = True
        logger.warning("Redis does not answer (%s); each process goes by what it knows", type(error).__name__)
        threading.Thread(target=self._wait_for_it, name="store", daemon=True).start()

    def _wait_for_it(self) -> None:
        while self._is_away:
            time.sleep(ASKED_AGAIN_EVERY_S)
            with suppress(redis.RedisError):
                self._connected().ping()
                self._failures, self._is_away = 0, False
                logger.warning("Redis answers again")


store = Store()
