"""An interrupted record is settled by its real settlement, whenever and in whatever order both arrive."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F, Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from keys.budgets.reservations import BudgetRef, ReservationRequest
from keys.models import (
    APIKey,
    Budget,
    BudgetPeriod,
    HourlyLatency,
    HourlyUsage,
    ModelPrice,
    PriceModifier,
    Team,
    UsageRecord,
)
from keys.pricing import price_book
from keys.usage import ledger, recovery, rollup_check, rollup_statements, rows, statements
from keys.usage.backlog import backlog, spool_folder
from keys.usage.rows import Admission, Row, Settlement, Status
from keys.usage.spool import QUARANTINE, Spool
from tests.support import usage_rows
from tests.support.recovery import recover

pytestmark = pytest.mark.usefixtures("quiet_ledger", "record_table_form")

NOON = datetime(2026, 7, 1, 12, 59, 30, tzinfo=UTC)
LONG_AGO = timezone.now() - timedelta(hours=1)


@pytest.fixture
def key(owner: User) -> APIKey:
    ModelPrice.objects.create(
        model_pattern="m-*", input_price=3_000_000, output_price=15_000_000, valid_from=datetime(2026, 1, 1, tzinfo=UTC)
    )
    return APIKey.objects.issue(name="app", team=Team.objects.create(name="team"))[0]


def admission_of(key: APIKey, **changes: Any) -> Admission:
    """Return the admission of a request whose lease has expired by the clock, and its first target has a price."""
    target = {"estimated_input_tokens": 5, "upstream": "first", "upstream_model": "m-first"}
    return usage_rows.admission_of(key, **({"lease_s": 60, "created_at": LONG_AGO} | target | changes))


def settlement(**changes: Any) -> Settlement:
    values: dict[str, Any] = {
        "status": Status.COMPLETED,
        "http_status": 200,
        "upstream": "second",
        "upstream_model": "m-second",
        "input_tokens": 10,
        "output_tokens": 20,
        "usage_source": "reported",
    }
    return Settlement(**(values | changes))


def settled(admission: Admission, outcome: Settlement) -> Row:
    rated = rows.rated(outcome, at=admission.created_at, book=price_book.load())
    return statements.closed(admission, rated)


def reserving(*budgets: Budget, amount: int) -> list[ReservationRequest]:
    return [
        ReservationRequest(
            budget=BudgetRef(id=row.pk, scope="team" if row.team_id else "key", period=row.period, unit=row.unit),
            amount=amount,
        )
        for row in budgets
    ]


def rollups() -> list[dict[str, Any]]:
    names = ("hour", "status", "upstream", "usage_source", "requests", "input_tokens", "output_tokens")
    return list(HourlyUsage.objects.order_by("hour", "status").values(*names, "cost_usd_micros", "unpriced_requests"))


def sweep() -> None:
    """Settle all open records as interrupted, as another host does once their leases have expired."""
    recovery.settle_orphans(Q())


def test_an_interruption_is_priced_as_it_was_asked_and_its_late_settlement_as_it_was_served(key: APIKey) -> None:
    price = ModelPrice.objects.get()
    for speed, factor in (("fast", 2), ("slow", 3)):
        PriceModifier.objects.create(
            price=price, dimension="speed", value=speed, input_factor=factor, output_factor=factor
        )
    request = admission_of(key, speed="fast", region="", estimated_input_tokens=5)
    ledger.admit(request)
    sweep()
    interrupted = UsageRecord.objects.get()
    served = {"speed": "slow", "usage_object": {"input_tokens": 10}, "refusal_category": "bio", "added_us": 9}

    statements.settle_rows([settled(request, settlement(**served))])

    record = UsageRecord.objects.get()
    assert (interrupted.speed, interrupted.cost_usd_picos) == ("fast", 30_000_000)
    assert {name: getattr(record, name) for name in served} == served
    assert record.cost_usd_picos == 3 * 330_000_000


def test_a_late_settlement_replaces_the_interruption_in_record_budgets_and_rollups(key: APIKey) -> None:
    daily = Budget.objects.create(api_key=key, period="day", unit="usd", amount=1_000_000)
    tokens = Budget.objects.create(team=key.team, period="total", unit="tokens", amount=1_000)
    request = admission_of(key, reservation_requests=reserving(daily, tokens, amount=400))
    ledger.admit(request)
    sweep()
    interrupted = UsageRecord.objects.get()
    assert (interrupted.status, interrupted.cost_usd_picos, interrupted.input_tokens) == ("interrupted", 15_000_000, 5)

    statements.settle_rows([settled(request, settlement())])

    record = UsageRecord.objects.get()
    assert (record.status, record.cost_usd_picos, record.upstream) == ("completed", 330_000_000, "second")
    assert record.interruption == {
        "settled_at": interrupted.settled_at.isoformat(),  # type: ignore[union-attr]
        "is_model_known": True,
        "upstream": "first",
        "upstream_model": "m-first",
        "usage_source": "estimated",
        "input_tokens": 5,
        "cost_usd_picos": 15_000_000,
        "cache_savings_usd_picos": 0,
    }
    assert rollups() == [
        {
            "hour": LONG_AGO.replace(minute=0, second=0, microsecond=0),
            "status": "completed",
            "upstream": "second",
            "usage_source": "reported",
            "requests": 1,
            "input_tokens": 10,
            "output_tokens": 20,
            "cost_usd_micros": 330,
            "unpriced_requests": 0,
        }
    ]
    spent = BudgetPeriod.objects.values_list("budget", "spent", "reserved")
    assert set(spent) == {(daily.pk, 330, 0), (tokens.pk, 30, 0)}


def test_a_request_that_was_not_admitted_costs_nothing_once_that_is_known(key: APIKey) -> None:
    daily = Budget.objects.create(api_key=key, period="day", unit="usd", amount=1_000_000)
    request = admission_of(key, reservation_requests=reserving(daily, amount=400))
    ledger.admit(request)
    sweep()

    statements.settle_rows([statements.rejected(request, 503, "overloaded_error")])

    assert UsageRecord.objects.get().status == "rejected"
    assert [(row["status"], row["cost_usd_micros"]) for row in rollups()] == [("rejected", 0)]
    assert list(BudgetPeriod.objects.values_list("spent", "reserved")) == [(0, 0)]


def test_a_late_settlement_counts_once(key: APIKey, caplog: Any) -> None:
    request = admission_of(key)
    ledger.admit(request)
    sweep()
    row = settled(request, settlement())

    with caplog.at_level("INFO", logger="keys.usage"):
        statements.settle_rows([row])
        statements.settle_rows([row])  # from a second machine, or from the spool and from memory
        statements.settle_rows([row, row])
        sweep()

    assert [(each["status"], each["requests"], each["cost_usd_micros"]) for each in rollups()] == [
        ("completed", 1, 330)
    ]
    assert [record.getMessage() for record in caplog.records if record.name != "keys.usage.recovery"] == [
        "Ledger: 1 interrupted requests settled late",
        "Ledger: 1 settlements were committed before",
        "Ledger: 2 settlements were committed before",
    ]
    assert not (spool_folder() / QUARANTINE).exists()


def test_a_settlement_that_contradicts_another_is_quarantined_and_counted(key: APIKey, caplog: Any) -> None:
    request = admission_of(key)
    ledger.admit(request)
    ledger.settle(request, settlement())

    ledger.settle(request, settlement(output_tokens=99))
    ledger.close()

    kept = (spool_folder() / QUARANTINE).read_text()
    (spool_folder() / QUARANTINE).unlink()
    assert UsageRecord.objects.get().output_tokens == 20
    assert request.id in kept and '"output_tokens": 99' in kept
    (entry,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "settled otherwise already" in entry.getMessage() and "in this process" in entry.getMessage()


def test_a_settlement_costs_as_many_statements_as_without_late_settlement(key: APIKey) -> None:
    requests = [admission_of(key) for _ in range(2)]
    for request in requests:
        ledger.admit(request)
    statements.settle_rows([settled(requests[0], settlement())])  # writes the last use too

    with CaptureQueriesContext(connection) as captured:
        statements.settle_rows([settled(requests[1], settlement())])

    written = [query["sql"].split()[0] for query in captured if query["sql"].split()[0] not in ("BEGIN", "COMMIT")]
    assert Counter(written) == Counter(INSERT=2, SELECT=3)  # the price book


# ---- Who finds orphans.


def test_records_of_live_processes_of_this_host_are_not_orphaned_by_their_lease(key: APIKey) -> None:
    """After an outage that is longer than the lease, and after a step of the clock."""
    sibling = Spool(spool_folder(), "another-running-process")
    ledger.admit(request := admission_of(key))
    ledger.admit(of_sibling := admission_of(key))
    UsageRecord.objects.filter(pk=of_sibling.id).update(boot_id="another-running-process")

    recover()
    open_before = set(UsageRecord.objects.filter(status="started").values_list("pk", flat=True))
    sibling.close()
    recover()

    assert open_before == {request.id, of_sibling.id}
    assert UsageRecord.objects.get(pk=of_sibling.id).status == "interrupted"
    assert UsageRecord.objects.get(pk=request.id).status == "started"


def test_a_request_that_this_process_never_settles_is_orphaned_after_its_lease(key: APIKey) -> None:
    ledger.admit(request := admission_of(key))
    backlog.begin_request(request.id, lease_s=-1)

    recover()

    assert UsageRecord.objects.get().status == "interrupted"
    assert backlog.expired_requests() == []


def test_a_spool_is_replayed_before_records_are_orphaned(key: APIKey) -> None:
    ledger.admit(request := admission_of(key))
    statements.Settle(settled(request, settlement())).abandon(RuntimeError("unavailable"), is_in_doubt=False)
    UsageRecord.objects.update(boot_id="a-lost-host")

    recover()

    record = UsageRecord.objects.get()
    assert (record.status, record.interruption) == ("completed", None)


def test_the_lease_covers_the_settings(settings: Any) -> None:
    settings.CLIENT_SEND_TIMEOUT_S = 900.0

    assert ledger.lease_s(600.0) > 600 + 900 + ledger.SETTLE_TIMEOUT_S


@pytest.mark.parametrize("timeout_s", [1e308, float("inf"), float("nan")])
def test_a_lease_of_any_length_can_be_written(key: APIKey, timeout_s: float) -> None:
    ledger.admit(admission_of(key, lease_s=ledger.lease_s(timeout_s)))

    assert UsageRecord.objects.get().lease_expires_at > datetime(2050, 1, 1, tzinfo=UTC)  # type: ignore[operator]


# ---- Any order of everything gives the same figures.


class _World:
    """Processes with spools, and the requests that they serve. Its ledger is that of the test's process."""

    def __init__(self, key: APIKey, random: Random) -> None:
        self.key, self.random = key, random
        self.budgets = [
            Budget.objects.create(api_key=key, period="day", unit="usd", amount=10**9),
            Budget.objects.create(team=key.team, period="total", unit="tokens", amount=10**9),
        ]
        self.running: list[Admission] = []
        self.spooled: list[Row] = []
        self.all: list[tuple[Admission, Settlement]] = []

    def admit(self) -> None:
        request = admission_of(
            self.key,
            created_at=NOON + timedelta(seconds=self.random.randint(0, 90)),
            reservation_requests=reserving(*self.budgets, amount=self.random.randint(30, 300)),
        )
        statements.write([statements.Admit(request)], connection)
        self.running.append(request)

    def finish(self) -> Row | None:
        if not self.running:
            return None
        request = self.running.pop(self.random.randrange(len(self.running)))
        outcome = self._outcome()
        self.all.append((request, outcome))
        return settled(request, outcome)

    def _outcome(self) -> Settlement:
        random = self.random
        tokens = {name: random.choice([None, 0, random.randint(1, 30)]) for name in ("input_tokens", "output_tokens")}
        tokens |= {name: random.choice([None, random.randint(0, 9_000)]) for name in ("ttft_ms", "duration_ms")}
        return random.choice(
            [
                settlement(**tokens, upstream=random.choice(["first", "second"])),
                settlement(status=Status.FAILED, error_type="invalid_request_error", usage_source="none"),
                settlement(status=Status.CLIENT_CLOSED, **tokens, upstream_model="unpriced", usage_source="partial"),
                settlement(status=Status.REJECTED, http_status=503, input_tokens=None, output_tokens=None),
            ]
        )

    def settle(self) -> None:
        if row := self.finish():
            statements.settle_rows([row])

    def spool(self) -> None:
        if row := self.finish():
            self.spooled.append(row)

    def replay(self) -> None:
        """Replay spooled rows in any order, some of them twice. As JSON, as from another machine."""
        self.random.shuffle(self.spooled)
        count = self.random.randint(0, len(self.spooled))
        batch = [rows.from_json(rows.to_json(row)) for row in self.spooled[:count]]
        if batch:
            statements.settle_rows([*batch, *batch[: self.random.randint(0, count)]])
        self.spooled = self.spooled[self.random.randint(0, count) :]  # a crash before the spool was cleared

    def settle_again(self) -> None:
        """Replay what another machine has settled meanwhile, in one batch with a sweep's row."""
        if self.spooled:
            row = self.random.choice(self.spooled)
            statements.settle_rows([rows.from_json(rows.to_json(row)), row])

    def sweep(self) -> None:
        some = UsageRecord.objects.filter(status="started").values_list("pk", flat=True)
        recovery.settle_orphans(Q(pk__in=[id for id in some if self.random.random() < 0.7]))

    def end(self) -> None:
        while self.running:
            self.random.choice([self.settle, self.spool])()
        while self.spooled:
            self.replay()


