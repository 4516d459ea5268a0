"""
Client of the Redis or Valkey server that workers share, where `REDIS_URL` is set.

The shared store holds nothing that must be correct or durable. A command that gets no reply within
`settings.REDIS_TIMEOUT_S` returns its default. After three failures in a row the store counts as unavailable: commands
return their defaults immediately until a write succeeds. A server that responds to PING may reject all writes.

One real thread per process talks to the server. A pool of connections was exhausted by a burst (32 connections, 50
concurrent requests), which looks like an outage, and cost four times the CPU (300 concurrent requests: 408 us per
command against 100).
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

import redis
from django.conf import settings
from redis.exceptions import NoScriptError

from lib import threads
from lib.redis_pipeline import Command, CommandQueue, Pipeline
from lib.threads import OncePerProcess

logger = logging.getLogger(__name__)

THREAD_TIMEOUT_S = 1.0  # for the thread itself, on a busy machine
MAX_CONSECUTIVE_FAILURES = 3
PROBE_INTERVAL_S = 1.0
PROBE = ("SET", "messages-gateway:writable", "1", "PX", "1000")


class SharedStore:
    """Access to the shared store. Its thread starts with `start` or the first command of the process."""

    def __init__(self) -> None:
        self._thread = OncePerProcess(self._start_thread)
        self._failures = 0
        self._is_unavailable = False
        self._is_outage_logged = False
        self.recovered_at: float | None = None
        """End of the last outage, by the monotonic clock."""

    @property
    def is_configured(self) -> bool:
        return bool(settings.REDIS_URL)

    @property
    def is_unavailable(self) -> bool:
        """Whether commands return their defaults because the server does not respond, or rejects writes."""
        return self._is_unavailable

    def execute(self, *words: Any, default: Any) -> Any:
        """Execute one command. Return its reply, or the default. Raise NoScriptError for an unknown script."""
        return self.reply_of(self.send(*words), default=default)

    def execute_all(self, commands: Sequence[Sequence[Any]]) -> list[Any] | None:
        """Execute commands together. Return their replies, or None if one failed. Raise NoScriptError."""
        sent = [self.send(*words) for words in commands]
        lost = object()
        replies = [self.reply_of(command, default=lost) for command in sent]
        return None if any(reply is lost for reply in replies) else replies

    def send(self, *words: Any) -> Command | None:
        """Send a command without waiting. Return it for `reply_of`, or None while the store is unavailable."""
        if not self.is_configured or self._is_unavailable:
            return None
        self._thread.ensure()
        command = Command(words)
        self._queue.put(command)
        return command

    def reply_of(self, command: Command | None, *, default: Any) -> Any:
        """Wait for the reply of a command. Return it, or the default. Raise NoScriptError for an unknown script."""
        if command is None or not self._wait(command):
            return default
        if isinstance(command.error, NoScriptError):
            raise command.error
        return default if command.error is not None else command.reply

    def _wait(self, command: Command) -> bool:
        """Return whether the command ended. Its thread may hang in the resolution of a host name."""
        if command.signal.wait(2 * settings.REDIS_TIMEOUT_S) or command.is_done:
            return True
        connecting_since = self._pipeline.connecting_since
        is_hanging = connecting_since is not None and time.monotonic() - connecting_since > settings.REDIS_TIMEOUT_S
        # For waiters whose event loop is late to see the signal, `is_done` is set as well.
        if not is_hanging and (command.signal.wait(THREAD_TIMEOUT_S) or command.is_done):
            return True
        self._record_failure(redis.TimeoutError())
        return False

    def start(self) -> None:
        """Start the thread unless it runs in this process or no store is configured."""
        if self.is_configured:
            self._thread.ensure()

    def close(self) -> None:
        """Stop the thread and close the connection. May be called twice. A later command starts the thread again."""
        if self._thread.is_started:
            self._queue.put(None)
            self._stopped.wait(THREAD_TIMEOUT_S)
        self._thread.reset()
        self._failures, self._is_unavailable, self._is_outage_logged = 0, False, False

    def _start_thread(self) -> None:
        queue, pipeline = CommandQueue(), Pipeline()
        stopped = threads.signal()
        self._queue, self._pipeline, self._stopped = queue, pipeline, stopped
        threads.run_in_thread(lambda: self._run(queue, pipeline, stopped))

    # ---- The store's thread.

    def _run(self, queue: CommandQueue, pipeline: Pipeline, stopped: Any) -> None:
        """Send the commands of the queue and hand out the replies."""
        probed_at = 0.0
        is_open = True
        while is_open:
            timeout_s = pipeline.timeout_s()
            is_readable = pipeline.wait(queue, PROBE_INTERVAL_S if timeout_s is None else timeout_s)
            commands, is_open = queue.take()
            if self._is_unavailable:  # perhaps since these commands were queued
                _end(commands, redis.ConnectionError())
                commands = []
                if timeout_s is None and time.monotonic() - probed_at >= PROBE_INTERVAL_S:
                    probed_at = time.monotonic()
                    commands = [Command(PROBE)]
            try:
                if commands:
                    pipeline.send(commands)
                self._hand_out(pipeline.receive(is_readable=is_readable))
            except redis.RedisError as error:
                # Commands that were queued during a vain connection attempt would wait for the next one.
                waiting, is_still_open = queue.take()
                is_open = is_open and is_still_open
                self._record_failure(error)
                _end([*pipeline.disconnect(), *waiting], error)
        _end(pipeline.disconnect(), redis.ConnectionError())
        pipeline.close()
        queue.close()
        stopped.set_from_thread()

    def _hand_out(self, replied: list[Command]) -> None:
        failures = [command.error for command in replied if _is_failure(command.error)]
        if failures:
            self._record_failure(failures[0])
        elif replied:
            self._record_success(is_probe=replied[0].words is PROBE)
        _end(replied)

    def _record_failure(self, error: Exception) -> None:
        self._failures += 1
        # After a probe, the first failure continues the outage: a server may accept the probe and reject all else.
        if self._failures >= MAX_CONSECUTIVE_FAILURES or self._is_outage_logged:
            self._is_unavailable = True
            if not self._is_outage_logged:
                self._is_outage_logged = True
                logger.warning("Redis is unavailable (%s): each worker uses its own state", type(error).__name__)

    def _record_success(self, *, is_probe: bool) -> None:
        self._failures = 0
        if self._is_unavailable:
            self._is_unavailable = False
            self.recovered_at = time.monotonic()
        if self._is_outage_logged and not is_probe:
            self._is_outage_logged = False
            logger.warning("Redis is available again")


def _end(commands: Sequence[Command], error: Exception | None = None) -> None:
    """Wake the waiters of commands."""
    now = time.monotonic()
    for command in commands:
        command.error = command.error or error
        command.ended_at = now
        command.is_done = True
    threads.set_all(command.signal for command in commands)


def _is_failure(error: Any) -> bool:
    """Return whether an error means that the server is unusable, not just a script unknown or a key of another type."""
    if error is None or isinstance(error, NoScriptError):
        return False
    return not str(error).startswith("WRONGTYPE")


store = SharedStore()
