"""Prices in a CSV file: a bounded read, and a message with line and column for each fault. Nothing is written."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import IO, Any

from django.utils import timezone

from keys.models.prices import MAX_PRICE
from keys.pricing.catalog.proposals import RATES, Problem, ProposedModifier, ProposedPrice
from lib import model_patterns, money

MAX_BYTES = 1024 * 1024
MAX_ROWS = 500
"""A review shows them all, each with a checkbox."""
MAX_PROBLEMS = 20
MAX_CELL = 2_000
YEARS = range(2000, 3000)

COLUMNS = {
    "model": "Model name at the upstream, or a prefix that ends in *. Required.",
    "upstream": "Name of the upstream. Empty: any upstream.",
    "valid_from": "Date or time from which the price is valid. Empty: when it is applied.",
    "input": "US dollars per million input tokens. Required unless the model is free.",
    "output": "US dollars per million output tokens. Required unless the model is free.",
    "cache_read": "US dollars per million cached tokens. Empty: the input rate.",
    "cache_write_5m": "US dollars per million tokens written to the cache. Empty: the input rate.",
    "cache_write_1h": "The same for tokens that are kept for an hour or longer. Empty: the input rate.",
    "audio_input": "US dollars per million audio tokens of the input. Empty: the input rate.",
    "audio_output": "US dollars per million audio tokens of the output. Empty: the output rate.",
    "web_search": "US dollars per web search. Empty: unknown.",
    "free": "yes or no. Empty: no.",
    "implicit_cache_writes": "yes if the upstream writes to its cache without being asked. Empty: no.",
    "max_output_tokens": "Maximum output tokens of the model. Empty: unknown.",
    "modifiers": "Conditions with the factors of input and output, separated by |.",
    "source": "Origin of the price. Empty: CSV file.",
}
RATE_COLUMNS = {name.removesuffix("_price"): name for name in RATES}
EXAMPLE = """model,upstream,input,output,cache_read,modifiers
gpt-6-sol,,2.00,10.00,0.20,prompt_over 272000 2 1.5 | service_tier flex 0.5 0.5
deepseek-flash,deepseek,0.15,0.60,0.003,"utc_hours 01:00-04:00,06:00-10:00 2 2 weekdays 12345"
"""
_BOOLEANS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}
_FACTOR = re.compile(r"\d{1,4}(\.\d{1,4})?", re.ASCII)


class UnreadablePrices(Exception):
    """The file has faults. No row of it is used."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class _Invalid(Exception):
    """A cell is invalid. The message is for users."""


class PriceRow:
    """A row of the file: its price, with the values of an earlier price for columns that the file does not have."""

    def __init__(self, line: int, cells: dict[str, str]) -> None:
        self.line = line
        self._values: dict[str, Any] = {}
        self.problems: list[Problem] = []
        for name, cell in cells.items():
            try:
                self._values[name] = _PARSERS[name](cell)
            except _Invalid as error:
                self.problems.append(Problem(line=line, field=name, message=str(error)))
        self.model: str = self._values.get("model", "")
        self.upstream: str = self._values.get("upstream", "")
        self.valid_from: datetime | None = self._values.get("valid_from")
        self.source: str = self._values.get("source") or "CSV file"
        if not self.problems:
            self.problems = list(self._missing())

    @property
    def key(self) -> tuple[str, str, datetime | None]:
        return self.model, self.upstream, self.valid_from

    def price(self, old: ProposedPrice | None) -> ProposedPrice:
        """Return the price. Columns that the file does not have are those of the old price."""
        if self._values.get("free"):
            return ProposedPrice(rates={}, is_free=True)
        old = old or ProposedPrice(rates={})
        rates = {column: self._values.get(name, old.rates.get(column)) for name, column in RATE_COLUMNS.items()}
        return ProposedPrice(
            rates={name: rate for name, rate in rates.items() if rate is not None},
            writes_cache_implicitly=self._values.get("implicit_cache_writes", old.writes_cache_implicitly),
            max_output_tokens=self._values.get("max_output_tokens", old.max_output_tokens),
            modifiers=self._values.get("modifiers", old.modifiers),
        )

    def _missing(self) -> Iterator[Problem]:
        rates = {name: self._values[name] for name in RATE_COLUMNS if self._values.get(name) is not None}
        if self._values.get("free"):
            if any(rates.values()):
                yield Problem(line=self.line, field="free", message="A free model cannot have a price.")
            return
        for name in ("input", "output"):
            if not rates.get(name):
                message = "Enter a price, or yes in the column free."
                yield Problem(line=self.line, field=name, message=message)


def read(file: IO[bytes]) -> list[PriceRow]:
    """Return the rows of a file of at most MAX_BYTES. Raise UnreadablePrices."""
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        _fail(f"The file is larger than {MAX_BYTES // 1024:,} KiB. Split it into several files.")
    rows = list(_rows(_text(content)))
    problems = [problem for row in rows for problem in row.problems] or list(_duplicates(rows))
    if problems:
        raise UnreadablePrices(problems[:MAX_PROBLEMS])
    return rows


def _fail(message: str, *, line: int = 0, field: str = "") -> None:
    raise UnreadablePrices([Problem(line=line, field=field, message=message)])


