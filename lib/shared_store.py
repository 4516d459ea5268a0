"""
What several processes know together for a moment: Redis or Valkey, where `REDIS_URL` names one.

Nothing that must be true lives here. An answer that does not come within `settings.REDIS_TIMEOUT_S` counts as none, and
after three of those the server is left alone: whoever asks then goes by what it knows itself, without a delay, until it
has answered again.

One real thread of each process speaks with the server, and asks together what waits together. Calls with connections of
their own ran out of them in a burst, which looks like an outage (with a pool of 32, at 50 calls at once), and each paid
four times the CPU (at 300 calls at once 408 us a question against 100).
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
from lib.once_per_process import OncePerProcess

logger = logging.getLogger(__name__)

GIVEN_UP_AFTER_S = 1.0  # where the thread itself is held up, as by a name that does not resolve
FAILURES_IN_A_ROW = 3
ASKED_AGAIN_EVERY_S = 1.0
MAX_BATCH = 200

Result = TypeVar("Result")


class Store:
    """The way to the shared store. Begins when it is first asked, in whatever process that is (workers fork)."""

    def __init__(self) -> None:
        self._thread = OncePerProcess(self._start_thread)
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
        """What a function of the client returns, called in the store's thread; `otherwise` without an answer."""
        result: Result = self._ask(_Question(function=command), otherwise)
        return result

    def ask(self, *words: Any, otherwise: Any) -> Any:
        """The answer to one command; `otherwise` without one. Raise NoScriptError for a script that is not known."""
        return self._ask(_Question(words=words), otherwise)

    def _ask(self, question: "_Question", otherwise: Any) -> Any:
        if not self.is_configured or self._is_away:
            return otherwise
        self._thread.ensure()
        self._questions.put(question)
        if not question.signal.wait(GIVEN_UP_AFTER_S + settings.REDIS_TIMEOUT_S) and not question.is_answered:
            self._failed(TimeoutError())
            return otherwise
        if question.error is None:
            return question.answer
        if _is_failure(question.error):
            return otherwise
        raise question.error

    def close(self) -> None:
        """Give the connection up. May be called twice, and the store may be asked again afterwards."""
        if self._thread.is_started:
            self._questions.put(None)
            self._stopped.wait(GIVEN_UP_AFTER_S)
        self._thread.reset()
        self._failures, self._is_away = 0, False

    def start(self) -> None:
        """Start the thread unless it runs in this process or there is no store."""
        if self.is_configured:
            self._thread.ensure()

    def _start_thread(self) -> None:
        questions = self._questions = threads.simple_queue()
        stopped = self._stopped = threads.signal()
        threads.run_in_thread(lambda: self._run(questions, stopped))

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW and not self._is_away:
            self._is_away = True
            logger.warning("Redis does not answer (%s); each process goes by what it knows", type(error).__name__)

    def _answered(self) -> None:
        self._failures = 0
        if self._is_away:
            self._is_away = False
            logger.warning("Redis answers again")

    def _run(self, questions: Any, stopped: Any) -> None:
        """The store's thread."""
        server = _Server()
        is_open = True
        while is_open:
            batch, is_open = _next_batch(questions)
            if self._is_away and not batch:
                self._try([_Question(words=("PING",))], server)
            for together in _portions(batch):
                if self._is_away:  # it was not when these were asked
                    _give_up(together, redis.ConnectionError())
                else:
                    self._try(together, server)
            for question in batch:
                question.is_answered = True  # for those whose loop is late to see the signal
            threads.set_all(question.signal for question in batch)
        server.close()
        stopped.set_from_thread()

    def _try(self, questions: "list[_Question]", server: "_Server") -> None:
        server.answer(questions)
        failures = [question.error for question in questions if _is_failure(question.error)]
        if failures:
            self._failed(failures[0])
        else:
            self._answered()


class _Question:
    """What somebody wants to know, and the signal that it is answered: a function of the client, or one command."""

    __slots__ = ("answer", "error", "function", "is_answered", "signal", "words")

    def __init__(self, *, function: Callable[[redis.Redis], Any] | None = None, words: Sequence[Any] = ()) -> None:
        self.function = function
        self.words = words
        self.signal = threads.signal()
        self.is_answered = False
        self.answer: Any = None
        self.error: Any = None


class _Server:
    """The connection to Redis, for one thread."""

    def __init__(self) -> None:
        self._client = redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=settings.REDIS_TIMEOUT_S,
            socket_connect_timeout=settings.REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._connection: Any = self._client.connection_pool.make_connection()

    def answer(self, questions: list[_Question]) -> None:
        """Ask them: one function, or any number of commands."""
        try:
            if questions[0].function is not None:
                questions[0].answer = questions[0].function(self._client)
            else:
                self._ask_together(questions)
        except redis.RedisError as error:
            self._connection.disconnect()
            _give_up(questions, error)
        except Exception as error:  # of a function: the thread must not die, and whoever gave it is told
            _give_up(questions, error)

    def _ask_together(self, questions: list[_Question]) -> None:
        # Not by the client, which spends 136 us on a command: this is 46, and of fifty at once 17 for each.
        words = [question.words for question in questions]
        self._connection.send_packed_command(self._connection.pack_commands(words))
        for question in questions:
            try:
                question.answer = self._connection.read_response()
            except redis.ResponseError as error:
                question.error = error

    def close(self) -> None:
        self._connection.disconnect()
        self._client.close()
        self._client.connection_pool.disconnect()


def _next_batch(questions: Any) -> tuple[list[_Question], bool]:
    """What waits, at most MAX_BATCH, or nothing after a while. The second value is False when the end was asked for."""
    batch: list[_Question] = []
    try:
        question = questions.get(timeout=ASKED_AGAIN_EVERY_S)
        while question is not None:
            batch.append(question)
            if len(batch) == MAX_BATCH:
                return batch, True
            question = questions.get_nowait()
    except threads.QueueEmpty:
        return batch, True
    return batch, False


def _portions(batch: list[_Question]) -> Iterator[list[_Question]]:
    """What is asked at once: all commands, and each function."""
    commands = [question for question in batch if question.function is None]
    if commands:
        yield commands
    for question in batch:
        if question.function is not None:
            yield [question]


def _give_up(questions: list[_Question], error: Exception) -> None:
    for question in questions:
        question.error = error


def _is_failure(error: Any) -> bool:
    """Whether it says that the server is of no use, and not that it does not know a script."""
    return isinstance(error, redis.RedisError) and not isinstance(error, NoScriptError)


store = Store()