def figures() -> dict[str, Any]:
    return {
        "records": list(UsageRecord.objects.order_by("pk").values_list("pk", *rows.CLOSING)),
        "rollups": list(
            HourlyUsage.objects.order_by(*rollup_statements.DIMENSIONS).values_list(
                *rollup_statements.DIMENSIONS, *rollup_statements.MEASURES
            )
        ),
        "latencies": list(
            HourlyLatency.objects.annotate(status=F("hourly_usage__status"), upstream=F("hourly_usage__upstream"))
            .values_list("status", "upstream", "hourly_usage__upstream_model", "measure", "bucket", "requests")
            .order_by("status", "upstream", "hourly_usage__upstream_model", "measure", "bucket")
        ),
        "budgets": list(
            BudgetPeriod.objects.order_by("budget").values_list("budget", "starts_at", "spent", "reserved")
        ),
    }


def reserved() -> dict[int, int]:
    return {id: amount for id, amount in BudgetPeriod.objects.values_list("budget", "reserved") if amount}


def reserved_by_open_records() -> dict[int, int]:
    found: Counter[int] = Counter()
    for reservations in UsageRecord.objects.filter(status="started").values_list("reservations", flat=True):
        found.update(dict(reservations))
    return dict(found)


def forget_requests() -> None:
    for model in (UsageRecord, HourlyUsage, BudgetPeriod):
        model.objects.all().delete()


def test_any_order_of_interruptions_and_settlements_gives_the_figures_without_interruption(
    key: APIKey, at_length: bool
) -> None:
    late = 0
    for seed in range(200 if at_length else 12):
        forget_requests()
        world = _World(key, Random(seed))
        steps = [world.admit, world.admit, world.settle, world.spool, world.replay, world.settle_again, world.sweep]
        for _ in range(40):
            world.random.choice(steps)()
            assert reserved() == reserved_by_open_records(), seed
        world.end()
        in_any_order = figures()
        late += UsageRecord.objects.exclude(interruption=None).count()
        intervals = rollup_check.iter_intervals(NOON - timedelta(days=1), NOON + timedelta(days=1))
        assert [each for interval in intervals for each in rollup_check.mismatches(interval)] == [], seed

        forget_requests()
        for request, outcome in world.all:
            statements.write([statements.Admit(request)], connection)
            statements.settle_rows([settled(request, outcome)])

        assert in_any_order == figures(), seed
        Budget.objects.all().delete()
    assert late > 50
