"""A function that runs beside its caller: a greenlet under gevent, a thread elsewhere."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Background(Generic[Result]):
    """Starts at once. Whoever waits gets what the function returned or raised."""

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._done = threading.Event()
        self._result: Result | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="background", daemon=True).start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # handed on to whoever asks for the result
            self._error = error
        finally:
            self._done.set()

    def wait(self, timeout: float) -> bool:
        """Whether it has ended, after at most `timeout` seconds."""
        return self._done.wait(timeout)

    def result(self) -> Result:
        """What it returned. Raises what it raised. Only after `wait` said that it has ended."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]
