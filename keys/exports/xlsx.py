"""
XLSX workbooks of exports (ECMA-376), written by XlsxWriter in constant memory.

Texts are written as texts, so that no spreadsheet takes one for a formula, a link or a number. Numbers of a spreadsheet
are binary with 15 significant digits, amounts among them: the exact ones are in CSV and JSON.
"""

from datetime import datetime
from itertools import chain, islice
from typing import IO, Any

from django.utils import timezone
from xlsxwriter import Workbook
from xlsxwriter.worksheet import Worksheet

from keys.exports.tables import ExportTable, ValueType
from lib import money, periods, threads
from lib.pace import pace
from lib.printable import printable

CONTENT_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ROWS_OF_SHEET = 1_048_575
"""Without the header. Further rows are on further sheets."""
LONGEST_TEXT = 32_767
OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_numbers": False,
    "strings_to_urls": False,
    "remove_timezone": True,
}
WIDTHS = {ValueType.TEXT: 24, ValueType.COUNT: 14, ValueType.USD: 16, ValueType.NUMBER: 12, ValueType.MOMENT: 20}
NUMBER_FORMATS = {
    ValueType.COUNT: "#,##0",
    ValueType.USD: "0.00##########",
    ValueType.NUMBER: "0.0##",
    ValueType.MOMENT: "yyyy-mm-dd hh:mm:ss",
}


def write(table: ExportTable, file: IO[bytes]) -> None:
    """Write a workbook: sheets of rows, and a last one that says what they are."""
    workbook = Workbook(file, OPTIONS)
    _add_rows(workbook, table)
    about = workbook.add_worksheet("About")
    about.set_column(0, 1, 32)
    for i, (name, value) in enumerate(table.query.items()):
        about.write_string(i, 0, name)
        about.write_string(i, 1, _text(value))
    threads.call(workbook.close)  # it compresses all rows in one go


def _add_rows(workbook: Workbook, table: ExportTable) -> None:
    rows = iter(table.rows)
    formats = {value_type: workbook.add_format({"num_format": text}) for value_type, text in NUMBER_FORMATS.items()}
    step = pace()
    for number in range(1, 1_000):
        first = next(rows, None)
        if first is None and number > 1:
            break
        sheet = workbook.add_worksheet("Usage" if number == 1 else f"Usage {number}")
        _add_header(sheet, table, workbook.add_format({"bold": True}))
        part = [] if first is None else chain([first], islice(rows, ROWS_OF_SHEET - 1))
        for i, row in enumerate(part, start=1):
            for j, (column, value) in enumerate(zip(table.columns, row, strict=True)):
                if value is not None:
                    _add_cell(sheet, i, j, column.type, value, formats.get(column.type))
            step()


def _add_header(sheet: Worksheet, table: ExportTable, bold: Any) -> None:
    for j, column in enumerate(table.columns):
        sheet.set_column(j, j, WIDTHS[column.type])
    sheet.freeze_panes(1, 0)
    for j, column in enumerate(table.columns):
        sheet.write_string(0, j, column.name, bold)


def _add_cell(sheet: Worksheet, i: int, j: int, value_type: ValueType, value: Any, cell_format: Any) -> None:
    if value_type is ValueType.TEXT:
        sheet.write_string(i, j, _text(value))
    elif value_type is ValueType.MOMENT:
        sheet.write_datetime(i, j, _wall_time(value), cell_format)
    elif value_type is ValueType.USD:
        sheet.write_number(i, j, float(money.decimal(value)), cell_format)
    else:
        sheet.write_number(i, j, value, cell_format)


def _text(value: str) -> str:
    """Return a text that a cell can hold: XML has no control characters."""
    return printable(value)[:LONGEST_TEXT]


def _wall_time(moment: datetime) -> datetime:
    """Return the time in the reporting time zone: spreadsheets know none."""
    return timezone.localtime(moment, periods.zone())
