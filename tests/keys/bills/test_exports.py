"""Exports of providers: each is recognized and read exactly, and what is wrong with one is said with line and field."""

import io
import itertools
import json
import tracemalloc
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from keys.bills.exports import read_export
from keys.bills.lines import BillError, EmptyDay, Line
from keys.bills.other_exports import parse_mapping
from tests.keys.bills import samples

DAY = date(2026, 11, 20)
OPUS_TOKENS = {"input": 12_345, "cache_write_5m": 2_000, "cache_write_1h": 3_000, "cache_read": 40_000, "output": 5_678}
OPUS_PICOS = {
    "input": 49_380_000_000,
    "cache_write_5m": 10_000_000_000,
    "cache_write_1h": 24_000_000_000,
    "cache_read": 8_000_000_000,
    "output": 113_560_000_000,
}
SOL_TOKENS = {"input": 1_000, "cache_read": 4_000, "cache_write_5m": 5_000, "output": 1_000}
SOL_PICOS = {"input": 2 * 10**9, "cache_read": 8 * 10**8, "cache_write_5m": 125 * 10**8, "output": 10**10}
CENTS = {
    "input": 5 * 10**10,
    "cache_write_5m": 10**10,
    "cache_write_1h": 2 * 10**10,
    "cache_read": 10**10,
    "output": 11 * 10**10,
}

# Content, format, quantities and pico-dollars by kind.
EXPORTS: list[tuple[bytes, str, dict[str, int], dict[str, int]]] = [
    (samples.ANTHROPIC_USAGE, "anthropic_usage", OPUS_TOKENS | {"web_search": 3}, {}),
    (samples.ANALYTICS_USAGE, "analytics_usage", OPUS_TOKENS | {"web_search": 3, "request": 7}, {}),
    (samples.ANTHROPIC_COST, "anthropic_cost", {}, OPUS_PICOS | {"web_search": 3 * 10**10}),
    (samples.ANALYTICS_COST, "analytics_cost", {}, OPUS_PICOS),
    (samples.CONSOLE_USAGE, "console_usage", OPUS_TOKENS | {"web_search": 3}, {}),
    (samples.CONSOLE_COST, "console_cost", {}, CENTS),
    (samples.OPENAI_USAGE, "openai_usage", SOL_TOKENS | {"request": 1}, {}),
    (samples.OPENAI_USAGE_CSV, "openai_usage_csv", SOL_TOKENS | {"request": 1}, {}),
    (samples.OPENAI_COSTS, "openai_costs", SOL_TOKENS, SOL_PICOS),
    (samples.OPENAI_COSTS_CSV, "openai_costs_csv", {}, {"tokens": 25_300_000_000}),
    (samples.OPENROUTER_DAILY, "openrouter_daily", {"request": 1}, {"tokens": 140_000_000}),
    (samples.OPENROUTER_GENERATIONS, "openrouter_generations", {}, {"tokens": 140_000_000}),
    (
        samples.DEEPSEEK_ZIP,
        "deepseek_zip",
        {"cache_read": 8_000, "input": 2_000, "output": 500, "request": 1},
        {"tokens": 624_000_000},
    ),
]
IDS = [each[1] for each in EXPORTS]
CSV_FILES = [each for each in EXPORTS if not each[0].startswith((b"{", b"PK"))]


def lines_of(content: bytes, **options: Any) -> list[Line]:
    return [each for each in read_export(io.BytesIO(content), **options).lines if isinstance(each, Line)]


def read(content: bytes) -> tuple[dict[str, int], dict[str, int]]:
    """Return the quantities and the pico-dollars of an export by kind."""
    lines = lines_of(content)
    quantities = {str(line.kind): line.quantity for line in lines if line.quantity is not None}
    picos = {str(line.kind): line.amount_usd_picos for line in lines if line.amount_usd_picos is not None}
    return quantities, picos


def error_of(content: bytes, **options: Any) -> str:
    with pytest.raises(BillError) as caught:
        lines_of(content, **options)
    return str(caught.value)


@pytest.mark.parametrize(("content", "format", "quantities", "picos"), EXPORTS, ids=IDS)
def test_each_export_is_recognized_and_read_exactly(
    content: bytes, format: str, quantities: dict[str, int], picos: dict[str, int]
) -> None:
    assert read_export(io.BytesIO(content)).format == format
    assert read(content) == (quantities, picos)
    assert {line.day for line in lines_of(content)} == {DAY}


