"""
CSV files that carry the query that made them and a keyed checksum, in the name of a last column without values.

Spreadsheets and parsers by name read such a file like any other. The checksum covers the query, the header and every
cell, not the form of the file: line breaks, quotes and a byte order mark may change. Its key is derived from
API_KEY_PEPPERS: the first pepper signs, all verify.
"""

import csv
import hmac
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
from django.conf import settings

from keys.reports.csv_text import line
from lib.derived_key import derived_key

IN_MEMORY_BYTES = 1024 * 1024
CHECKSUM, LINES = "checksum", "lines"
_encode = msgspec.json.Encoder().encode


class UnreadableExport(ValueError):
    """The file is no signed export; the message says why."""


class _Checksum:
    """The checksum of a file, cell by cell."""

    def __init__(self, pepper: str) -> None:
        self._mac = hmac.new(derived_key("exports", secret=pepper), digestmod="sha256")

    def add(self, cells: Sequence[str]) -> None:
        self._mac.update(_encode(cells) + b"\n")

    def close(self, query: Mapping[str, str]) -> str:
        self._mac.update(_encode(list(query.items())))
        return urlsafe_b64encode(self._mac.digest()[:18]).decode()


def signed(header: Sequence[str], rows: Iterable[Sequence[Any]], *, query: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of a CSV file. The texts of rows must be inert already.

    The header has the checksum, so that the rows are written to a temporary file before the first line.
    """
    checksum = _Checksum(_peppers()[0])
    checksum.add(header)
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, "w+", encoding="utf-8", newline="") as file:
        lines = 0
        for row in rows:
            cells = ["" if cell is None else str(cell) for cell in row]
            checksum.add(cells)
            file.write(line([*cells, ""]))
            lines += 1
        origin = {**query, LINES: str(lines)}
        yield line([*header, urlencode({**origin, CHECKSUM: checksum.close(origin)})])
        file.seek(0)
        yield from file


class SignedFile:
    """A signed CSV file. Query and header are known when it is opened; `is_unchanged` is known after `rows`."""

    def __init__(self, rows: Iterator[tuple[int, list[str]]]) -> None:
        _, header = next(rows, (0, []))
        self.header = header[:-1]
        self.query = dict(parse_qsl(header[-1])) if header else {}
        if CHECKSUM not in self.query:
            raise UnreadableExport("The file has no checksum in its header.")
        self.is_unchanged = False
        self._rows = rows

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of the line and the cells of each row, without the last column. To be read once."""
        checksums = [_Checksum(pepper) for pepper in _peppers()]
        lines = 0
        for checksum in checksums:
            checksum.add(self.header)
        for number, row in self._rows:
            cells, extra = row[: len(self.header)], row[len(self.header) :]
            for checksum in checksums:
                checksum.add(cells if extra == [""] else row)  # a value beside the last column is a change
            lines += 1
            yield number, cells
        origin = {name: value for name, value in self.query.items() if name != CHECKSUM}
        is_complete = origin.get(LINES) == str(lines)
        stated = self.query[CHECKSUM].encode()
        found = [hmac.compare_digest(stated, checksum.close(origin).encode()) for checksum in checksums]
        self.is_unchanged = is_complete and any(found)


@contextmanager
def opened(path: Path) -> Iterator[SignedFile]:
    """Open a signed file. Raise UnreadableExport, also while rows are read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            yield SignedFile((reader.line_num, cells) for cells in reader if cells)
    except OSError as error:
        raise UnreadableExport(f"The file cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UnreadableExport("The file is not in UTF-8.") from error
    except UnreadableExport:
        raise
    except ValueError as error:  # of a path with a NUL
        raise UnreadableExport(f"The file cannot be read: {error}.") from error
    except csv.Error as error:
        raise UnreadableExport(f"Line {reader.line_num}: {error}.") from error


def _peppers() -> list[str]:
    return settings.API_KEY_PEPPERS or [""]  # project.checks rejects an installation without one
