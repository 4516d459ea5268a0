"""One call, one row: admitted before, settled exactly once after, whatever happens in between."""

import errno
import json
import os
import resource
import signal
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
from keys.usage import ledger, rows
from keys.usage.backlog import spool_folder
from keys.usage.group_commit import GroupCommit
from keys.usage.rows import Admission, Settlement, Status
from keys.usage.spool import Spool
from messages_api.middleware import new_request_id
from tests.support.gateway import wait_until

pytestmark = pytest.mark.usefixtures("quiet_ledger")

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
    values: dict[str, Any] = {
        "id": new_request_id(),
        "api_key_id": key.pk,
        "secret_id": key.secrets.get().pk,
        "api_format": "envelope",
        "model": "claude-3",
        "streamed": False,
        "estimated_input_tokens": 7,
        "lease_s": 660,
        "client_ip": "192.0.2.1",
        "user_agent": "curl/8",
    }
    return Admission(**(values | changes))


def test_a_row_stands_as_started_as_soon_as_the_call_is_admitted(admission: Admission) -> None:
    ledger.admit(admission)

    row = UsageRecord.objects.get()
    assert (row.id, row.status, row.settled_at, row.model) == (admission.id, "started", None, "claude-3")
    assert (row.client_ip, row.user_agent, row.estimated_input_tokens) == ("192.0.2.1", "curl/8", 7)
    assert row.lease_expires_at == admission.created_at + timedelta(seconds=660)


def test_settling_writes_what_the_call_used(admission: Admission) -> None:
    ledger.admit(admission)

    ledger.settle(admission, COMPLETED)

    row = UsageRecord.objects.get()
    assert row.settled_at is not None
    for name in ("status", "http_status", "stop_reason", "upstream", "message_id", "input_tokens", "output_tokens"):
        assert getattr(row, name) == getattr(COMPLETED, name)
    assert (row.cache_read_tokens, row.cache_write_5m_tokens) == (0, None)
    assert row.attempts == [{"upstream": "local", "status": 200}]


def test_a_call_is_settled_once_and_the_first_time_counts(admission: Admission) -> None:
    ledger.admit(admission)
    ledger.settle(admission, COMPLETED)

    ledger.settle(admission, replace(COMPLETED, status=Status.FAILED, output_tokens=99))

    row = UsageRecord.objects.get()
    assert (row.status, row.output_tokens) == ("completed", 12)


def test_a_refused_call_is_a_row_without_tokens(admission: Admission) -> None:
    ledger.reject(admission, http_status=403, error_type="permission_error")
    ledger.close()

    row = UsageRecord.objects.get()
    assert (row.status, row.http_status, row.error_type) == ("rejected", 403, "permission_error")
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (None, None, "none")


