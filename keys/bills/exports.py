"""Exports of providers: which one a file is, and its lines, streamed with bounded memory."""

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, BinaryIO, TextIO

from keys.bills import anthropic_export, openai_export, other_exports
from keys.bills.csv_rows import MAX_LINE, Row, header_of, iter_rows
from keys.bills.lines import BillError, EmptyDay, Line, printable
from keys.bills.results_of_json import JSON_FORMATS, Result, format_of, iter_results, tried
from keys.models import Bill

Format = Bill.Format
Lines = Iterator[Line | EmptyDay]
MAX_ENTRIES = 100
MAX_UNPACKED = 1 << 30
MAX_RATIO = 200
"""Unpacked bytes per packed byte: real exports have up to 30."""

OF_RESULT: dict[str, Callable[[Result], Lines]] = {
    Format.ANTHROPIC_USAGE: anthropic_export.usage_lines,
    Format.ANALYTICS_USAGE: anthropic_export.usage_lines,
    Format.ANTHROPIC_COST: anthropic_export.cost_lines,
    Format.ANALYTICS_COST: anthropic_export.cost_lines,
    Format.OPENAI_USAGE: openai_export.usage_lines,
    Format.OPENAI_COSTS: openai_export.costs_lines,
}
OF_ROW: dict[str, Callable[[Row], Lines]] = {
    Format.CONSOLE_USAGE: anthropic_export.console_usage_lines,
    Format.CONSOLE_COST: anthropic_export.console_cost_lines,
    Format.OPENAI_USAGE_CSV: openai_export.usage_csv_lines,
    Format.OPENAI_COSTS_CSV: openai_export.costs_csv_lines,
    Format.OPENROUTER_GENERATIONS: other_exports.generation_lines,
    Format.OPENROUTER_DAILY: other_exports.daily_lines,
    Format.DEEPSEEK_AMOUNT: other_exports.deepseek_amount_lines,
    Format.DEEPSEEK_COST: other_exports.deepseek_cost_lines,
}
HEADERS: dict[str, set[str]] = {
    Format.CONSOLE_USAGE: {"usage_date_utc", "model_version", "usage_output_tokens"},
    Format.CONSOLE_COST: {"usage_date_utc", "model", "cost_usd"},
    Format.OPENAI_USAGE_CSV: {"start_time_iso", "num_model_requests", "input_tokens", "output_tokens"},
    Format.OPENAI_COSTS_CSV: {"start_time_iso", "amount_value", "amount_currency"},
    Format.OPENROUTER_GENERATIONS: {"generation_id", "created_at", "cost_total", "model_permaslug"},
    Format.OPENROUTER_DAILY: {"Date", "Slug", "Usage"},
    Format.DEEPSEEK_AMOUNT: {"start_time_iso", "model", "type", "amount"},
    Format.DEEPSEEK_COST: {"start_time_iso", "model", "cost", "currency"},
}
"""Columns by which a CSV file is recognized."""


@dataclass(frozen=True, slots=True)
class Export:
    format: str
    lines: Lines


def read_export(file: BinaryIO, *, mapping: Mapping[str, str] | None = None) -> Export:
    """Recognize an export and return its lines, which are read as they are iterated. Raise BillError.

    The file is read from its start and must be seekable. With `mapping`, it is a CSV file with these columns.
    """
    file.seek(0)
    head = file.read(4)
    file.seek(0)
    if head.startswith(b"PK\x03\x04"):
        return Export(Format.DEEPSEEK_ZIP, _zip_lines(file))
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BillError("The file is UTF-16. Save it as UTF-8.")
    if not mapping and _is_json(file):
        return _json_export(file)
    format = Format.MAPPED_CSV if mapping else _csv_format(_text(file))
    file.seek(0)
    return Export(format, _csv_lines(_text(file), format, mapping=mapping))


def _text(file: Any) -> TextIO:
    raw: Any = _Unclosed(file)  # a reader of bytes, which the type of the wrapper does not accept
    return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")


