"""What a newcomer sees: one line a step, which says what is being done while it is done."""

from collections.abc import Iterable
from pathlib import Path

from django.core.management.base import OutputWrapper

LABEL_WIDTH = 10
INDENT = " " * (2 + LABEL_WIDTH)


class Terminal:
    """Writes labelled lines, each at once."""

    def __init__(self, stdout: OutputWrapper) -> None:
        self._stdout = stdout
        self._is_line_open = False

    def begin(self, label: str, doing: str) -> None:
        """Begin a line that the next `say` completes."""
        self.end_line()
        self._write(f"  {label:<{LABEL_WIDTH}}{doing} … ")
        self._is_line_open = True

    def say(self, text: str, *, label: str = "") -> None:
        """Complete the line that was begun, or write one of its own."""
        if not self._is_line_open:
            self._write(f"  {label:<{LABEL_WIDTH}}")
        self._write(_indented(text) + "\n")
        self._is_line_open = False

    def say_in_pieces(self, pieces: Iterable[str]) -> None:
        """Write one text as its pieces arrive."""
        self._write(INDENT)
        self._is_line_open = True
        for piece in pieces:
            self._write(_indented(piece))
        self.end_line()

    def plain(self, text: str) -> None:
        """Write lines as they are, for copying."""
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
    """A path as somebody in the current folder would write it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _indented(text: str) -> str:
    return text.replace("\n", "\n" + INDENT)
