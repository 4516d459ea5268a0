"""The temporary file of a CSV download is closed, however the download ends."""

import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from lib.admin.csv_download import csv_download


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The temporary files that are opened."""
    opened: list[Any] = []
    original = tempfile.SpooledTemporaryFile

    def opening(**options: Any) -> Any:
        opened.append(original(**options))
        return opened[-1]

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", opening)
    return opened


def lines(*, fail: bool) -> Iterator[str]:
    yield "a,b\n"
    if fail:
        raise ConnectionError


def test_a_download_is_closed_with_its_response(files: list[Any]) -> None:
    response = csv_download(lines(fail=False), filename="a.csv")

    assert b"".join(response) == b"a,b\n"
    response.close()
    assert files[0].closed


def test_a_download_whose_lines_cannot_be_read_leaves_no_file_open(files: list[Any]) -> None:
    with pytest.raises(ConnectionError):
        csv_download(lines(fail=True), filename="a.csv")

    assert files[0].closed
