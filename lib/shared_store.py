"""
Client of the Redis or Valkey server that workers share, where `REDIS_URL` is set.

The shared store holds nothing that must be correct or durable. A command that gets no response within
`settings.REDIS_TIMEOUT_S` returns its default. After three such commands in a row the store counts as unavailable:
commands return their defaults immediately until a PING succeeds.

One real thread per process talks to the server and sends pending commands together. A pool of connections was exhausted
by a burst (32 connections, 50 concurrent requests), which looks like an outage, and cost four times the CPU (300
concurrent requests: 408 us per command against 100).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from lib import threads
from lib.threads import OncePerProcess

logger = logging.getLogger(__name__)

THREAD_TIMEOUT_S = 1.0  # for the thread itself, which may hang in the resolution of a host name
MAX_CONSECUTIVE_FAILURES = 3
PROBE_INTERVAL_S = 1.0
MAX_BATCH = 200

Result = TypeVar("Result")


class SharedStore:
    """Access to the shared store. Its thread starts with `start` or the first command of the process."""

    def __init__(self) -> None:
        self._thread = OncePerProcess(self._start_thread)
        self._failures = 0
        self._is_unavailable = False

    @property
    def is_configured(self) -> bool:
        return bool(settings.REDIS_URL)

    @property
    def is_unavailable(self) -> bool:
        """Whether commands return their defaults because the server does not respond."""
        return self._is_unavailable

    def run(self, function: Callable[[redis.Redis], Result], *, default: Result) -> Result:
        """Call a function with the Redis client in the store's thread. Return its result, or the default."""
        result: Result = self._wait_for(_Command(function=function), default)
        return result

    def execute(self, *words: Any, default: Any) -> Any:
        """Execute one command. Return its reply, or the default. Raise NoScriptError for an unknown script."""
        return self._wait_for(_Command(words=words), default)

    def _wait_for(self, command: "_Command", default: Any) -> Any:
        if not self.is_configured or self._is_unavailable:
            return default
        self._thread.ensure()
        self._commands.put(command)
        if not command.signal.wait(THREAD_TIMEOUT_S + settings.REDIS_TIMEOUT_S) and not command.is_done:
            self._record_failure(TimeoutError())
            return default
        if command.error is None:
            return command.reply
        if _is_failure(command.error):
            return default
        raise command.error

    def start(self) -> None:
        """Start the thread unless it runs in this process or no store is configured."""
        if self.is_configured:
            self._thread.ensure()

    def close(self) -> None:
        """Stop the thread and close the connection. May be called twice. A later command starts the thread again."""
        if self._thread.is_started:
            self._commands.put(None)
            self._stopped.wait(THREAD_TIMEOUT_S)
        self._thread.reset()
        self._failures, self._is_unavailable = 0, False

    def _start_thread(self) -> None:
        commands = self._commands = threads.simple_queue()
        stopped = self._stopped = threads.signal()
        threads.run_in_thread(lambda: self._run(commands, stopped))

    def _record_failure(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= MAX_CONSECUTIVE_FAILURES and not self._is_unavailable:
            self._is_unavailable = True
            logger.warning("Redis is unavailable (%s): each worker uses its own state", type(error).__name__)

    def _record_success(self) -> None:
        self._failures = 0
        if self._is_unavailable:
            self._is_unavailable = False
            logger.warning("Redis is available again")

    def _run(self, commands: Any, stopped: Any) -> None:
        """Serve the queue. Runs in the store's thread."""
        server = _Server()
        is_open = True
        while is_open:
            batch, is_open = _next_batch(commands)
            if self._is_unavailable and not batch:
                self._execute([_Command(words=("PING",))], server)
            for part in _parts(batch):
                if self._is_unavailable:  # since these commands were queued
                    _fail(part, redis.ConnectionError())
                else:
                    self._execute(part, server)
            for command in batch:
                command.is_done = True  # for waiters whose event loop is late to see the signal
            threads.set_all(command.signal for command in batch)
        server.close()
        stopped.set_from_thread()

    def _execute(self, commands: "list[_Command]", server: "_Server") -> None:
        server.execute(commands)
        failures = [command.error for command in commands if _is_failure(command.error)]
        if failures:
            self._record_failure(failures[0])
        else:
            self._record_success()


class _Command:
    """A command, or a function of the client, with its outcome and the signal of its end."""

    __slots__ = ("error", "function", "is_done", "reply", "signal", "words")

    def __init__(self, *, function: Callable[[redis.Redis], Any] | None = None, words: Sequence[Any] = ()) -> None:
        self.function = function
        self.words = words
        self.signal = threads.signal()
        self.is_done = False
        self.reply: Any = None
        self.error: Any = None


class _Server:
    """The connection to Redis. Used by the store's thread only."""

    def __init__(self) -> None:
        self._client = redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=settings.REDIS_TIMEOUT_S,
            socket_connect_timeout=settings.REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._connection: Any = self._client.connection_pool.make_connection()

    def execute(self, commands: list[_Command]) -> None:
        """Execute one function, or any number of commands together."""
        try:
            if commands[0].function is not None:
                commands[0].reply = commands[0].function(self._client)
            else:
                self._execute_together(commands)
        except redis.RedisError as error:
            self._connection.disconnect()
            _fail(commands, error)
        except Exception as error:  # raised by a function: `run` raises it again, and the thread must not die
            _fail(commands, error)

    def _execute_together(self, commands: list[_Command]) -> None:
        # The client takes 136 us for a command. This takes 46 us, and 17 us for each of fifty.
        self._connection.send_packed_command(self._connection.pack_commands([command.words for command in commands]))
        for command in commands:
            try:
                command.reply = self._connection.read_response()
            except redis.ResponseError as error:
                command.error = error

    def close(self) -> None:
        self._connection.disconnect()
        self._client.close()
        self._client.connection_pool.disconnect()


def _next_batch(commands: Any) -> tuple[list[_Command], bool]:
    """Return the pending commands, at most MAX_BATCH, or none after a while; and False after the end of the queue."""
    batch: list[_Command] = []
    try:
        command = commands.get(timeout=PROBE_INTERVAL_S)
        while command is not None:
            batch.append(command)
            if len(batch) == MAX_BATCH:
                return batch, True
            command = commands.get_nowait()
    except threads.QueueEmpty:
        return batch, True
    return batch, False


def _parts(batch: list[_Command]) -> Iterator[list[_Command]]:
    """Yield the commands that are executed together: all plain commands, and each function alone."""
    plain = [command for command in batch if command.function is None]
    if plain:
        yield plain
    for command in batch:
        if command.function is not None:
            yield [command]


def _fail(commands: list[_Command], error: Exception) -> None:
    for command in commands:
        command.error = error


def _is_failure(error: Any) -> bool:
    """Return whether an error means that the server is unusable. An unknown script does not."""
    return isinstance(error, redis.RedisError) and not isinstance(error, NoScriptError)


store = SharedStore()
