"""Log lines, written in batches: one system call for the lines of a quarter of a second."""

import logging
from contextlib import suppress
from weakref import WeakSet

MAX_LINES = 200
_handlers: "WeakSet[BatchedHandler]" = WeakSet()


class BatchedHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Formats lines when they are logged, and writes them with the next batch once batches have begun.

    A warning or an error is written immediately, after the lines before it. A killed process loses its last batch; one
    that exits writes it (`logging.shutdown`).
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self.is_batching = False
        _handlers.add(self)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record) + self.terminator)
            if not self.is_batching or record.levelno >= logging.WARNING or len(self._lines) >= MAX_LINES:
                self.flush()
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Write the lines that were logged."""
        self.acquire()  # greenlets and real threads log
        try:
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("".join(lines))
            super().flush()
        finally:
            self.release()


def begin() -> None:
    """Write lines in batches from now on. The process must call `flush` a few times per second."""
    for handler in list(_handlers):
        handler.is_batching = True


def flush() -> None:
    """Write the current batch."""
    for handler in list(_handlers):
        with suppress(OSError, ValueError):  # a stream that is closed: there is no place to report it
            handler.flush()
