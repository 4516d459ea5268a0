"""Terminal output of quickstart: one line per step."""

from collections.abc import Iterable
from pathlib import Path

from django.core.management.base import OutputWrapper

LABEL_WIDTH = 10
INDENT = " " * (2 + LABEL_WIDTH)


class Terminal:
    """Writer of labeled lines, without buffering."""

    def __init__(self, stdout: OutputWrapper) -> None:
        self._stdout = stdout
        self._is_line_open = False

    def begin(self, label: str, doing: str) -> None:
        """Start a line, which the next `say` completes."""
        self.end_line()
        self._write(f"  {label:<{LABEL_WIDTH}}{doing} … ")
        self._is_line_open = True

    def say(self, text: str, *, label: str = "") -> None:
        """Complete the open line, or write a new one."""
        if not self._is_line_open:
            self._write(f"  {label:<{LABEL_WIDTH}}")
        self._write(_indented(text) + "\n")
        self._is_line_open = False

    def say_in_pieces(self, pieces: Iterable[str]) -> None:
        """Write a text piece by piece."""
        self._write(INDENT)
        self._is_line_open = True
        for piece in pieces:
            self._write(_indented(piece))
        self.end_line()

    def plain(self, text: str) -> None:
        """Write lines without indentation, for copying."""
        self.end_line()
        self._write(text + "\n")

    def end_line(self) -> None:
        if self._is_line_open:
            self._write("\n")
        self._is_line_open = False

    def _write(self, text: str) -> None:
        self._stdout.write(text, ending="")
        self._stdout.flush()


def shown(path: Path) -> str:
    """Return a path relative to the current folder, if it is inside."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _indented(text: str) -> str:
    return text.replace("\n", "\n" + INDENT)
