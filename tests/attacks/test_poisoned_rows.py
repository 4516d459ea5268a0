"""One bad row, and one bad spool, never stop the ledger: each is isolated, kept and logged, and never tried again."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.utils import timezone

from keys.models import APIKey, HourlyUsage, UsageRecord
from keys.models.usage import TOKEN_COLUMNS
from keys.usage import ledger, recovery, rollup_check, rows, spool, statements
from keys.usage.backlog import spool_folder
from keys.usage.rows import Admission, Settlement, Status
from tests.support import usage_rows
from tests.support.gateway import wait_until
from tests.support.recovery import recover

pytestmark = pytest.mark.usefixtures("quiet_ledger", "clean_spool_folder")

GOOD = Settlement(
    status=Status.COMPLETED,
    http_status=200,
    upstream="local",
    upstream_model="m",
    input_tokens=9,
    output_tokens=12,
    usage_source="reported",
)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


UNFIT: dict[str, Any] = {
    "none": None,
    "true": True,
    "negative": -1,
    "huge": 2**80,
    "nearly 64 bits": 2**63 - 1,
    "fraction": 1.5,
    "float": 1e308,
    "nan": float("nan"),
    "infinite": float("inf"),
    "text": "text",
    "empty": "",
    "surrogate": "a\ud800b",
    "nul": "a\0b",
    "long": "x" * 1_000_000,
    "list": ["a"],
    "object": {"a": 1},
    "deep": nested(5_000),
    "odd object": [{"a": {1, 2}, "b": b"c", "\ud800": "\ud800", "d": float("nan"), "e": 2**80, 5: nested(10)}] * 500,
    "bytes": b"\xff",
    "set": {1},
    "time": datetime(1, 1, 1),
    "instance": object(),
}


@pytest.fixture
def clean_spool_folder() -> Iterator[None]:
    ledger.close()
    _empty(spool_folder())
    yield
    ledger.close()
    _empty(spool_folder())


def _empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.fixture
def key(owner: User) -> APIKey:
    return APIKey.objects.issue(name="app", owner=owner)[0]


@pytest.fixture
def admission_of(key: APIKey) -> Callable[..., Admission]:
    return partial(usage_rows.admission_of, key)


def serve(admission: Admission, settlement: Settlement = GOOD) -> None:
    ledger.admit(admission)
    ledger.settle(admission, settlement)


def statuses() -> dict[str, str]:
    return dict(UsageRecord.objects.values_list("pk", "status"))


def assert_rollups_match() -> None:
    begin, end = timezone.now() - timedelta(days=2), timezone.now() + timedelta(days=1)
    intervals = rollup_check.iter_intervals(begin, end)
    assert [each for interval in intervals for each in rollup_check.mismatches(interval)] == []


# ---- Values.


def test_a_settlement_with_any_value_in_any_field_is_settled(admission_of: Callable[..., Admission]) -> None:
    names = [item.name for item in fields(Settlement) if item.name not in ("status", "price_id")]
    served = [(admission_of(), replace(GOOD, **{name: value})) for name in names for value in UNFIT.values()]
    served += [(admission_of(), GOOD) for _ in range(20)]

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda each: serve(*each), served))

    assert statuses() == {admission.id: "completed" for admission, _ in served}
    assert not ledger.is_unavailable()
    assert spool.quarantined(spool_folder()) == []
    assert_rollups_match()
    for admission, settlement in served:
        assert 0 <= settlement.tokens < 10**10
        record = UsageRecord.objects.get(pk=admission.id)
        assert all(0 <= (getattr(record, name) or 0) <= 10**9 for name in TOKEN_COLUMNS)


def test_an_admission_with_any_value_in_a_field_of_the_client_is_admitted(
    admission_of: Callable[..., Admission],
) -> None:
    names = ["model", "api_format", "streamed", "estimated_input_tokens", "upstream", "upstream_model", "client_ip"]
    names += ["client_request_id", "user_agent"]
    admissions = [admission_of(**{name: value}) for name in names for value in UNFIT.values()]

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(serve, admissions))

    assert statuses() == {admission.id: "completed" for admission in admissions}
    assert_rollups_match()


def test_a_value_that_does_not_fit_is_dropped_and_logged_and_the_others_stay(
    admission_of: Callable[..., Admission], caplog: Any
) -> None:
    admission = admission_of()

    serve(admission, replace(GOOD, stop_reason={"a": 1}, message_id="msg_\ud800", output_tokens=2**80))  # type: ignore[arg-type]

    record = UsageRecord.objects.get()
    assert (record.stop_reason, record.message_id) == ("", "msg_\N{REPLACEMENT CHARACTER}")
    assert (record.input_tokens, record.output_tokens) == (9, None)
    logged = "\n".join(entry.getMessage() for entry in caplog.records)
    assert "stop_reason is a dict" in logged and "output_tokens is a int" in logged


# ---- Rows that the database rejects for a reason of its own.


@contextlib.contextmanager
def rejecting(condition: str, *, sqlstate: str = "") -> Iterator[None]:
    """Make the database reject the rows for which a condition on the new row holds."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"RAISE EXCEPTION 'poison' USING ERRCODE = '{sqlstate or '23514'}'; END $$; "
                f"CREATE TRIGGER poison BEFORE UPDATE ON keys_usagerecord FOR EACH ROW WHEN ({condition}) "
                "EXECUTE FUNCTION poison()"
            )
        else:
            cursor.execute(
                f"CREATE TRIGGER poison BEFORE UPDATE ON keys_usagerecord WHEN {condition} "
                "BEGIN SELECT RAISE(ABORT, 'poison'); END"
            )
    try:
        yield
    finally:
        ledger.close()
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("DROP TRIGGER poison ON keys_usagerecord; DROP FUNCTION poison()")
            else:
                cursor.execute("DROP TRIGGER poison")


