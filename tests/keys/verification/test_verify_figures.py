"""A change of one record, of one hour or of one line of an export is found and named."""

import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F

from keys.models import APIKey, HourlyUsage, ModelPrice, UsageRecord
from keys.pricing.price_book import prices
from keys.reports import usage_csv
from keys.reports.date_range import DateRange
from lib.consistent_reads import consistent_reads
from tests.support.usage_rows import UsageRecorder

JULY = ("--from", "2026-07-01", "--to", "2026-07-31")


@pytest.fixture
def record(quiet_ledger: None, owner: User) -> Callable[..., UsageRecord]:
    ModelPrice.objects.create(
        model_pattern="priced", input_price=1_000_003, output_price=7, valid_from=datetime(2026, 1, 1, tzinfo=UTC)
    )
    prices.book()
    return UsageRecorder(APIKey.objects.issue(name="app", owner=owner)[0]).record


@pytest.fixture
def records(record: Callable[..., UsageRecord]) -> list[UsageRecord]:
    """Requests of several days, models and outcomes, one of them in flight."""
    return [
        record(created_at=at(1), upstream_model="priced", cache_write_1h_tokens=5, ttft_ms=3),
        record(created_at=at(1, 23), model="other", upstream_model="priced"),
        record(created_at=at(2), model="unpriced"),
        record(created_at=at(2), status="failed", error_type="invalid_request_error", input_tokens=None),
        record(created_at=at(2), status="rejected"),
        record(created_at=at(2), status="started"),
        record(created_at=at(31), status="client_closed", usage_source="partial"),
    ]


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 7, day, hour, tzinfo=UTC)


def run(*arguments: str) -> str:
    stdout = io.StringIO()
    call_command("verify_figures", *arguments, stdout=stdout)
    return stdout.getvalue()


def failed(*arguments: str) -> tuple[str, str]:
    """Return the output and the error of a run that fails with exit code 1."""
    stdout = io.StringIO()
    with pytest.raises(CommandError) as raised:
        call_command("verify_figures", *arguments, stdout=stdout)
    assert raised.value.returncode == 1
    return stdout.getvalue(), str(raised.value)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
def test_unchanged_figures_agree(zone: str, settings: Any, record: Callable[..., UsageRecord]) -> None:
    settings.TIME_ZONE = zone
    for day in (1, 2, 3):
        record(created_at=at(day, 4), upstream_model="priced")
        record(created_at=at(day, 18), status="rejected")

    assert run(*JULY) == (
        "Records, hours, report and export of 3 days with requests agree: "
        "3 requests, 3 rejected, 63 tokens, $0.000027000333.\n"
    )


def test_all_days_are_verified_by_default(records: list[UsageRecord]) -> None:
    assert "agree: 6 requests, 1 rejected, 101 tokens" in run()
    assert "Records, hours, report and export of 1 day with requests agree: 2 requests" in run(
        "--from", "2026-07-01", "--to", "2026-07-01"
    )


def test_no_requests_agree(db: None) -> None:
    assert "of 0 days with requests agree: 0 requests, 0 rejected, 0 tokens, $0.00." in run()


def test_a_changed_record_is_named(records: list[UsageRecord]) -> None:
    """By its checksum, although the hour was changed to match."""
    changed = records[0]
    UsageRecord.objects.filter(pk=changed.pk).update(output_tokens=F("output_tokens") + 1)
    HourlyUsage.objects.filter(model="claude-3", hour=at(1)).update(output_tokens=F("output_tokens") + 1)

    output, error = failed(*JULY)

    assert output == f"record {changed.pk}: its figures were changed\n"
    assert error == "1 figures disagree with the usage records."


def test_a_record_without_a_checksum_is_named(records: list[UsageRecord]) -> None:
    UsageRecord.objects.filter(pk=records[4].pk).update(figures_checksum="")

    assert failed(*JULY)[0] == f"record {records[4].pk}: its figures were changed\n"


def test_a_changed_hour_is_named(records: list[UsageRecord]) -> None:
    HourlyUsage.objects.filter(model="unpriced").update(input_tokens=10)

    lines = failed(*JULY)[0].splitlines()

    key = records[0].api_key
    hour = f"hour 2026-07-02T12:00Z key {key.pk} {key.owner_id} unpriced local envelope completed reported"
    assert lines[0] == f"{hour}: input_tokens 9 in the records, 10 found"
    assert lines[1] == "report 2026-07-02 hours: input_tokens 9 in the records, 10 found"
    assert lines[-1] == "export 2026-07-02: input_tokens 9 in the records, 10 found"