class _Unclosed(io.RawIOBase):
    """A file that is read through a wrapper and stays open when the wrapper is deleted."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _is_json(file: BinaryIO) -> bool:
    start = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    return start.startswith((b"{", b"["))


# ---- JSON.


def _json_export(file: BinaryIO) -> Export:
    first = next((each for each in iter_results(_text(file)) if isinstance(each, Result)), None)
    if first is None:
        raise BillError(f"The file has no result from which its export could be recognized. {tried()}")
    file.seek(0)
    format = format_of(first)
    return Export(format, _json_lines(_text(file), format))


def _json_lines(text: TextIO, format: str) -> Lines:
    for each in iter_results(text):
        if isinstance(each, EmptyDay):
            yield each
        elif (found := format_of(each)) != format:
            raise BillError(
                f"{each.position}: is of another export ({found.label}) than the lines before it "
                f"({Format(format).label})"
            )
        else:
            yield from OF_RESULT[format](each)


# ---- CSV.


def _csv_format(text: TextIO) -> str:
    try:
        header = text.readline(MAX_LINE)
    except UnicodeDecodeError as error:
        raise BillError("line 1: the file is not UTF-8. Save it as “CSV UTF-8”.") from error
    if not header.strip():
        raise BillError("The file is empty.")
    _, names = header_of(header)
    for format, columns in HEADERS.items():
        if columns <= set(names):
            return format
    labels = ", ".join(Format(each).label for each in (*HEADERS, *JSON_FORMATS, Format.DEEPSEEK_ZIP))
    found = printable(", ".join(names))[:200]
    raise BillError(f"line 1: the columns {found} are of no known export. Tried: {labels}. Name the columns instead.")


def _csv_lines(text: TextIO, format: str, *, mapping: Mapping[str, str] | None = None, prefix: str = "") -> Lines:
    short = openai_export.EMPTY_ROW_CELLS if format in (Format.OPENAI_COSTS_CSV, Format.OPENAI_USAGE_CSV) else 0
    for row in iter_rows(text, prefix=prefix, short_rows=short):
        yield from other_exports.mapped_lines(row, mapping) if mapping else OF_ROW[format](row)


# ---- Zip.


def _zip_lines(file: BinaryIO) -> Lines:
    """Yield the lines of DeepSeek's archive. What it unpacks to is bounded, whatever its directory says."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = _csv_entries(archive)
            for entry, format in entries:
                with archive.open(entry) as packed:
                    text = _text(_Bounded(packed, entry))
                    yield from _csv_lines(text, format, prefix=f"{printable(entry.filename)[:60]} ")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise BillError("The zip file is cut, encrypted or damaged.") from error


def _csv_entries(archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise BillError(f"The zip file has more than {MAX_ENTRIES} entries.")
    patterns: dict[str, str] = {"amount*.csv": Format.DEEPSEEK_AMOUNT, "cost*.csv": Format.DEEPSEEK_COST}
    found = [
        (info, format)
        for info in infos
        for pattern, format in patterns.items()
        if fnmatchcase(info.filename.rpartition("/")[2].lower(), pattern)
    ]
    if not found:
        raise BillError("The zip file has neither amount-….csv nor cost-….csv: it is not an export of DeepSeek.")
    if sum(info.file_size for info, _ in found) > MAX_UNPACKED:
        raise BillError(f"The zip file unpacks to more than {MAX_UNPACKED >> 20} MiB.")
    return found


class _Bounded:
    """An entry of an archive that may not unpack to more than a real export does."""

    def __init__(self, file: Any, entry: zipfile.ZipInfo) -> None:
        self._file = file
        self._left = min(MAX_UNPACKED, max(1 << 20, entry.compress_size * MAX_RATIO))
        self._name = printable(entry.filename)[:60]

    def read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise BillError(f"{self._name}: unpacks to more than an export of its size can")
        return data