@pytest.mark.parametrize(("content", "format", "quantities", "picos"), CSV_FILES, ids=[each[1] for each in CSV_FILES])
def test_a_csv_with_bom_semicolons_and_crlf_is_read_like_the_original(
    content: bytes, format: str, quantities: dict[str, int], picos: dict[str, int]
) -> None:
    spreadsheet = samples.with_semicolons(content) if format != "openai_usage_csv" else content

    assert read_export(io.BytesIO(spreadsheet)).format == format
    assert read(spreadsheet) == (quantities, picos)


@pytest.mark.parametrize("content", [each[0] for each in EXPORTS], ids=IDS)
def test_no_cut_of_an_export_is_read_as_a_whole_one(content: bytes) -> None:
    """A cut at the end of a line leaves a shorter, valid CSV file. Any other cut is an error."""
    whole = lines_of(content)
    for end in itertools.chain(range(0, len(content), 97), range(max(1, len(content) - 60), len(content) - 1)):
        part = content[:end]
        if part.endswith(b"\n") or content[end : end + 1] in (b"\n", b""):
            continue
        try:
            found = lines_of(part)
        except BillError:
            continue
        assert not content.startswith((b"{", b"PK")), part[-40:]
        assert len(found) <= len(whole)


def test_a_cut_json_file_is_named_with_its_line() -> None:
    cut = samples.ANTHROPIC_COST[:-40]

    assert error_of(cut) == f"line {cut.count(bytes([10])) + 1}: the file is cut: it ends within a page"


def test_money_is_never_a_float() -> None:
    """0.1 + 0.2 of floats is 0.30000000000000004; a text of 30 decimals keeps them."""
    result = {"object": "organization.costs.result", "line_item": "gpt-6-sol, input"}
    content = samples.openai_page(result | {"amount": {"value": 1, "currency": "usd"}})
    exact = content.replace(b'"value": 1', b'"value": 123456.789012345678')

    assert [line.amount_usd_picos for line in lines_of(exact)] == [123_456_789_012_345_678]


def test_several_pages_in_one_file_are_one_bill_and_a_missing_page_is_said() -> None:
    first = samples.page((samples.DAY, samples.NEXT_DAY, [samples.usage_result()]), has_more=True)
    second = samples.page((samples.NEXT_DAY, "2026-11-22", [samples.usage_result()]))

    assert [line.day.day for line in lines_of(first + b"\n" + second)] == [20] * 6 + [21] * 6
    assert "has_more is true: the report continues on a further page" in error_of(first)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            samples.ANTHROPIC_COST.replace(b'"USD"', b'"EUR"', 1),
            "line 3: data[0].results[0].currency: “EUR” is",
        ),
        (samples.ANTHROPIC_COST.replace(b'"4.938000"', b'"4,938"'), "data[0].results[0].amount: “4,938” has a comma"),
        (samples.ANTHROPIC_COST.replace(b'"4.938000"', b"4.9e400"), "data[0].results[0].amount: “4.9E+400” is more"),
        (samples.ANTHROPIC_COST.replace(b'"4.938000"', b"NaN"), "line 3: not valid JSON"),
        (samples.ANTHROPIC_USAGE.replace(b"5678", b"-1"), "data[0].results[0].output_tokens: “-1” is not a whole"),
        (samples.ANTHROPIC_USAGE.replace(b"5678", b'"x"'), "data[0].results[0].output_tokens: “x” is not a number"),
        (samples.CONSOLE_COST.replace(b"0.02,0.02", b"x,0.02"), "line 4: cost_usd: “x” is not a number"),
        (
            samples.CONSOLE_COST.replace(b"2026-11-20", b"20.11.2026", 1),
            "line 2: usage_date_utc: “20.11.2026” is not",
        ),
        (samples.DEEPSEEK_COST.replace(b"USD", b"CNY"), "line 2: currency: “CNY” is not USD"),
        (samples.OPENAI_COSTS_CSV.replace(b",usd,", b",eur,"), "line 3: amount_currency: “eur” is not USD"),
        (samples.OPENROUTER_DAILY.replace(b"194,2,0", b"194"), "line 2: 6 cells instead of 8: the file is cut"),
        (samples.OPENAI_USAGE.replace(b"10000", b"10001"), "input_tokens: 10,001 is not the sum of its uncached and"),
        ("﻿a".encode("utf-16"), "The file is UTF-16"),
        (b"usage_date_utc,model,cost_usd\n\xff,a,1\n", "is not UTF-8"),
        (b"", "The file is empty."),
        (b"a,b,c\n1,2,3\n", "line 1: the columns a, b, c are of no known export. Tried: Anthropic Console usage CSV"),
        (
            b'{"data": [{"aggregation_timestamp": 1}]}',
            "has neither starting_at nor start_time, but agg",
        ),
        (b'{"object": "list"}', "line 1: the page has no list “data”"),
        (b"x" * 70_000, "are of no known export"),
        (samples.zipped(other=b"a"), "neither amount-….csv nor cost-….csv"),
        (samples.DEEPSEEK_ZIP[:200], "The zip file is cut, encrypted or damaged."),
    ],
)
def test_an_error_names_the_line_and_the_field(content: bytes, message: str) -> None:
    assert message in error_of(content)