def test_a_deleted_record_is_a_wrong_hour(records: list[UsageRecord]) -> None:
    UsageRecord.objects.filter(pk=records[6].pk).delete()

    result, _ = failed(*JULY, "--json")

    found = json.loads(result)
    assert found["days"] == 3 and found["disagreements"] == len(found["found"])
    hours = {each["figure"]: (each["records"], each["found"]) for each in found["found"] if each["source"] == "hour"}
    assert hours["requests"] == ("0", "1") and hours["output_tokens"] == ("0", "12")


def test_records_of_a_previous_pepper_are_signed_again(records: list[UsageRecord], settings: Any) -> None:
    old = settings.API_KEY_PEPPERS
    UsageRecord.objects.filter(pk=records[0].pk).update(output_tokens=13)
    settings.API_KEY_PEPPERS = ["a new pepper", *old]

    assert run("--renew", *JULY) == "5 checksums renewed.\n"
    assert run("--renew", *JULY) == "0 checksums renewed.\n"

    settings.API_KEY_PEPPERS = ["a new pepper"]
    assert f"record {records[0].pk}: its figures were changed\n" in failed(*JULY)[0]  # a wrong one is not made right
    assert failed(*JULY)[0].count("record ") == 1


def test_requests_that_are_settled_meanwhile_are_in_all_figures_or_in_none(
    record: Callable[..., UsageRecord],
) -> None:
    with consistent_reads():
        before = UsageRecord.objects.count()
        _in_another_thread(lambda: record(created_at=at(1)))
        assert UsageRecord.objects.count() == before == 0
    assert UsageRecord.objects.count() == 1


def _in_another_thread(run: Callable[[], object]) -> None:
    from threading import Thread

    def do() -> None:
        try:
            run()
        finally:
            connection.close()

    thread = Thread(target=do)
    thread.start()
    thread.join(20)


# ---- Exports.


@pytest.fixture
def export(records: list[UsageRecord], tmp_path: Path) -> Path:
    path = tmp_path / "usage.csv"
    dates = DateRange(first=date(2026, 7, 1), last=date(2026, 7, 31))
    path.write_bytes("".join(usage_csv.csv_lines(dates)).encode())
    return path


def test_an_export_is_as_it_was_exported(export: Path) -> None:
    text = export.read_bytes()
    expected = "The file is as it was exported: export=usage from=2026-07-01 to=2026-07-31 time_zone=UTC lines=5\n"

    assert run("--export", str(export)) == expected
    export.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\r\n", b"\n"))  # as some editors save it
    assert run("--export", str(export)) == expected


def test_a_changed_line_of_an_export_is_found_and_named(export: Path) -> None:
    lines = export.read_text().splitlines(keepends=True)
    changed = lines[2].replace(",12,", ",13,", 1)
    assert changed != lines[2]
    export.write_text("".join([*lines[:2], changed, *lines[3:]]), newline="")

    output, error = failed("--export", str(export))

    found = output.splitlines()
    assert len(found) == 2 and found[0] == f"line 3: {changed.strip().removesuffix(',')}"
    assert found[1] == f"missing: {lines[2].strip().removesuffix(',')}"
    assert error == "The file is not as it was exported. Above: lines that differ from the figures now."


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [lines[0].replace("requests", "demands"), *lines[1:]],
        lambda lines: [lines[0].replace("to=2026-07-31", "to=2026-07-30"), *lines[1:]],
        lambda lines: [lines[0].replace("checksum=", "checksum=A"), *lines[1:]],
        lambda lines: [*lines[:-1], lines[-1].rstrip() + "7\r\n"],
        lambda lines: [*lines[:-1], lines[-1].rstrip() + ",\r\n"],
    ],
)
def test_no_other_change_of_an_export_goes_unnoticed(spoil: Callable[[list[str]], list[str]], export: Path) -> None:
    export.write_text("".join(spoil(export.read_text().splitlines(keepends=True))), newline="")

    assert "not as it was exported" in failed("--export", str(export))[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The file has no checksum in its header."),
        (b"day,key\r\n2026-07-01,a\r\n", "The file has no checksum in its header."),
        (b"\xff\xfe", "The file is not in UTF-8."),
        (b'"' + b"x" * 200_000, "Line 1: field larger than field limit (131072)."),
        (None, "The file cannot be read: No such file or directory."),
    ],
)
def test_a_file_that_is_no_export_is_rejected(db: None, content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    if content is not None:
        path.write_bytes(content)

    assert failed("--export", str(path))[1] == message
