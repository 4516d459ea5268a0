"""One record per request: admitted before, settled exactly once after, whatever fails in between."""

import errno
import json
import os
import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from keys.errors import LedgerUnavailable
from keys.models import APIKey, KeySecret, UsageRecord
from keys.usage import ledger, record_writer, rows, statements
from keys.usage.backlog import backlog, spool_folder
from keys.usage.rows import Admission, Settlement, Status
from keys.usage.spool import Spool
from tests.support import usage_rows
from tests.support.gateway import wait_until
from tests.support.outage import database_unavailable
from tests.support.recovery import recover

pytestmark = pytest.mark.usefixtures("quiet_ledger", "record_table_form")

COMPLETED = Settlement(
    status=Status.COMPLETED,
    http_status=200,
    stop_reason="end_turn",
    upstream="local",
    upstream_model="m",
    message_id="msg_1",
    attempts=[{"upstream": "local", "status": 200}],
    input_tokens=9,
    output_tokens=12,
    cache_read_tokens=0,
    usage_source="reported",
    ttft_ms=5,
    duration_ms=20,
)


@pytest.fixture
def key(owner: Any) -> APIKey:
    return APIKey.objects.issue(name="app", owner=owner)[0]


@pytest.fixture
def admission(key: APIKey) -> Admission:
    return admission_of(key)


def admission_of(key: APIKey, **changes: Any) -> Admission:
    of_client = {"client_ip": "192.0.2.1", "user_agent": "curl/8"}
    return usage_rows.admission_of(key, **({"lease_s": 660} | of_client | changes))


def test_admission_writes_an_open_record(admission: Admission) -> None:
    ledger.admit(admission)

    row = UsageRecord.objects.get()
    assert (row.id, row.status, row.settled_at, row.model) == (admission.id, "started", None, "claude-3")
    assert (row.client_ip, row.user_agent, row.estimated_input_tokens) == ("192.0.2.1", "curl/8", 7)
    assert row.lease_expires_at == admission.created_at + timedelta(seconds=660)


def test_settlement_writes_usage(admission: Admission) -> None:
    ledger.admit(admission)

    ledger.settle(admission, COMPLETED)

    row = UsageRecord.objects.get()
    assert row.settled_at is not None
    for name in ("status", "http_status", "stop_reason", "upstream", "message_id", "input_tokens", "output_tokens"):
        assert getattr(row, name) == getattr(COMPLETED, name)
    assert (row.cache_read_tokens, row.cache_write_5m_tokens) == (0, None)
    assert row.attempts == [{"upstream": "local", "status": 200}]


def test_a_request_is_settled_once_and_the_first_settlement_counts(admission: Admission) -> None:
    ledger.admit(admission)
    ledger.settle(admission, COMPLETED)

    ledger.settle(admission, replace(COMPLETED, status=Status.FAILED, output_tokens=99))

    row = UsageRecord.objects.get()
    assert (row.status, row.output_tokens) == ("completed", 12)


def test_a_rejected_request_is_a_record_without_tokens(admission: Admission) -> None:
    ledger.reject(admission, http_status=403, error_type="permission_error")
    ledger.close()

    row = UsageRecord.objects.get()
    assert (row.status, row.http_status, row.error_type) == ("rejected", 403, "permission_error")
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (None, None, "none")