def test_results_of_two_generations_in_one_file_are_not_mixed() -> None:
    mixed = samples.page((samples.DAY, samples.NEXT_DAY, [samples.cost_result("output_tokens", "1.0")] * 2))
    pages = json.loads(mixed)
    pages["data"][0]["results"][1]["list_amount"] = "1.0"

    assert error_of(json.dumps(pages).encode()) == (
        "line 1: data[0].results[1]: is of another export (Anthropic cost analytics) than the lines before it "
        "(Anthropic cost report)"
    )


def test_hours_without_an_offset_are_those_of_deepseek() -> None:
    local = samples.DEEPSEEK_AMOUNT.replace(b"2026-11-20T12:00:00+00:00", b"2026-11-20T07:00:00")

    assert {line.day for line in lines_of(local)} == {date(2026, 11, 19)}


def test_an_empty_day_is_part_of_the_period() -> None:
    found = list(read_export(io.BytesIO(samples.OPENAI_COSTS_CSV)).lines)

    assert found[0] == EmptyDay(date(2026, 11, 19))


def test_the_columns_of_any_csv_can_be_named() -> None:
    mapping = parse_mapping("day=Datum, amount=Betrag, currency=W, model=Modell, input_tokens=Ein")
    content = b"Datum;Modell;Ein;Betrag;W\n2026-11-20;claude-opus-5-5;12345;0.04938;USD\n"

    [tokens, amount] = lines_of(content, mapping=mapping)

    assert (tokens.kind, tokens.quantity, tokens.model) == ("input", 12_345, "claude-opus-5-5")
    assert (amount.kind, amount.amount_usd_picos, amount.unit_usd_picos) == ("tokens", 49_380_000_000, 10**7)
    assert error_of(content.replace(b"Betrag", b"Preis"), mapping=mapping) == "line 2: there is no column Betrag"


@pytest.mark.parametrize("text", ["day", "day=", "date=a,amount=b", "day=a", "amount=a"])
def test_a_mapping_without_day_or_figure_is_an_error(text: str) -> None:
    with pytest.raises(BillError, match="Columns:"):
        parse_mapping(text)


# ---- Large and hostile files.


class Endless(io.RawIOBase):
    """A file of 2 GB that is made while it is read."""

    def __init__(self, head: bytes, part: bytes, size: int) -> None:
        self._head, self._part, self._size, self._at = head, part * (1 + 65_536 // len(part)), size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        size = min(size, self._size - self._at)
        start = self._head[self._at : self._at + size]
        offset = (self._at + len(start) - len(self._head)) % len(self._part)
        rest = size - len(start)
        data = start + (self._part * (2 + rest // len(self._part)))[offset : offset + rest]
        self._at += len(data)
        return data


BUCKET = samples.page((samples.DAY, samples.NEXT_DAY, [samples.usage_result()] * 20)).partition(b"[\n")[2]
BUCKET = BUCKET.rpartition(b"]")[0].strip()
CSV_HEAD, _, CSV_ROW = samples.CONSOLE_USAGE.partition(b"\n")


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b'{"data": [', BUCKET + b","),
        (CSV_HEAD + b"\n", CSV_ROW),
        (b'{"data": [{"starting_at": "', b"x"),
        (b'{"data": [', b"["),
        (b'{"data": [{"a": "', b"\\\\"),
        (b"{", b" "),
        (b'{"a": [', b'"a", '),
        (b"usage_date_utc,", b"x"),
        (b'usage_date_utc,model,cost_usd\n"', b"x\n"),
    ],
    ids=["buckets", "rows", "one text", "brackets", "escapes", "spaces", "no data", "one header", "one cell"],
)
def test_a_file_of_2_gb_is_read_in_bounded_memory(head: bytes, part: bytes) -> None:
    """The whole of the valid ones would take minutes: they are read to the first 500 lines."""
    tracemalloc.start()
    try:
        for _ in _first_lines(Endless(head, part, size=2 << 30), 500):
            pass
    except BillError:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 100 << 20


def _first_lines(file: Any, number: int) -> Iterator[Any]:
    return itertools.islice(read_export(file).lines, number)


def test_a_zip_bomb_is_not_unpacked() -> None:
    bomb = samples.zipped(amount=samples.DEEPSEEK_AMOUNT + b"\n" * (20 << 20))

    assert "unpacks to more than an export of its size can" in error_of(bomb)