def _text(content: bytes) -> str:
    """Return the text without a BOM, with LF for other line ends. Raise UnreadablePrices."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UnreadablePrices([Problem(line=line, message="Not UTF-8. Save the file as “CSV UTF-8”.")]) from error
    if "\0" in text:
        _fail("The file is not a text file.")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.strip() and not text.endswith("\n"):
        # A number that is cut is still a number.
        _fail("The line has no end: the file may be cut. End it with a line break.", line=text.count("\n") + 1)
    return text


def _rows(text: str) -> Iterator[PriceRow]:
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begin = 1
    try:
        header = _header(next(reader, []))
        count = 0
        begin = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                count += 1
                if count > MAX_ROWS:
                    _fail(f"The file has more than {MAX_ROWS:,} rows. Split it into several files.", line=begin)
                if len(cells) != len(header):
                    counts = f"{len(cells)} cells for {len(header)} columns"
                    _fail(f"The row has {counts}: the file may be cut, or a cell lacks quotation marks.", line=begin)
                yield PriceRow(begin, dict(zip(header, map(str.strip, cells), strict=True)))
            begin = reader.line_num + 1
    except csv.Error as error:
        _fail(f"Not readable as CSV: {error}.", line=begin)
    if not count:
        _fail("The file has no rows after the header.")


def _header(cells: list[str]) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    if not any(header):
        _fail("The file is empty. The first line must name the columns.")
    for name in header:
        if name not in COLUMNS:
            _fail("Unknown column. The first line must name the columns.", line=1, field=name[:100] or "(empty)")
    for name, count in Counter(header).items():
        if count > 1:
            _fail("Duplicate column.", line=1, field=name)
    for name in ("model", "input", "output"):
        if name not in header:
            _fail("Missing column.", line=1, field=name)
    return header


def _duplicates(rows: list[PriceRow]) -> Iterator[Problem]:
    lines: dict[Any, int] = {}
    for row in rows:
        if (first := lines.setdefault(row.key, row.line)) != row.line:
            yield Problem(line=row.line, field="model", message=f"The same model, upstream and start as line {first}.")


# ---- Cells.


def _model(cell: str) -> str:
    if not cell or len(cell) > 256 or not cell.isprintable() or " " in cell:
        raise _Invalid("Enter a model name of at most 256 characters, without spaces.")
    if not model_patterns.is_valid(cell):
        raise _Invalid("* is only allowed at the end.")
    return cell


def _name(longest: int) -> Callable[[str], str]:
    def parse(cell: str) -> str:
        if len(cell) > longest or not cell.isprintable():
            raise _Invalid(f"Enter at most {longest} characters.")
        return cell

    return parse


def _rate(cell: str) -> int | None:
    if not cell:
        return None
    if cell.startswith(("-", "\N{MINUS SIGN}")):
        raise _Invalid("A price cannot be negative.")
    if len(cell) > MAX_CELL:
        raise _Invalid("The number is too long.")
    try:
        micros = money.parse(cell)
    except ValueError as error:
        raise _Invalid(str(error)) from error
    if micros > MAX_PRICE:
        raise _Invalid(f"Enter at most {money.dollars(MAX_PRICE)}.")
    return micros


def _moment(cell: str) -> datetime | None:
    """Parse a date or a time in ISO format. Without an offset, in the reporting time zone."""
    if not cell:
        return None
    try:
        found = datetime.fromisoformat(cell)
        if len(cell) == 10:
            found = datetime.combine(date.fromisoformat(cell), time())
    except ValueError as error:
        raise _Invalid("Enter a date such as 2026-12-01, or a time such as 2026-12-01T09:00Z.") from error
    if found.year not in YEARS:
        raise _Invalid(f"Enter a year from {YEARS[0]} to {YEARS[-1]}.")
    return timezone.make_aware(found).astimezone(UTC) if found.tzinfo is None else found.astimezone(UTC)


def _boolean(cell: str) -> bool:
    if cell.lower() not in _BOOLEANS:
        raise _Invalid("Enter yes or no.")
    return _BOOLEANS[cell.lower()]


def _count(cell: str) -> int | None:
    if not cell:
        return None
    if not (cell.isascii() and cell.isdigit() and 0 < int(cell[:20]) < 2**31 and len(cell) <= 20):
        raise _Invalid("Enter a number of tokens, such as 64000.")
    return int(cell)


def _modifiers(cell: str) -> tuple[ProposedModifier, ...]:
    """Parse `dimension value factor factor`, with `weekdays 12345` after the factors of hours, separated by `|`."""
    return tuple(_modifier(part.split()) for part in cell.split("|")) if cell else ()


def _modifier(words: list[str]) -> ProposedModifier:
    weekdays = ""
    if len(words) == 6 and words[4] == "weekdays":
        weekdays, words = words[5], words[:4]
    if len(words) != 4 or not all(_FACTOR.fullmatch(word) for word in words[2:]):
        raise _Invalid("Enter modifiers such as prompt_over 272000 2 1.5 | speed fast 2 2, with at most 4 decimals.")
    dimension, value, first, second = words
    return ProposedModifier(
        dimension=dimension,
        value=value,
        weekdays=weekdays,
        input_factor=Decimal(first),
        output_factor=Decimal(second),
    )


_PARSERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(RATE_COLUMNS, _rate),
    "model": _model,
    "upstream": _name(64),
    "valid_from": _moment,
    "free": _boolean,
    "implicit_cache_writes": _boolean,
    "max_output_tokens": _count,
    "modifiers": _modifiers,
    "source": _name(200),
}
