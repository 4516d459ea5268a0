"""Re-rating: amounts, rollups and budgets agree at any time, a run goes on after a kill, and an undo restores all."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from keys.models import (
    Budget,
    BudgetPeriod,
    HourlyUsage,
    ModelPrice,
    NegotiatedFactor,
    Notification,
    Rerating,
    ReratingChange,
    UsageRecord,
)
from keys.models.reratings import FIGURES
from keys.pricing import price_book
from keys.pricing.price_book import prices
from keys.pricing.rerating import amounts_now
from keys.usage import figures_checksum, recovery, rerating
from keys.usage.rerating import ReratingRejected, State
from tests.support.charged_requests import Installation, check_spending, mismatches

pytestmark = pytest.mark.usefixtures("without_gateway")

BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
LATER = BEGINNING + timedelta(days=1)


@pytest.fixture
def installation(quiet_ledger: None) -> Installation:
    return Installation()


def add_price(input_price: int = 5_000_001, **fields: Any) -> ModelPrice:
    """Add a price that all requests should have had."""
    values = {"model_pattern": "*", "output_price": 9_000_001, "valid_from": LATER} | fields
    return ModelPrice.objects.create(input_price=input_price, **values)


def run_to_end(run: Rerating) -> Rerating:
    while rerating.step(run.pk):
        pass
    run.refresh_from_db()
    return run


def previewed(**fields: Any) -> Rerating:
    return run_to_end(rerating.begin(**({"first": BEGINNING, "end": timezone.now()} | fields)))


def applied(**fields: Any) -> Rerating:
    run = previewed(**fields)
    rerating.apply(run)
    return run_to_end(run)


def figures() -> dict[str, list[Any]]:
    """Everything that a run may change."""
    hours = [name.attname for name in HourlyUsage._meta.concrete_fields if name.name != "id"]
    return {
        "records": list(UsageRecord.objects.order_by("pk").values()),
        "hours": sorted(HourlyUsage.objects.values_list(*hours), key=repr),
        "budgets": list(BudgetPeriod.objects.order_by("pk").values("pk", "spent", "spent_rest_picos", "reserved")),
    }


def total() -> int:
    return sum(cost or 0 for cost in UsageRecord.objects.values_list("cost_usd_picos", flat=True))


def check() -> None:
    """Compare rollups, budgets and checksums with the records."""
    assert mismatches() == []
    check_spending()
    settled = UsageRecord.objects.exclude(status="started").values()
    assert [row["id"] for row in settled if not figures_checksum.is_valid(row)] == []


def test_a_run_gives_requests_the_prices_of_now_and_an_undo_restores_all(
    record_table_form: str, installation: Installation, at_length: bool
) -> None:
    now = timezone.now()
    installation.settle_random_requests(now, Random(13), 3_000 if at_length else 120)
    before, old = figures(), total()
    add_price()
    NegotiatedFactor.objects.create(upstream="local", factor=Decimal("0.5"), valid_from=BEGINNING)
    ModelPrice.objects.filter(valid_from=LATER).update(input_price=5_000_002, output_price=9_000_002)

    run = previewed()
    preview = {name: getattr(run, name) for name in FIGURES}
    assert (run.state, run.old_picos, figures()) == (State.PREVIEWED, old, before)
    rerating.apply(run)
    run_to_end(run)

    assert {name: getattr(run, name) for name in FIGURES} == preview
    assert (run.state, run.new_picos) == (State.APPLIED, total())
    assert run.changed_records == run.changes.count() > 50
    assert set(run.budgets) == {budget.pk for budget in installation.budgets}
    book = price_book.load()
    assert all(
        row["cost_usd_picos"] == amounts_now(row, book)["cost_usd_picos"]
        for row in UsageRecord.objects.exclude(status="started").values()
    )
    check()

    rerating.undo(run)
    run_to_end(run)

    assert (run.state, run.restored_records, run.kept_records) == (State.UNDONE, run.changed_records, 0)
    assert figures() == before
    check()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_killed_run_goes_on_and_doubles_nothing(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(rerating, "BATCH", 10)
    installation.settle_random_requests(timezone.now(), Random(steps), 60)
    before = figures()
    add_price()
    run = previewed()
    for begin in (rerating.apply, rerating.undo):
        begin(run)
        for _ in range(steps):
            rerating.step(run.pk)
            with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):  # as before the commit
                patched.setattr(rerating, "_store", lambda run: 1 / 0)
                rerating.step(run.pk)
            check()
        run_to_end(run)
        check()
        assert run.changes.count() == run.changed_records

    assert figures() == before


def test_a_run_in_progress_can_be_undone(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerating, "BATCH", 10)
    installation.settle_random_requests(timezone.now(), Random(5), 40)
    before = figures()
    add_price()
    run = previewed()
    rerating.apply(run)
    rerating.step(run.pk)

    rerating.undo(run)
    run_to_end(run)

    assert (run.state, figures()) == (State.UNDONE, before)


def test_unpriced_requests_get_a_price_and_are_unpriced_again_after_an_undo(installation: Installation) -> None:
    ModelPrice.objects.all().delete()
    prices.clear()
    prices.book()
    installation.settle(installation.admit(timezone.now()), input_tokens=10, output_tokens=0)
    add_price(1_000_000)

    run = applied()

    assert (run.newly_priced, run.old_picos, run.new_picos) == (1, 0, 10 * 1_000_000)
    assert HourlyUsage.objects.get().unpriced_requests == 0
    check()
    rerating.undo(run)
    run_to_end(run)
    record = UsageRecord.objects.get()
    assert (record.cost_usd_picos, record.unpriced_reason) == (None, "no_price")
    assert HourlyUsage.objects.get().unpriced_requests == 1
    check()


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, {"a", "b", "c"}),
        ({"model": "m"}, {"a", "b"}),
        ({"model": "claude-3"}, {"a", "b", "c"}),
        ({"upstream": "local"}, {"a", "c"}),
        ({"model": "m", "upstream": "local"}, {"a"}),
        ({"first": datetime(2026, 7, 2, tzinfo=UTC), "end": datetime(2026, 7, 3, tzinfo=UTC)}, {"b"}),
    ],
)
def test_a_run_covers_a_period_a_model_and_an_upstream(
    installation: Installation, fields: dict[str, Any], expected: set[str]
) -> None:
    names = {}
    for i, (name, model, upstream) in enumerate([("a", "m", "local"), ("b", "m", "far"), ("c", "n", "local")]):
        admission = installation.admit(datetime(2026, 7, 1 + i, 12, tzinfo=UTC))
        installation.settle(admission, upstream_model=model, upstream=upstream)
        names[admission.id] = name
    add_price()

    run = applied(**fields)

    assert {names[id] for id in run.changes.values_list("record_id", flat=True)} == expected


def test_an_interrupted_request_that_is_settled_late_is_counted_once(installation: Installation) -> None:
    late = [installation.admit(timezone.now()) for _ in range(4)]
    recovery.settle_orphans(Q(pk__in=[each.id for each in late]))
    add_price()
    run = applied()
    check()

    for admission in late[:2]:
        installation.settle(admission, input_tokens=99)
    check()
    rerating.undo(run)
    run_to_end(run)
    check()
    for admission in late[2:]:
        installation.settle(admission, input_tokens=99)

    check()
    assert (run.restored_records, run.kept_records) == (2, 2)


def test_two_runs_do_not_write_at_the_same_time(installation: Installation) -> None:
    installation.settle(installation.admit(timezone.now()))
    add_price()
    first, second = previewed(), previewed()
    rerating.apply(first)

    with pytest.raises(ReratingRejected, match="Another re-rating is in progress"):
        rerating.apply(second)

    run_to_end(first)
    rerating.apply(second)
    assert run_to_end(second).changed_records == 0


def test_the_later_of_two_runs_is_undone_first(installation: Installation) -> None:
    installation.settle(installation.admit(timezone.now()))
    before = figures()
    add_price()
    first = applied()
    add_price(7_000_000, valid_from=LATER + timedelta(days=1))
    second = applied()

    with pytest.raises(ReratingRejected, match="Undo that one first"):
        rerating.undo(first)
    for run in (second, first):
        rerating.undo(run)
        run_to_end(run)

    assert figures() == before


def test_a_state_allows_its_own_actions_alone(installation: Installation) -> None:
    installation.settle(installation.admit(timezone.now()))
    run = rerating.begin(first=BEGINNING, end=timezone.now())
    with pytest.raises(ReratingRejected, match="Preview in progress"):
        rerating.apply(run)
    run_to_end(run)
    with pytest.raises(ReratingRejected, match="in the state “Preview”"):
        rerating.undo(run)
    with pytest.raises(ReratingRejected, match="has no past"):
        rerating.begin(first=timezone.now() + timedelta(days=1), end=timezone.now() + timedelta(days=2))


def test_a_record_that_was_changed_by_hand_stays_detectable(installation: Installation) -> None:
    installation.settle(installation.admit(timezone.now()))
    UsageRecord.objects.update(output_tokens=1_000_000)
    add_price()

    applied()

    assert not figures_checksum.is_valid(UsageRecord.objects.values().get())


def test_alerts_follow(installation: Installation) -> None:
    monthly = next(each for each in installation.budgets if each.period == "month" and each.unit == "usd")
    Budget.objects.filter(pk=monthly.pk).update(amount=100_000, alert_threshold_percent=50)
    installation.settle(installation.admit(timezone.now(), budgets=[monthly]), input_tokens=9, output_tokens=0)
    assert not Notification.objects.exists()
    add_price(6_000_000_000)

    applied()

    assert Notification.objects.get().kind == "budget_alert"


def test_a_run_does_not_wait_for_a_record_that_is_being_written(installation: Installation) -> None:
    installation.settle(installation.admit(timezone.now()))
    add_price()
    run = previewed()
    rerating.apply(run)
    other = connection.copy()
    try:
        other.set_autocommit(False)
        if connection.vendor == "postgresql":  # SQLite has one writer at a time
            with other.cursor() as cursor:
                cursor.execute("SELECT id FROM keys_usagerecord FOR UPDATE")
        rerating.step(run.pk)
        changed = run.changes.count()
        other.rollback()
    finally:
        other.close()

    assert changed == (0 if connection.vendor == "postgresql" else 1)
    assert run_to_end(run).changed_records == 1
    check()


def test_a_price_that_is_deleted_since_does_not_prevent_an_undo(installation: Installation) -> None:
    installation.settle(installation.admit(timezone.now()), input_tokens=10, output_tokens=0)
    old = total()
    add_price()
    run = applied()
    ModelPrice.objects.filter(valid_from=BEGINNING).delete()

    rerating.undo(run)
    run_to_end(run)

    assert (total(), UsageRecord.objects.get().price_id, ReratingChange.objects.count()) == (old, None, 1)
    check()


# ---- The command.


def command(*arguments: str) -> str:
    stdout = io.StringIO()
    call_command("rerate", *arguments, stdout=stdout)
    return stdout.getvalue()


def test_the_command_previews_applies_and_undoes(installation: Installation) -> None:
    installation.settle(
        installation.admit(datetime(2026, 7, 1, 12, tzinfo=UTC)), input_tokens=1_000_000, output_tokens=0
    )
    days = ("--from", "2026-07-01", "--to", "2026-07-01")
    before = figures()
    add_price(5_000_000)
    result = "1 of 1 requests change: $3.333333 → $5.00, 0 get a price, 0 lose it, 16 budgets.\n"

    preview = command(*days)
    assert preview == f"Run {Rerating.objects.get().pk}: Preview. {result}" and figures() == before
    done = command(*days, "--apply", "--model", "m", "--upstream", "local")
    run = Rerating.objects.latest("pk")
    assert done.splitlines(keepends=True)[-1] == f"Run {run.pk}: Applied. {result}"
    check()

    undone = command("--undo", str(run.pk))

    assert undone == f"Run {run.pk}: Undone. {result}1 requests restored, 0 settled since and kept.\n"
    assert figures() == before


def test_the_command_continues_a_run(installation: Installation) -> None:
    installation.settle(installation.admit(timezone.now()))
    add_price()
    run = previewed()
    rerating.apply(run)

    assert ": Applied. 1 of 1" in command("--continue", str(run.pk))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "Enter the first and the last day"),
        (("--from", "2026-07-02", "--to", "2026-07-01"), "before the first"),
        (("--from", "2900-07-02", "--to", "2900-07-03"), "no past"),
        (("--undo", "7"), "no run 7"),
        (("--from", "yesterday"), "enter a day as"),
    ],
)
def test_the_command_states_what_is_wrong(db: None, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        command(*arguments)
