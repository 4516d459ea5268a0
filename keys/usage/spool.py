"""
Where settled rows wait while the database is away: one append-only file of JSON lines for each process.

A process holds a lock on its file for as long as it lives, and the kernel takes the lock away when it dies, however it
dies. So a file whose lock is free belongs to a dead process: its lines are replayed, its open rows are orphans. The
file's name is the boot id of its process.
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
        # Locked before it gets its name: nobody may take a newborn file for a dead one.
        newborn = folder / f"{boot_id}.new"
        self._fd = os.open(newborn, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        newborn.rename(self.path)
        self._size = 0

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Keep rows; when this returns, they are on the disk, whole. Raise OSError when it does not take them all."""
        data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        self._shorten()
        try:
            while data:  # a disk that is nearly full takes a part
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
        except OSError:
            with suppress(OSError):  # if not now, then before the next row is written
                self._shorten()
            raise
        self._size = os.fstat(self._fd).st_size

    def _shorten(self) -> None:
        """Take away what is not whole: half a line would spoil the next one."""
        if os.fstat(self._fd).st_size != self._size:
            os.ftruncate(self._fd, self._size)

    def is_empty(self) -> bool:
        return self._size == 0

    def rows(self) -> list[dict[str, Any]]:
        return _rows(self.path)

    def clear(self) -> None:
        """Forget the rows, once they are committed."""
        self._size = 0
        self._shorten()

    def close(self) -> None:
        """Give the file up. An empty one goes; a full one stays for the next start. May be called twice."""
        if self._fd < 0:
            return
        if self.is_empty():
            self.path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1


class DeadSpool:
    """The spool that a dead process left, locked while it is being taken over."""

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


def iter_dead(folder: Path, *, but: Path) -> Iterator[DeadSpool]:
    """The files whose processes have died, one after the other, each locked until the next is asked for."""
    for path in sorted(folder.glob("*" + SUFFIX)):
        if path == but:
            continue
        try:
            fd = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue  # another process has just taken it over
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


def count_waiting(folder: Path) -> int:
    """How many files have rows that the database has not taken yet."""
    return sum(_size(path) > 0 for path in folder.glob("*" + SUFFIX))


def has_quarantined(folder: Path) -> bool:
    """Whether there are lines for a person to look at."""
    return (folder / QUARANTINE).exists()


def quarantine(folder: Path, line: bytes) -> None:
    """Keep a line that cannot be replayed, for a person to look at, and say so."""
    logger.error("A line of the spool cannot be replayed; it is kept in %s", folder / QUARANTINE)
    with (folder / QUARANTINE).open("ab") as file:
        file.write(line + b"\n")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # its rows have just come home
        return 0


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file. A last line that was cut by a crash was never promised to anybody."""
    rows = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            rows.append(json.loads(line))
        except ValueError:
            quarantine(path.parent, line)
    return rows