def test_a_hundred_calls_at_once_are_a_hundred_rows_in_few_commits(key: APIKey) -> None:
    admissions = [admission_of(key) for _ in range(100)]

    threads = [threading.Thread(target=_whole_call, args=(each,)) for each in admissions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert set(UsageRecord.objects.values_list("id", "status")) == {(each.id, "completed") for each in admissions}


def _whole_call(admission: Admission) -> None:
    ledger.admit(admission)
    ledger.settle(admission, COMPLETED)


def test_one_poisonous_row_does_not_take_its_batch_with_it(key: APIKey) -> None:
    poisonous = admission_of(key, api_key_id=10**9)  # no such key: the foreign key fails at the commit
    innocent = [admission_of(key) for _ in range(9)]

    outcomes: dict[str, Exception | None] = {}
    threads = [threading.Thread(target=_try_to_admit, args=(each, outcomes)) for each in [poisonous, *innocent]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert isinstance(outcomes[poisonous.id], LedgerUnavailable)
    assert set(UsageRecord.objects.values_list("id", flat=True)) == {each.id for each in innocent}


def _try_to_admit(admission: Admission, outcomes: dict[str, Exception | None]) -> None:
    try:
        ledger.admit(admission)
    except LedgerUnavailable as error:
        outcomes[admission.id] = error
    else:
        outcomes[admission.id] = None


def test_a_nul_in_a_text_reaches_the_row_as_a_replacement(key: APIKey) -> None:
    admission = admission_of(key, user_agent="a\0b", model="m" * 300)

    ledger.admit(admission)

    row = UsageRecord.objects.get()
    assert (row.user_agent, row.model) == ("a\N{REPLACEMENT CHARACTER}b", "m" * 256)


def test_last_use_is_written_with_the_settlement_and_then_rests_for_five_minutes(key: APIKey) -> None:
    first = admission_of(key)
    _whole_call(first)
    soon = admission_of(key, created_at=first.created_at + timedelta(minutes=4))
    _whole_call(soon)
    used_at = KeySecret.objects.get().last_used_at

    later = admission_of(key, created_at=first.created_at + timedelta(minutes=6))
    _whole_call(later)

    assert used_at == first.created_at
    assert KeySecret.objects.get().last_used_at == later.created_at


def test_rows_of_a_dead_process_are_orphaned_and_its_spool_is_replayed(key: APIKey, admission: Admission) -> None:
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
    """Leave what kill -9 leaves: a spool whose lock is free, with a row that the database never got."""
    boot_id = UsageRecord.objects.get(id=admission.id).boot_id
    settle = ledger._Settle(ledger._closed(admission, COMPLETED))
    settle.give_up(RuntimeError("the database is away"), is_in_doubt=False)
    ledger._house.secure()
    path = spool_folder() / f"{boot_id}.spool"
    kept = path.read_bytes()
    ledger.close()
    path.write_bytes(kept + b'{"a line that was cut": ')
    return path


def test_a_living_process_keeps_its_rows(key: APIKey, admission: Admission) -> None:
    other = Spool(spool_folder(), "another-living-process")
    ledger.admit(admission)
    UsageRecord.objects.update(boot_id="another-living-process")

    ledger._chores()

    assert UsageRecord.objects.get().status == "started"
    other.close()


def test_the_lease_settles_the_rows_of_a_lost_machine(key: APIKey) -> None:
    long_ago = timezone.now() - timedelta(minutes=12)
    ledger.admit(admission_of(key, created_at=long_ago))
    UsageRecord.objects.update(boot_id="a-machine-that-is-gone")

    ledger._chores()

    assert UsageRecord.objects.get().status == "interrupted"


def test_settlements_wait_in_the_spool_while_the_database_is_away_and_no_call_is_admitted(
    key: APIKey, admission: Admission
) -> None:
    ledger.admit(admission)
    with _database_away():
        with pytest.raises(LedgerUnavailable):
            ledger.admit(admission_of(key))
        ledger.settle(admission, COMPLETED)
        spooled = [json.loads(line) for line in ledger._house.spool.path.read_text().splitlines()]

    # The other one is there as refused if the database was asked to write it, and may have done so.
    assert [row["id"] for row in spooled if row["status"] != "rejected"] == [admission.id]
    assert UsageRecord.objects.get().status == "started"
    ledger.close()
    ledger.start()
    wait_until(lambda: UsageRecord.objects.get(id=admission.id).status == "completed")
    wait_until(lambda: {path.stat().st_size for path in spool_folder().glob("*.spool")} == {0})


class _database_away:
    """The table has another name, so every statement of the writer fails as it does without a database."""

    def __enter__(self) -> None:
        table = UsageRecord._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(f'ALTER TABLE "{table}" RENAME TO "{table}_away"')

    def __exit__(self, *_: object) -> None:
        table = UsageRecord._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(f'ALTER TABLE "{table}_away" RENAME TO "{table}"')


def test_a_refused_call_whose_row_came_to_be_after_all_is_settled_as_refused(admission: Admission) -> None:
    ledger.admit(admission)
    ledger._Admit(admission).give_up(OperationalError("the connection broke at the commit"), is_in_doubt=True)

    ledger._chores()

    row = UsageRecord.objects.get()
    assert (row.status, row.http_status, row.usage_source) == ("rejected", 503, "none")


def test_a_row_that_is_only_just_being_written_is_settled_as_soon_as_it_stands(key: APIKey) -> None:
    admission = admission_of(key)
    is_written = threading.Event()

    def commit_late() -> None:
        with transaction.atomic():
            rows.write([rows.opening(admission, boot_id="late")], connection)
            is_written.set()
            time.sleep(0.3)  # as a transaction whose client has given it up
        connection.close()

    late = threading.Thread(target=commit_late)
    late.start()
    is_written.wait(5)
    ledger._settle_rows([ledger._closed(admission, COMPLETED)])
    late.join(5)

    assert UsageRecord.objects.get().status == "completed"


class _Database:
    """What a statement meets, in place of the real one: it can be away, or take its time."""

    def __init__(self) -> None:
        self.is_away = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.log: list[str] = []

    def chores(self) -> None:
        if self.is_away:
            raise OperationalError("away")
        self.log.append("chores")

    def write(self, statements: list[Any], connection: object) -> None:
        self.may_go_on.wait(10)
        if self.is_away:
            raise OperationalError("away")
        self.log += [f"{statement.name} written" for statement in statements]

    def writer(self) -> GroupCommit:
        return GroupCommit(self.write, chores=self.chores, secure=lambda: self.log.append("secured"), chore_every_s=60)


class _Write:
    verdict: Exception | None = None

    def __init__(self, name: str, database: _Database) -> None:
        self.name, self._database = name, database

    def give_up(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        self._database.log.append(f"{self.name} given up")
        return error

    def come_too_late(self) -> None:
        self._database.log.append(f"{self.name} too late")


def test_once_the_database_is_away_statements_are_given_up_without_asking_it(quiet_ledger: None) -> None:
    database = _Database()
    writer = database.writer()
    database.is_away = True
    for name in ("first", "second"):
        with pytest.raises(OperationalError):
            writer.submit(_Write(name, database)).wait(5)

    assert writer.is_unavailable
    database.is_away = False
    wait_until(lambda: not writer.is_unavailable)
    assert writer.submit(_Write("third", database)).wait(5)
    writer.close()
    assert [entry for entry in database.log if entry not in ("secured", "chores")] == [
        "first given up",
        "second given up",
        "third written",
    ]
    assert database.log.index("first given up") < database.log.index("secured")
    assert database.log[-2:] == ["chores", "third written"]


def test_what_takes_too_long_is_given_up_and_undone_and_nobody_else_queues_behind_it(settings: Any) -> None:
    settings.DATABASE_TIMEOUT_S = 0.2
    database = _Database()
    writer = database.writer()
    database.may_go_on.clear()

    ticket = writer.submit(_Write("slow", database))
    assert not ticket.wait(0.3)
    assert writer.is_unavailable and ticket.give_up()
    database.may_go_on.set()

    wait_until(lambda: not writer.is_unavailable)
    writer.close()
    assert [entry for entry in database.log if entry != "chores"] == ["slow written", "slow too late"]


def test_what_is_given_up_before_its_turn_is_not_written() -> None:
    database = _Database()
    writer = database.writer()
    database.may_go_on.clear()
    first = writer.submit(_Write("first", database))
    wait_until(lambda: writer._queue.empty())
    second = writer.submit(_Write("second", database))

    assert not second.wait(0.1) and second.give_up()
    database.may_go_on.set()

    assert first.wait(5)
    writer.close()
    assert [entry for entry in database.log if entry != "chores"] == ["first written"]


def test_closing_writes_what_waits_and_may_be_done_twice() -> None:
    database = _Database()
    writer = database.writer()
    for number in range(20):
        writer.submit(_Write(str(number), database))

    assert writer.close()
    assert writer.close()

    assert [entry for entry in database.log if entry != "chores"] == [f"{number} written" for number in range(20)]


def test_a_batch_may_hold_a_call_more_than_once(key: APIKey) -> None:
    admission = admission_of(key)
    opening = ledger._Admit(admission)
    first = ledger._Settle(ledger._closed(admission, COMPLETED))
    second = ledger._Settle(ledger._closed(admission, replace(COMPLETED, status=Status.FAILED)))

    ledger._write([opening, first, second], connections["default"])
    ledger._write([opening], connections["default"])

    assert UsageRecord.objects.get().status == "completed"


def test_a_line_that_cannot_be_read_is_kept_aside_and_stops_nothing(key: APIKey, admission: Admission) -> None:
    ledger.admit(admission)
    UsageRecord.objects.update(boot_id="0-1-dead")
    spool = spool_folder()
    dead, rejected = spool / "0-1-dead.spool", spool / "quarantine.jsonl"
    rejected.unlink(missing_ok=True)  # it may hold what other tests have left behind
    dead.write_bytes(b'{"half a line{"id": "another"}\n{"id": "a row of no shape"}\n')

    ledger._chores()  # the writer's own may have been quicker

    wait_until(lambda: not dead.exists())
    assert UsageRecord.objects.get().status == "interrupted"
    assert len(rejected.read_bytes().splitlines()) == 2
    rejected.unlink()


def test_a_disk_that_does_not_promise_to_keep_a_row_has_not_taken_it(tmp_path: Any, monkeypatch: Any) -> None:
    spool = Spool(tmp_path, "doubtful")
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", _fails)
        with pytest.raises(OSError):
            spool.append([{"id": "first"}])

    spool.append([{"id": "second"}, {"id": "third"}])

    assert [row["id"] for row in spool.rows()] == ["second", "third"]
    spool.clear()
    spool.close()


def _fails(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_row_that_neither_database_nor_disk_take_waits_in_memory(key: APIKey, monkeypatch: Any) -> None:
    admissions = [admission_of(key) for _ in range(3)]
    for admission in admissions:
        ledger.admit(admission)
    with _database_away(), monkeypatch.context() as disk:
        disk.setattr(os, "fsync", _fails)
        for admission in admissions:
            ledger.settle(admission, COMPLETED)
        assert ledger._house.spool.is_empty()

    ledger.close()
    ledger.start()
    wait_until(lambda: not UsageRecord.objects.filter(status="started").exists())

    assert set(UsageRecord.objects.values_list("id", "status")) == {(each.id, "completed") for each in admissions}


def test_a_full_disk_leaves_no_half_line(tmp_path: Any) -> None:
    spool = Spool(tmp_path, "nearly-full")
    spool.append([{"id": "first"}])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool.path.stat().st_size + 5, limit[1]))
    try:
        with pytest.raises(OSError):
            spool.append([{"id": "second"}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)

    spool.append([{"id": "third"}])

    assert [row["id"] for row in spool.rows()] == ["first", "third"]
    spool.clear()
    spool.close()


def test_a_rotation_lets_rows_that_refer_to_the_key_be_written(key: APIKey) -> None:
    """A stronger lock would let ledger and rotation wait for each other, until the database ends one of them."""
    with CaptureQueriesContext(connection) as captured:
        key.rotate(overlap=timedelta(hours=1))

    locks = [query["sql"].partition(" FOR ")[2] for query in captured if " FOR " in query["sql"]]
    assert locks == (["NO KEY UPDATE"] * 2 if connection.vendor == "postgresql" else [])
