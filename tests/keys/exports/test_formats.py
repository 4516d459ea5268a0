"""Exports keep every value in every format, and no text becomes a formula."""

import csv
import io
import json
import zipfile
from datetime import UTC, datetime
from typing import Any

import pytest
from openpyxl import load_workbook

from keys.exports import xlsx
from keys.exports.formats import FORMATS
from keys.exports.tables import Column, ExportTable, ValueType

HOSTILE = ["=1+1", "+cmd", "-2+3", "@SUM(A1)", " =x", "\uff1d1+1", "\t=1", "https://example.org", "00123", "1e5"]
MOMENT = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
COLUMNS = [
    Column(name="text"),
    Column(name="count", type=ValueType.COUNT),
    Column(name="cost_usd", type=ValueType.USD),
    Column(name="share", type=ValueType.NUMBER),
    Column(name="at", type=ValueType.MOMENT),
]
ROW = ("Zoë 漢字", 2**40, 123_456_789_012_345, 0.25, MOMENT)
EMPTY = ("", None, None, None, None)


def written(name: str, rows: Any, columns: Any = COLUMNS) -> bytes:
    file = io.BytesIO()
    FORMATS[name].write(ExportTable(name="usage", query={"range": "=today"}, columns=columns, rows=iter(rows)), file)
    return file.getvalue()


def test_csv_has_exact_amounts_and_times_with_offset(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"

    header, row, empty = csv.reader(written("csv", [ROW, EMPTY]).decode().splitlines())

    assert header[:5] == ["text", "count", "cost_usd", "share", "at"]
    assert row[:5] == ["Zoë 漢字", str(2**40), "123.456789012345", "0.25", "2026-10-25T02:30:00+01:00"]
    assert empty == [""] * 6


def test_json_has_amounts_as_decimal_strings_and_null_for_unknown() -> None:
    found = json.loads(written("json", [ROW, EMPTY]))

    assert found["query"] == {"range": "=today"}
    assert found["rows"][0] == {
        "text": "Zoë 漢字",
        "count": 2**40,
        "cost_usd": "123.456789012345",
        "share": 0.25,
        "at": MOMENT.isoformat(),
    }
    assert found["rows"][1] == {"text": "", "count": None, "cost_usd": None, "share": None, "at": None}


def test_json_without_rows_is_valid() -> None:
    assert json.loads(written("json", []))["rows"] == []


def test_xlsx_has_typed_cells(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"

    sheet = load_workbook(io.BytesIO(written("xlsx", [ROW, EMPTY])))["Usage"]

    header, row, *empty = sheet.iter_rows(values_only=True)
    assert header == ("text", "count", "cost_usd", "share", "at")
    assert row == ("Zoë 漢字", 2**40, 123.456789012345, 0.25, datetime(2026, 10, 25, 2, 30))
    assert empty == [("", None, None, None, None)]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_is_a_formula_a_link_or_a_number(text: str) -> None:
    content = written("xlsx", [(text,)], COLUMNS[:1])
    [_, [cell]] = load_workbook(io.BytesIO(content))["Usage"].iter_rows()
    [_, [value, _]] = csv.reader(io.StringIO(written("csv", [(text,)], COLUMNS[:1]).decode(), newline=""))
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        sheet = parts.read("xl/worksheets/sheet1.xml").decode()

    assert cell.data_type == "s"  # a text
    assert cell.hyperlink is None
    assert "<f>" not in sheet
    assert cell.value.strip("?") == text.strip("\t")
    assert value == text or value == f"'{text}"
    assert not value.lstrip().startswith(("=", "+", "-", "@", "\uff1d"))


def test_control_characters_do_not_break_a_workbook() -> None:
    sheet = load_workbook(io.BytesIO(written("xlsx", [("a\0b\x1bc\ufffe",)], COLUMNS[:1])))["Usage"]

    assert [row[0] for row in sheet.iter_rows(values_only=True)] == ["text", "a?b?c?"]


def test_more_rows_than_a_sheet_holds_are_on_further_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "ROWS_OF_SHEET", 3)

    book = load_workbook(io.BytesIO(written("xlsx", [(i,) for i in range(7)], [COLUMNS[1]])))

    assert book.sheetnames == ["Usage", "Usage 2", "Usage 3", "About"]
    values = [row[0] for name in book.sheetnames[:3] for row in book[name].iter_rows(min_row=2, values_only=True)]
    assert values == list(range(7))


def test_a_workbook_says_what_it_contains() -> None:
    about = load_workbook(io.BytesIO(written("xlsx", [])))["About"]

    assert list(about.iter_rows(values_only=True)) == [("range", "=today")]