def test_a_hundred_concurrent_requests_are_a_hundred_records(key: APIKey) -> None:
    admissions = [admission_of(key) for _ in range(100)]

    threads = [threading.Thread(target=_admit_and_settle, args=(each,)) for each in admissions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert set(UsageRecord.objects.values_list("id", "status")) == {(each.id, "completed") for each in admissions}


def _admit_and_settle(admission: Admission) -> None:
    ledger.admit(admission)
    ledger.settle(admission, COMPLETED)


def test_one_invalid_row_does_not_fail_its_batch(key: APIKey) -> None:
    invalid = admission_of(key, api_key_id=10**9)  # no such key: the foreign key fails at commit
    others = [admission_of(key) for _ in range(9)]

    outcomes: dict[str, Exception | None] = {}
    threads = [threading.Thread(target=_try_to_admit, args=(each, outcomes)) for each in [invalid, *others]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert isinstance(outcomes[invalid.id], LedgerUnavailable)
    assert set(UsageRecord.objects.values_list("id", flat=True)) == {each.id for each in others}


def _try_to_admit(admission: Admission, outcomes: dict[str, Exception | None]) -> None:
    try:
        ledger.admit(admission)
    except LedgerUnavailable as error:
        outcomes[admission.id] = error
    else:
        outcomes[admission.id] = None


def test_nul_in_a_text_is_replaced(key: APIKey) -> None:
    admission = admission_of(key, user_agent="a\0b", model="m" * 300)

    ledger.admit(admission)

    row = UsageRecord.objects.get()
    assert (row.user_agent, row.model) == ("a\N{REPLACEMENT CHARACTER}b", "m" * 256)


def test_last_used_is_written_at_settlement_and_at_most_every_five_minutes(key: APIKey) -> None:
    first = admission_of(key)
    _admit_and_settle(first)
    soon = admission_of(key, created_at=first.created_at + timedelta(minutes=4))
    _admit_and_settle(soon)
    used_at = KeySecret.objects.get().last_used_at

    later = admission_of(key, created_at=first.created_at + timedelta(minutes=6))
    _admit_and_settle(later)

    assert used_at == first.created_at
    assert KeySecret.objects.get().last_used_at == later.created_at


def test_records_of_a_dead_process_are_orphaned_and_its_spool_is_replayed(key: APIKey, admission: Admission) -> None:
    finished, running = admission, admission_of(key)
    ledger.admit(finished)
    ledger.admit(running)
    dead = _die_with_a_spooled_settlement(finished)

    ledger.start()

    wait_until(lambda: not UsageRecord.objects.filter(status="started").exists())
    rows = dict(UsageRecord.objects.values_list("id", "status"))
    assert rows == {finished.id: "completed", running.id: "interrupted"}
    orphan = UsageRecord.objects.get(id=running.id)
    assert (orphan.usage_source, orphan.input_tokens, orphan.output_tokens) == ("estimated", 7, None)
    wait_until(lambda: not dead.exists())


def _die_with_a_spooled_settlement(admission: Admission) -> Any:
    """Leave what `kill -9` leaves: an unlocked spool with a row that is not in the database."""
    boot_id = UsageRecord.objects.get(id=admission.id).boot_id
    settle = statements.Settle(statements.closed(admission, COMPLETED))
    settle.abandon(RuntimeError("the database is unavailable"), is_in_doubt=False)
    backlog.flush_to_spool()
    path = spool_folder() / f"{boot_id}.spool"
    spooled = path.read_bytes()
    ledger.close()
    path.write_bytes(spooled + b'{"an incomplete line": ')
    return path


def test_records_of_a_running_process_are_not_orphaned(key: APIKey, admission: Admission) -> None:
    other = Spool(spool_folder(), "another-running-process")
    ledger.admit(admission)
    UsageRecord.objects.update(boot_id="another-running-process")

    recover()

    assert UsageRecord.objects.get().status == "started"
    other.close()


def test_records_of_a_lost_host_are_orphaned_by_their_lease(key: APIKey) -> None:
    long_ago = timezone.now() - timedelta(minutes=12)
    ledger.admit(admission_of(key, created_at=long_ago))
    UsageRecord.objects.update(boot_id="a-lost-host")

    recover()

    assert UsageRecord.objects.get().status == "interrupted"


def test_settlements_are_spooled_and_requests_rejected_while_the_database_is_unavailable(
    key: APIKey, admission: Admission
) -> None:
    ledger.admit(admission)
    with database_unavailable():
        with pytest.raises(LedgerUnavailable):
            ledger.admit(admission_of(key))
        ledger.settle(admission, COMPLETED)
        spooled = [json.loads(line) for line in backlog.spool.path.read_text().splitlines()]

    # The other request is spooled as rejected if its admission is in doubt.
    assert [row["id"] for row in spooled if row["status"] != "rejected"] == [admission.id]
    assert UsageRecord.objects.get().status == "started"
    ledger.close()
    ledger.start()
    wait_until(lambda: UsageRecord.objects.get(id=admission.id).status == "completed")
    wait_until(lambda: {path.stat().st_size for path in spool_folder().glob("*.spool")} == {0})


def test_an_admission_in_doubt_is_settled_as_rejected(admission: Admission) -> None:
    ledger.admit(admission)
    statements.Admit(admission).abandon(OperationalError("the connection failed at commit"), is_in_doubt=True)

    recover()

    row = UsageRecord.objects.get()
    assert (row.status, row.http_status, row.usage_source) == ("rejected", 503, "none")


def test_a_record_that_is_being_written_is_settled_once_it_is_committed(key: APIKey) -> None:
    admission = admission_of(key)
    is_written = threading.Event()

    def commit_late() -> None:
        with transaction.atomic():
            record_writer.write([rows.opening(admission, boot_id="late")], connection)
            is_written.set()
            time.sleep(0.3)  # as a transaction on an abandoned connection
        connection.close()

    late = threading.Thread(target=commit_late)
    late.start()
    is_written.wait(5)
    statements.settle_rows([statements.closed(admission, COMPLETED)])
    late.join(5)

    assert UsageRecord.objects.get().status == "completed"


def test_a_batch_may_contain_a_request_more_than_once(key: APIKey) -> None:
    admission = admission_of(key)
    opening = statements.Admit(admission)
    first = statements.Settle(statements.closed(admission, COMPLETED))
    second = statements.Settle(statements.closed(admission, replace(COMPLETED, status=Status.FAILED)))

    statements.write([opening, first, second], connections["default"])
    statements.write([opening], connections["default"])

    assert UsageRecord.objects.get().status == "completed"


def test_an_unreadable_line_is_quarantined_and_blocks_nothing(key: APIKey, admission: Admission) -> None:
    ledger.admit(admission)
    UsageRecord.objects.update(boot_id="0-1-dead")
    spool = spool_folder()
    dead, quarantined = spool / "0-1-dead.spool", spool / "quarantine.jsonl"
    quarantined.unlink(missing_ok=True)  # other tests may have written it
    dead.write_bytes(b'{"half a line{"id": "another"}\n{"id": "a row of no shape"}\n')

    recover()  # the writer's own run may have been faster

    wait_until(lambda: not dead.exists())
    assert UsageRecord.objects.get().status == "interrupted"
    assert len(quarantined.read_bytes().splitlines()) == 2
    quarantined.unlink()


def _fails(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_rows_are_buffered_in_memory_while_database_and_disk_are_unavailable(key: APIKey, monkeypatch: Any) -> None:
    admissions = [admission_of(key) for _ in range(3)]
    for admission in admissions:
        ledger.admit(admission)
    with database_unavailable(), monkeypatch.context() as disk:
        disk.setattr(os, "fsync", _fails)
        for admission in admissions:
            ledger.settle(admission, COMPLETED)
        assert backlog.spool.is_empty()

    ledger.close()
    ledger.start()
    wait_until(lambda: not UsageRecord.objects.filter(status="started").exists())

    assert set(UsageRecord.objects.values_list("id", "status")) == {(each.id, "completed") for each in admissions}


def test_a_rotation_does_not_block_records_of_the_key(key: APIKey) -> None:
    """With a stronger lock, ledger and rotation would deadlock."""
    with CaptureQueriesContext(connection) as captured:
        key.rotate(overlap=timedelta(hours=1))

    locks = [query["sql"].partition(" FOR ")[2] for query in captured if " FOR " in query["sql"]]
    assert locks == (["NO KEY UPDATE"] * 2 if connection.vendor == "postgresql" else [])
