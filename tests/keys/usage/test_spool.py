"""The spool: complete lines only, on a disk that fails or is full."""

import errno
import os
import resource
import signal
from typing import Any

import pytest

from keys.usage.spool import Spool


def test_rows_whose_fsync_failed_are_not_in_the_spool(tmp_path: Any, monkeypatch: Any) -> None:
    spool = Spool(tmp_path, "doubtful")
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", failing)
        with pytest.raises(OSError):
            spool.append([b"first"])

    spool.append([b"second", b"third"])

    assert list(spool.lines()) == [b"second", b"third"]
    spool.clear()
    spool.close()


def failing(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_full_disk_leaves_no_incomplete_line(tmp_path: Any) -> None:
    spool = Spool(tmp_path, "nearly-full")
    spool.append([b"first"])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool.path.stat().st_size + 5, limit[1]))
    try:
        with pytest.raises(OSError):
            spool.append([b"second"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)

    spool.append([b"third"])

    assert list(spool.lines()) == [b"first", b"third"]
    spool.clear()
    spool.close()
