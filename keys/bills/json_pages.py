"""Incremental reader of JSON exports: one element of `data` at a time, whatever the size of the file.

A file is one page of the provider's API, or several one after the other.
"""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TextIO

from keys.bills.lines import BillError

CHUNK = 1 << 16
MAX_ELEMENT = 16 << 20
"""Characters of one element of `data`. A day of 20,000 groups has 10 million."""
MAX_TEXT = 1 << 18
MAX_DEPTH = 50
MAX_REST = 1 << 18
"""Characters of a page outside of `data`."""
_MARK = re.compile(r'["{}\[\],]')
_END_OF_TEXT = re.compile(r'["\\]')
_DATA = re.compile(r'"data"\s*:\s*\[\Z')


@dataclass(frozen=True, slots=True)
class Element:
    """An element of `data`."""

    number: int
    line: int
    value: Any

    @property
    def position(self) -> str:
        return f"data[{self.number}]"


def iter_elements(file: TextIO) -> Iterator[Element]:
    """Yield the elements of `data`. Raise BillError for a file that is cut or no such JSON."""
    reader = _Reader(file)
    pages = number = 0
    has_more = False
    while reader.skip_space():
        pages += 1
        for line, text in reader.page():
            yield Element(number, line, _parsed(text, line))
            number += 1
        rest = _parsed("".join(reader.rest), reader.line)
        if not isinstance(rest, dict) or not isinstance(rest.get("data"), list):
            raise BillError(f"line {reader.line}: the page has no list “data”")
        has_more = rest.get("has_more") is True
    if not pages:
        raise BillError("The file is empty.")
    if has_more:
        raise BillError(
            f"line {reader.line}: has_more is true: the report continues on a further page. "
            "Append the further pages to the file, one after the other."
        )


class _Reader:
    """Characters of the file with the current line. `rest` has the current page without the elements of `data`."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._buffer = ""
        self._at = 0
        self.line = 1
        self.rest: list[str] = []

    def skip_space(self) -> bool:
        """Go to the next character that is not white space. Return whether there is one."""
        while True:
            while self._at < len(self._buffer):
                if not self._buffer[self._at].isspace():
                    return True
                self.line += self._buffer[self._at] == "\n"
                self._at += 1
            if not self._fill():
                return False

    def page(self) -> Iterator[tuple[int, str]]:
        """Yield line and text of each element of `data` of one page."""
        self.rest, depth, size = [], 0, 0
        while True:
            part = self._to_mark()
            self.rest.append(part)
            size += len(part)
            if size > MAX_REST:
                raise BillError(f"line {self.line}: this is not an export: {MAX_REST:,} characters outside of “data”")
            match part[-1]:
                case '"':
                    text = io.StringIO()
                    self._copy_text(text)
                    self.rest.append(text.getvalue())
                    size += text.tell()
                case "[" if depth == 1 and _DATA.search("".join(self.rest[-6:])):
                    yield from self._elements()
                    self.rest.append("]")
                case "{" | "[":
                    depth += 1
                case "}" | "]":
                    depth -= 1
                    if depth <= 0:
                        return

    def _elements(self) -> Iterator[tuple[int, str]]:
        """Yield the elements of the array whose bracket was read, until its end."""
        while True:
            if not self.skip_space():
                raise self._cut()
            if self._buffer[self._at] == "]":
                self._at += 1
                return
            line = self.line
            text, end = self._element()
            if not text.strip():
                raise BillError(f"line {line}: an element of “data” is empty")
            yield line, text
            if end == "]":
                return

    def _element(self) -> tuple[str, str]:
        """Return the text of one element, and the mark after it: a comma or the bracket of the array."""
        out = io.StringIO()
        depth = 0
        while True:
            part = self._to_mark()
            mark = part[-1]
            if depth == 0 and mark in ",]":
                out.write(part[:-1])
                return out.getvalue(), mark
            out.write(part)
            if mark == '"':
                self._copy_text(out)
            elif mark in "{[":
                depth += 1
            elif mark in "}]":
                depth -= 1
            if not 0 <= depth <= MAX_DEPTH:
                raise BillError(f"line {self.line}: not valid JSON: brackets that do not match")
            if out.tell() > MAX_ELEMENT:
                raise BillError(f"line {self.line}: an element of “data” has more than {MAX_ELEMENT:,} characters")

    def _to_mark(self) -> str:
        """Return the characters up to the next quote, bracket or comma, with it."""
        return self._to(_MARK)

    def _copy_text(self, out: io.StringIO) -> None:
        """Copy the characters of a JSON text behind its first quote, with the last one."""
        begin = out.tell()
        while True:
            part = self._to(_END_OF_TEXT)
            out.write(part)
            if part[-1] == '"':
                return
            if self._at >= len(self._buffer) and not self._fill():
                raise self._cut()
            out.write(self._buffer[self._at])  # the escaped character
            self._at += 1
            if out.tell() - begin > MAX_TEXT:
                raise BillError(f"line {self.line}: a text has more than {MAX_TEXT:,} characters")

    def _to(self, pattern: re.Pattern[str]) -> str:
        parts: list[str] = []
        while not (found := pattern.search(self._buffer, self._at)):
            parts.append(self._take(len(self._buffer)))
            if len(parts) * CHUNK > MAX_TEXT:
                raise BillError(f"line {self.line}: this is not an export: {MAX_TEXT:,} characters without a bracket")
            if not self._fill():
                raise self._cut()
        parts.append(self._take(found.end()))
        return "".join(parts)

    def _take(self, end: int) -> str:
        part = self._buffer[self._at : end]
        self.line += part.count("\n")
        self._at = end
        return part

    def _fill(self) -> bool:
        """Read the next characters. Return whether there are any."""
        try:
            self._buffer, self._at = self._file.read(CHUNK), 0
        except UnicodeDecodeError as error:
            raise BillError(f"line {self.line}: the file is not UTF-8") from error
        return bool(self._buffer)

    def _cut(self) -> BillError:
        return BillError(f"line {self.line}: the file is cut: it ends within a page")


def _parsed(text: str, line: int) -> Any:
    """Parse JSON. Numbers with decimals become Decimal: a float would round amounts."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BillError(f"line {line + error.lineno - 1}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, brackets of thousands of levels
        raise BillError(f"line {line}: not valid JSON") from error


def _no_constant(name: str) -> Any:
    raise ValueError(name)
