"""File formats of exports, each written row by row in constant memory."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from django.utils import timezone

from keys.exports import xlsx
from keys.exports.tables import Column, ExportTable, ValueType
from keys.reports.csv_text import inert
from keys.reports.signed_csv import signed
from lib import money, periods
from lib.pace import pace


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFormat:
    label: str
    content_type: str
    write: Callable[[ExportTable, IO[bytes]], None]


def _write_csv(table: ExportTable, file: IO[bytes]) -> None:
    """Write signed CSV: texts are inert in spreadsheets, amounts are exact decimals, times have an offset."""
    cells = [_CSV_CELLS[column.type] for column in table.columns]
    rows = ([cell(value) for cell, value in zip(cells, row, strict=True)] for row in table.rows)
    _write_lines(signed([column.name for column in table.columns], rows, query=table.query), file)


def _write_json(table: ExportTable, file: IO[bytes]) -> None:
    """Write one object: `query`, and `rows` as objects by column. Amounts are decimal strings."""
    _write_lines(_json_lines(table), file)


def _json_lines(table: ExportTable) -> Iterator[str]:
    yield f'{{"query": {json.dumps(dict(table.query))},\n"rows": ['
    separator = "\n"
    for row in table.rows:
        yield separator + json.dumps(_json_object(table.columns, row), ensure_ascii=False)
        separator = ",\n"
    yield "\n]}\n"


def _json_object(columns: Sequence[Column], row: Sequence[Any]) -> dict[str, Any]:
    return {column.name: _JSON_VALUES[column.type](value) for column, value in zip(columns, row, strict=True)}


def _write_lines(lines: Iterator[str], file: IO[bytes]) -> None:
    step = pace()
    for line in lines:
        file.write(line.encode())
        step()


def _moment(value: datetime | None) -> str | None:
    return timezone.localtime(value, periods.zone()).isoformat() if value else None


def _decimal(picos: int | None) -> str | None:
    return None if picos is None else money.decimal(picos)


def _same(value: Any) -> Any:
    return value


_JSON_VALUES: dict[ValueType, Callable[[Any], Any]] = {
    ValueType.TEXT: _same,
    ValueType.COUNT: _same,
    ValueType.USD: _decimal,
    ValueType.NUMBER: _same,
    ValueType.MOMENT: _moment,
}
_CSV_CELLS = _JSON_VALUES | {ValueType.TEXT: lambda text: inert(text or "")}

FORMATS = {
    "csv": ExportFormat(label="CSV", content_type="text/csv; charset=utf-8", write=_write_csv),
    "xlsx": ExportFormat(label="Excel", content_type=xlsx.CONTENT_TYPE, write=xlsx.write),
    "json": ExportFormat(label="JSON", content_type="application/json", write=_write_json),
}
