"""
The spool: settled rows that wait for the database, in one append-only file of JSON lines per process.

A process holds a lock on its file while it lives, and the kernel releases the lock however it dies. A file whose lock
is free is that of a dead process: its lines are replayed and its open records are orphaned. The name of the file is the
boot ID of its process.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

SUFFIX = ".spool"
QUARANTINE = "quarantine.jsonl"

logger = logging.getLogger(__name__)


class Spool:
    """The spool of this process. Used by the writer's thread alone."""

    def __init__(self, folder: Path, boot_id: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / (boot_id + SUFFIX)
        # Locked before it gets its name: otherwise another process could take the new file for a dead one.
        new_path = folder / f"{boot_id}.new"
        self._fd = os.open(new_path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        new_path.rename(self.path)
        self._size = 0

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Write rows to disk, completely and durably. Raise OSError if not all of them can be written."""
        data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        self._truncate()
        try:
            while data:  # a nearly full disk accepts a part
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
        except OSError:
            with suppress(OSError):  # if it fails, the next `append` truncates
                self._truncate()
            raise
        self._size = os.fstat(self._fd).st_size

    def _truncate(self) -> None:
        """Remove incomplete data: half a line would corrupt the next one."""
        if os.fstat(self._fd).st_size != self._size:
            os.ftruncate(self._fd, self._size)

    def is_empty(self) -> bool:
        return self._size == 0

    def rows(self) -> list[dict[str, Any]]:
        return _rows(self.path)

    def clear(self) -> None:
        """Remove the rows, once they are committed."""
        self._size = 0
        self._truncate()

    def close(self) -> None:
        """Close the file, and remove it if it is empty. The next start replays its rows. May be called twice."""
        if self._fd < 0:
            return
        if self.is_empty():
            self.path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1


class DeadSpool:
    """The spool of a dead process, locked while it is replayed."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.boot_id = path.name.removesuffix(SUFFIX)
        self._fd = fd

    def rows(self) -> list[dict[str, Any]]:
        return _rows(self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._fd)


def iter_dead(folder: Path, *, except_for: Path) -> Iterator[DeadSpool]:
    """Yield the spools of dead processes, each locked until the next one is requested."""
    for path in sorted(folder.glob("*" + SUFFIX)):
        if path == except_for:
            continue
        try:
            fd = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue  # another process has just replayed it
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        dead = DeadSpool(path, fd)
        try:
            yield dead
        finally:
            dead.close()


def count_pending(folder: Path) -> int:
    """Return the number of files with rows that are not committed."""
    return sum(_size(path) > 0 for path in folder.glob("*" + SUFFIX))


def has_quarantined(folder: Path) -> bool:
    """Return whether there are lines that the operator has to examine."""
    return (folder / QUARANTINE).exists()


def quarantine(folder: Path, line: bytes) -> None:
    """Keep a line that cannot be replayed, for the operator, and log it."""
    logger.error("Ledger: a spooled row cannot be replayed; it is kept in %s", folder / QUARANTINE)
    with (folder / QUARANTINE).open("ab") as file:
        file.write(line + b"\n")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # its rows have just been replayed
        return 0


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file. A last line that a crash cut off was never acknowledged."""
    rows = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            rows.append(json.loads(line))
        except ValueError:
            quarantine(path.parent, line)
    return rows
