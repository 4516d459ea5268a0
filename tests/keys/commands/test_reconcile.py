"""`manage.py reconcile`: import, reconciliation, exit code by threshold."""

import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from keys.bills.check import bill_check
from keys.models import APIKey, Bill
from tests.keys.bills import samples
from tests.keys.bills.records import NOON, PLAIN, SAMPLE, UPSTREAM, price, record, usage_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def api_key(db: None) -> APIKey:
    price()
    return APIKey.objects.issue(name="app", owner=User.objects.create(username="owner"))[0]


def reconcile(path: Path, *arguments: str) -> tuple[str, int]:
    """Run the command. Return its output with its message, and its exit code."""
    out = io.StringIO()
    try:
        call_command("reconcile", "--bill", str(path), "--upstream", UPSTREAM, *arguments, stdout=out)
    except CommandError as error:
        return out.getvalue() + str(error), error.returncode
    return out.getvalue(), 0


def saved(folder: Path, content: bytes, name: str = "bill.json") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def test_a_bill_that_agrees_ends_with_0(api_key: APIKey, tmp_path: Path) -> None:
    record(api_key, **SAMPLE)
    path = saved(tmp_path, samples.ANTHROPIC_COST)

    text, code = reconcile(path)

    assert code == 0
    assert text.splitlines()[1].startswith("Usage records and hourly rollups disagree")  # the records have none
    assert [line.split() for line in text.splitlines()][2:] == [
        ["Recorded", "$0.23494"],
        ["Unexplained", "$0.00"],
        ["Billed", "$0.23494"],
    ]
    assert "(imported before)" in reconcile(path)[0]
    assert Bill.objects.count() == 1


def test_the_exit_code_follows_the_threshold(api_key: APIKey, tmp_path: Path) -> None:
    """Too much on one day does not cancel too little on another."""
    record(api_key, **PLAIN)
    record(api_key, at=NOON.replace(day=21), **PLAIN)
    record(api_key, at=NOON.replace(day=22), **PLAIN)
    days = [usage_of(PLAIN | {"output_tokens": count}) for count in (600, 400, 500)]
    buckets = [(f"2026-11-{20 + i}", f"2026-11-{21 + i}", [result]) for i, result in enumerate(days)]
    path = saved(tmp_path, samples.page(*buckets))

    text, code = reconcile(path)

    assert code == 1
    assert text.endswith("$0.004 unexplained, more than the threshold of $0.00.")
    assert "2026-11-20 claude-opus-5-5: 100 output" in text
    assert reconcile(path, "--threshold", "0.003999")[1] == 1
    assert reconcile(path, "--threshold", "0.004")[1] == 0


def test_the_json_has_amounts_as_decimal_texts(api_key: APIKey, tmp_path: Path) -> None:
    record(api_key, **PLAIN)
    missing = {"input_tokens": 1, "output_tokens": 1}
    path = saved(tmp_path, samples.page((samples.DAY, samples.NEXT_DAY, [usage_of(PLAIN, missing)])))

    text, code = reconcile(path, "--json")

    result: dict[str, Any] = json.loads(text, parse_float=Decimal)
    assert code == 0
    assert (result["recorded"], result["billed"], result["unexplained"]) == ("0.014000", "0.014024", "0.000000")
    [cause] = result["causes"]
    assert (cause["cause"], cause["amount"]) == ("missing_record", "0.000024")
    assert result["days"][0]["causes"] == {"missing_record": "0.000024"}
    assert "." not in str(result["requests"])


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", samples.ANTHROPIC_COST[:-9], b"\x00" * 50])
def test_a_file_that_cannot_be_imported_ends_with_2(content: bytes, api_key: APIKey, tmp_path: Path) -> None:
    text, code = reconcile(saved(tmp_path, content))

    assert code == 2 and "bill.json: " in text
    assert reconcile(tmp_path / "missing.json") == (f"{tmp_path / 'missing.json'}: No such file or directory", 2)


def test_bill_check_has_what_is_explained_of_a_period(api_key: APIKey, tmp_path: Path) -> None:
    record(api_key, **PLAIN)
    missing = {"input_tokens": 1, "output_tokens": 1}
    reconcile(saved(tmp_path, samples.page((samples.DAY, samples.NEXT_DAY, [usage_of(PLAIN, missing)]))))

    [check] = bill_check(NOON.date().replace(day=1), NOON.date().replace(day=30))

    assert (check.upstream, check.days, check.recorded, check.billed) == (UPSTREAM, 1, 14 * 10**9, 14_024 * 10**6)
    assert (check.explained, check.unexplained, check.unexplained_days) == (24 * 10**6, 0, [])
    assert bill_check(NOON.date().replace(month=10), NOON.date().replace(month=10)) == []