SQLSTATES = ["23514"]  # all that a trigger of SQLite can raise
if settings.DATABASES["default"]["ENGINE"] == "project.postgresql":
    SQLSTATES += ["22P02", "42804", "54001", "XX000", "58030", "P0001", "0A000", "72000"]
"""Of errors that a server in operation may raise for one row: each is another class of exception in the driver."""


@pytest.mark.parametrize("sqlstate", SQLSTATES)
def test_a_row_that_the_database_rejects_is_quarantined_and_can_be_replayed(
    admission_of: Callable[..., Admission], sqlstate: str
) -> None:
    poisoned, others = admission_of(), [admission_of() for _ in range(30)]
    served = [(poisoned, replace(GOOD, message_id="poison")), *((each, GOOD) for each in others)]
    with rejecting("NEW.message_id = 'poison'", sqlstate=sqlstate):
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda each: serve(*each), served))
        was_available = not ledger.is_unavailable()
        ledger.close()
        ledger.start()
        wait_until(lambda: statuses()[poisoned.id] == "interrupted" and not spool.count_pending(spool_folder()))
        ledger.close()

        assert was_available
        assert statuses() == {each.id: "completed" for each in others} | {poisoned.id: "interrupted"}
        assert spool.quarantined(spool_folder()) == [spool.QUARANTINE]
        assert list(spool_folder().glob("*.spool")) == []

    quarantine = spool_folder() / spool.QUARANTINE
    quarantine.rename(spool_folder() / "replay.spool")  # as docs/operations.md says
    recover()
    assert set(statuses().values()) == {"completed"}
    assert spool.quarantined(spool_folder()) == []
    assert_rollups_match()


def test_a_record_that_can_never_be_settled_is_logged_once_and_stops_nothing(
    admission_of: Callable[..., Admission], caplog: Any
) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    poisoned = admission_of(created_at=long_ago, lease_s=660, user_agent="poison")
    lost = admission_of(created_at=long_ago, lease_s=660)
    for admission in (poisoned, lost):
        ledger.admit(admission)
    UsageRecord.objects.update(boot_id="a-lost-host")
    with rejecting("NEW.user_agent = 'poison'"):
        recover()
        first = [entry.levelname for entry in caplog.records].count("ERROR")
        recover()
        serve(admission_of())

    assert statuses()[lost.id] == "interrupted" and statuses()[poisoned.id] == "started"
    assert first == 2  # with an estimate and without
    assert [entry.levelname for entry in caplog.records].count("ERROR") == first


def test_an_error_that_every_row_meets_quarantines_none(admission_of: Callable[..., Admission]) -> None:
    admission = admission_of()
    ledger.admit(admission)
    ledger.close()
    row = statements.closed(admission, GOOD)
    (spool_folder() / "dead.spool").write_bytes(rows.to_json(row) + b"\n")
    table = HourlyUsage._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER TABLE "{table}" RENAME TO "{table}_gone"')
    try:
        with contextlib.suppress(Exception):
            recover()
        assert spool.quarantined(spool_folder()) == [] and (spool_folder() / "dead.spool").exists()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f'ALTER TABLE "{table}_gone" RENAME TO "{table}"')
    recover()

    assert statuses() == {admission.id: "completed"}


