"""Imported bills in the proof of figures: as far as they are explained."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from keys.bills.importing import import_bill
from keys.bills.other_exports import parse_mapping
from keys.models import APIKey
from keys.pricing.price_book import prices
from tests.keys.bills import samples
from tests.keys.bills.records import NOON, SAMPLE, price
from tests.support.usage_rows import UsageRecorder


@pytest.fixture(autouse=True)
def record(quiet_ledger: None, owner: User) -> None:
    """Settle the request that the samples bill."""
    price()
    prices.book()
    recorder = UsageRecorder(APIKey.objects.issue(name="app", owner=owner)[0])
    tokens: dict[str, Any] = SAMPLE
    recorder.record(created_at=NOON, upstream="anthropic", upstream_model=samples.MODEL, **tokens)


def imported(content: bytes, mapping: str = "") -> None:
    import_bill(
        io.BytesIO(content),
        upstream="anthropic",
        file_name="bill",
        imported_by="root",
        mapping=parse_mapping(mapping),
    )


def test_a_bill_that_agrees_is_shown() -> None:
    for content in (samples.ANTHROPIC_USAGE, samples.ANTHROPIC_COST):
        imported(content)
    stdout = io.StringIO()

    call_command("verify_figures", stdout=stdout)

    assert stdout.getvalue().splitlines()[1] == (
        "Bill of anthropic, 1 UTC day: $0.23494 = $0.23494 recorded + $0.00 explained + $0.00 unexplained"
    )


def test_a_day_with_an_unexplained_amount_disagrees() -> None:
    imported(b"Date,Cost\n2026-11-20,0.30\n", "day=Date,amount=Cost")
    stdout = io.StringIO()

    with pytest.raises(CommandError, match="1 figures disagree"):
        call_command("verify_figures", "--json", stdout=stdout)

    result = json.loads(stdout.getvalue())
    assert [(each["source"], each["place"]) for each in result["found"]] == [("bill", "anthropic 2026-11-20")]
    assert result["bills"][0]["billed"] == "0.300000" and result["bills"][0]["unexplained"] == "0.065060"
