"""Import of bills: all of a file or nothing, no file twice, a newer export instead of the older one."""

import io
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
import time_machine
from django.db import connection

from keys.bills import importing
from keys.bills.importing import import_bill
from keys.bills.lines import BillError
from keys.models import Bill, BillLine
from tests.keys.bills import samples

pytestmark = pytest.mark.django_db


def imported(content: bytes, **options: Any) -> importing.ImportedBill:
    options = {"upstream": "anthropic", "file_name": "november.json", "imported_by": "root"} | options
    return import_bill(io.BytesIO(content), **options)


def usage_of(*days: int) -> bytes:
    return samples.page(
        *((f"2026-11-{day:02}", f"2026-11-{day + 1:02}", [samples.usage_result(output_tokens=day)]) for day in days)
    )


def test_an_import_stores_every_line_with_its_position() -> None:
    bill = imported(samples.ANTHROPIC_COST).bill

    assert (bill.state, bill.format, str(bill.first_day), str(bill.last_day)) == (
        Bill.State.IMPORTED,
        Bill.Format.ANTHROPIC_COST,
        "2026-11-20",
        "2026-11-20",
    )
    assert (bill.line_count, bill.has_tokens, bill.has_amounts) == (6, False, True)
    assert list(bill.lines.values_list("position", "amount_usd_picos"))[-1] == (
        "line 3: data[0].results[5]",
        3 * 10**10,
    )


def test_the_same_file_is_not_imported_twice() -> None:
    first, second = imported(samples.ANTHROPIC_COST), imported(samples.ANTHROPIC_COST, file_name="copy.json")

    assert (first.is_new, second.is_new, second.bill) == (True, False, first.bill)
    assert BillLine.objects.count() == 6
    assert imported(samples.ANTHROPIC_COST, upstream="other").is_new


def test_a_newer_export_supersedes_those_whose_days_it_has() -> None:
    within, overlapping = imported(usage_of(2, 3)).bill, imported(usage_of(9, 10)).bill
    cost = imported(samples.page(("2026-11-02", "2026-11-03", [samples.cost_result("output_tokens", "1")]))).bill

    newer = imported(usage_of(1, 2, 3, 4, 9))

    assert newer.superseded == [within]
    states = {bill.pk: (bill.state, bill.superseded_by) for bill in Bill.objects.all()}
    assert states[within.pk] == (Bill.State.SUPERSEDED, newer.bill)
    assert {states[bill.pk] for bill in (overlapping, cost, newer.bill)} == {(Bill.State.IMPORTED, None)}


def test_a_file_with_an_error_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)

    with pytest.raises(BillError, match=r"data\[0\].results\[5\].amount"):
        imported(samples.ANTHROPIC_COST.replace(b'"3.000000"', b'"three"'))

    assert not Bill.objects.exists() and not BillLine.objects.exists()


def test_a_file_without_lines_is_an_error() -> None:
    with pytest.raises(BillError, match="no lines"):
        imported(samples.OPENAI_COSTS_CSV.rpartition(b"1795132800,1795219200")[0])


KILLED = """
import sys
import django
django.setup()
from keys.bills.importing import import_bill
staged = 0
def pace():
    global staged
    staged += 1
    if staged == {lines}:
        print("staged", flush=True)
        sys.stdin.read()
import_bill(open({path!r}, "rb"), upstream="anthropic", file_name="a.json", imported_by="root", pace=pace)
"""


@pytest.mark.django_db(transaction=True)
def test_a_killed_import_leaves_nothing_visible_and_can_be_repeated(tmp_path: Any) -> None:
    content = samples.page((samples.DAY, samples.NEXT_DAY, [samples.usage_result() for _ in range(500)]))
    (tmp_path / "bill.json").write_bytes(content)
    name = str(connection.settings_dict["NAME"])
    source = KILLED.format(lines=2_000, path=str(tmp_path / "bill.json"))
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "project.settings"}
    if connection.vendor == "sqlite":
        environment["DATABASE_URL"] = f"sqlite:///{name}"
    else:
        environment["DATABASE_URL"] = environment["DATABASE_URL"].rpartition("/")[0] + f"/{name}"
    process = subprocess.Popen(
        [sys.executable, "-c", source], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "staged\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert process.stdin is not None
    process.stdin.close()

    assert 0 < BillLine.objects.count() < 3_000
    assert not Bill.objects.exclude(state=Bill.State.IMPORTING).exists()

    again = imported(content)

    assert (again.is_new, BillLine.objects.count(), Bill.objects.count()) == (True, 3_000, 1)


def test_an_abandoned_import_of_another_file_is_removed_after_a_day() -> None:
    staged = Bill.objects.create(upstream="anthropic", format="anthropic_cost", file_name="a", file_digest="b")
    imported(samples.ANTHROPIC_COST)
    assert Bill.objects.filter(pk=staged.pk).exists()

    with time_machine.travel(staged.imported_at + importing.ABANDONED_AFTER * 2):
        imported(samples.ANTHROPIC_USAGE)

    assert not Bill.objects.filter(pk=staged.pk).exists()


@pytest.mark.parametrize("upstream", ["", " ", "anthropic\x01", "anthropic\nother"])
def test_a_name_with_control_characters_is_no_upstream(upstream: str) -> None:
    with pytest.raises(BillError, match="Upstream: enter its name"):
        import_bill(io.BytesIO(samples.ANTHROPIC_USAGE), upstream=upstream, file_name="bill", imported_by="root")
    assert not Bill.objects.exists()