def test_the_probe_of_the_database_leaves_no_row(admission_of: Callable[..., Admission]) -> None:
    serve(admission_of())

    recovery.check_database()

    assert UsageRecord.objects.count() == 1 and HourlyUsage.objects.count() == 1
    connections[DEFAULT_DB_ALIAS].check_constraints()


# ---- Spools.

GARBAGE = b"".join(bytes([number % 256]) * (number % 97) + b"\n" for number in range(3_000))
WRONG_TYPES: list[Any] = [
    [],
    {},
    "\ud800",
    "text",
    -1,
    2**80,
    1.5,
    True,
    None,
    [[1]],
    [["a", 1]],
    [[1, 2, 3]],
    "0001-01-01",
]
NOT_ROWS = [b"[]", b"1", b'"x"', b"null", b"true", b"{}", b"[" * 100_000, b"9" * 5_000, b'{"id": NaN}', b"\xff\xfe"]


def test_no_spool_stops_the_ledger(admission_of: Callable[..., Admission], caplog: Any) -> None:
    """Spools of every kind that cannot be read, between two that can."""
    finished = [admission_of() for _ in range(3)]
    broken = admission_of()
    for admission in (*finished, broken):
        ledger.admit(admission)
    UsageRecord.objects.filter(pk=broken.id).update(boot_id="mm-broken")
    ledger.close()
    row = statements.closed(finished[0], GOOD)
    _write_spools(row, rows.to_json(row), [rows.to_json(statements.closed(each, GOOD)) for each in finished])

    ledger.start()
    slowest_s = 0.0
    deadline = time.monotonic() + 60
    while {statuses()[each.id] for each in finished} != {"completed"} or any(spool_folder().glob("*-big.spool")):
        assert time.monotonic() < deadline, os.listdir(spool_folder())
        started_at = time.monotonic()
        serve(admission_of())
        slowest_s = max(slowest_s, time.monotonic() - started_at)
    ledger.close()

    assert slowest_s < 5
    assert statuses()[broken.id] == "interrupted"
    assert set(statuses().values()) == {"completed", "interrupted"}
    left = {path.name for path in spool_folder().iterdir()}
    assert left == {
        *("aa-folder.spool", "bb-pipe.spool", "cc-socket.spool", "dd-loop.spool", "ee-dangling.spool"),
        *("long-big.spool.damaged", "many-big.spool.damaged", spool.QUARANTINE),
    }
    before = len([entry for entry in caplog.records if entry.levelname == "ERROR"])
    recover()  # what remains is not reported again
    assert len([entry for entry in caplog.records if entry.levelname == "ERROR"]) == before
    assert_rollups_match()


def _write_spools(row: rows.Row, line: bytes, good: list[bytes]) -> None:
    folder = spool_folder()
    (folder / "a-good.spool").write_bytes(good[0] + b"\n")
    (folder / "aa-folder.spool").mkdir()
    os.mkfifo(folder / "bb-pipe.spool")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "cc-socket.spool"))
    (folder / "dd-loop.spool").symlink_to(folder / "dd-loop.spool")
    (folder / "ee-dangling.spool").symlink_to(folder / "missing")
    (folder / "ff-empty.spool").touch()
    (folder / "gg-cut.spool").write_bytes(good[1] + b"\n" + line[:40])
    (folder / "hh-binary.spool").write_bytes(os.urandom(100_000))
    (folder / "ii-json.spool").write_bytes(b"\n".join(NOT_ROWS) + b"\n")
    (folder / "jj-types.spool").write_bytes(b"".join(_rows_of_wrong_types(row)))
    Path(os.fsdecode(bytes(folder) + b"/kk-\xff\xfe.spool")).write_bytes(b"x\n")
    (folder / "long-big.spool").write_bytes(b"x" * (3 * spool.MAX_LINE_BYTES) + b"\n")
    (folder / "many-big.spool").write_bytes(GARBAGE)
    (folder / "mm-broken.spool").write_bytes(b"\x00" * 1000 + b"\n")
    (folder / "zz-good.spool").write_bytes(good[2] + b"\n")


def _rows_of_wrong_types(row: rows.Row) -> Iterator[bytes]:
    """Yield copies of a row, each with one value of a wrong type."""
    good = json.loads(rows.to_json(row))
    for name in good:
        for value in WRONG_TYPES:
            if name != "id" or not isinstance(value, str):  # another ID would be another request
                yield json.dumps(good | {name: value}).encode() + b"\n"
