"""Concurrent run of a function: in a greenlet under gevent, in a thread elsewhere."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Background(Generic[Result]):
    """Run of a function that starts immediately. `result` returns or raises what the function returned or raised."""

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._done = threading.Event()
        self._result: Result | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="background", daemon=True).start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # raised again by `result`
            self._error = error
        finally:
            self._done.set()

    def wait(self, timeout: float) -> bool:
        """Wait for at most `timeout` seconds and return whether the function has ended."""
        return self._done.wait(timeout)

    def result(self) -> Result:
        """Return the result or raise the error. Call it only after `wait` returned True."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]
