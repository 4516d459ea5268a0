"""
The spool: settled rows that wait for the database, in one append-only file of JSON lines per process.

A process holds a lock on its file while it lives, and the kernel releases the lock however it dies. A file whose lock
is free is that of a dead process: its lines are replayed and its open records are orphaned. The name of the file is the
boot ID of its process. A file may contain anything: it is read line by line, and what is no row is quarantined.
"""

import fcntl
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".spool"
DAMAGED_SUFFIX = ".damaged"
QUARANTINE = "quarantine.jsonl"
MAX_LINE_BYTES = 4 * 1024 * 1024  # the largest row has less than half

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

    def append(self, lines: Iterable[bytes]) -> None:
        """Write rows to disk, completely and durably. Raise OSError if not all of them can be written."""
        data = b"".join(line + b"\n" for line in lines)
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

    def lines(self) -> Iterator[bytes]:
        """Yield the rows."""
        with self.path.open("rb") as file:
            for line in iter_lines(file):
                if line is not None:
                    yield line

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

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.boot_id = path.name.removesuffix(SUFFIX)
        self._file = file

    def lines(self) -> Iterator[bytes | None]:
        """Yield the lines, and None for a part of one that is too long for a row. Raise OSError."""
        self._file.seek(0)
        return iter_lines(self._file)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """Rename the file for the operator, since it has content that is no row and too large for the quarantine."""
        self.path.rename(self.path.with_name(self.path.name + DAMAGED_SUFFIX))


def iter_dead(folder: Path, *, except_for: Path) -> Iterator[DeadSpool]:
    """Yield the spools of dead processes, each locked until the next one is requested.

    A file that cannot be opened is skipped and logged once.
    """
    for path in _files(folder):
        if path == except_for:
            continue
        try:
            file = _open_locked(path)
        except (FileNotFoundError, BlockingIOError):
            continue  # another process has just replayed it, or its own process lives
        except OSError as error:
            report_unreadable(path, error)
            continue
        with file:
            yield DeadSpool(path, file)


def live_boot_ids(folder: Path) -> list[str]:
    """Return the boot IDs of the processes of this host that live, by the locks that they hold."""
    return [path.name.removesuffix(SUFFIX) for path in _files(folder) if _is_locked(path)]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*" + SUFFIX))


def _is_locked(path: Path) -> bool:
    try:
        _open_locked(path).close()
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _open_locked(path: Path) -> BinaryIO:
    """Open and lock a file. Raise BlockingIOError if its process lives, OSError if it cannot be read."""
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # of a pipe, which would wait for its other end
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError("not a regular file")
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fdopen(fd, "rb")
    except OSError:
        os.close(fd)
        raise


_unreadable: set[Path] = set()


def report_unreadable(path: Path, error: Exception) -> None:
    """Log that a spool cannot be read or removed: once, since the next maintenance finds it again."""
    if path not in _unreadable:
        _unreadable.add(path)
        logger.error("Ledger: spool %s stays, it cannot be replayed (%s: %s)", path, type(error).__name__, error)


def iter_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield the complete lines of a file, and None for a part of one that is too long for a row.

    An incomplete last line was cut off by a crash and never acknowledged: it is logged.
    """
    is_long = False
    while line := file.readline(MAX_LINE_BYTES):
        is_complete = line.endswith(b"\n")
        if is_long or (not is_complete and len(line) == MAX_LINE_BYTES):
            is_long = not is_complete
            yield None
        elif is_complete:
            yield line[:-1]
        else:
            logger.warning("Ledger: %s ends with an incomplete row of %d bytes", file.name, len(line))


# ---- The quarantine.


def count_pending(folder: Path) -> int:
    """Return the number of files with rows that are not committed."""
    return sum(_size(path) > 0 for path in _files(folder))


def quarantined(folder: Path) -> list[str]:
    """Return the names of the files that the operator has to examine."""
    found = [folder / QUARANTINE] if (folder / QUARANTINE).exists() else []
    return [path.name for path in [*found, *sorted(folder.glob("*" + DAMAGED_SUFFIX))]]


def quarantine(folder: Path, lines: list[bytes], *, reason: str) -> None:
    """Keep lines that cannot be replayed, for the operator, and log them. Raise OSError if the disk is full."""
    logger.error("Ledger: %d rows are kept in %s: %s", len(lines), folder / QUARANTINE, reason)
    with (folder / QUARANTINE).open("ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # its rows have just been replayed, or its folder cannot be searched
        return 0
