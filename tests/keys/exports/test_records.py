"""Exports of records and of charges add up to the records, however many batches they take."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import QueryDict

from keys.explore.question import Question, parse
from keys.explore.records import matching
from keys.exports import focus, records
from keys.exports.focus import focus_table
from keys.exports.records import records_table
from keys.models import APIKey, ModelPrice, NegotiatedFactor, Team, UsageRecord
from keys.pricing.price_book import prices
from tests.support.usage_rows import UsageRecorder

DAY = datetime(2026, 10, 25, tzinfo=UTC)


def rows_of(table: Any) -> list[dict[str, Any]]:
    return [dict(zip((column.name for column in table.columns), row, strict=True)) for row in table.rows]


def asked(**parameters: str) -> Question:
    query = QueryDict(mutable=True)
    query.update({"from": "2026-10-20T00:00", "to": "2026-11-02T00:00"} | parameters)
    found, left_out = parse(query)
    assert not left_out
    return found


@pytest.fixture
def recorded(quiet_ledger: None, owner: User) -> Callable[..., UsageRecord]:
    """Records requests of a team's key with metadata, and of a user's key."""
    ModelPrice.objects.create(
        model_pattern="*", input_price=3_000_000, output_price=15_000_000, cache_read_price=300_000,
        valid_from=DAY - timedelta(days=30),
    )  # fmt: skip
    prices.clear()
    team = Team.objects.create(name="=team")
    of_team = APIKey.objects.issue(name="of team", team=team, metadata={"cost_center": "4711"})[0]
    own = APIKey.objects.issue(name="own", owner=owner, metadata={"project": "+x"})[0]
    recorder = UsageRecorder(own)

    def record(*, of_a_team: bool = True, **fields: Any) -> UsageRecord:
        return recorder.record_rated(as_key=of_team if of_a_team else own, **fields)

    return record


def test_every_record_is_exported_once_in_order(
    recorded: Callable[..., UsageRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "BATCH_SIZE", 3)
    # Several at the same moment, across the borders of batches.
    for i in range(11):
        recorded(created_at=DAY + timedelta(seconds=i // 4), of_a_team=i % 2 == 0)

    found = rows_of(records_table(matching(asked()), query={}))

    assert sorted(row["id"] for row in found) == sorted(UsageRecord.objects.values_list("id", flat=True))
    assert [row["created_at"] for row in found] == sorted(row["created_at"] for row in found)
    assert {(row["team"], row["owner"], row["metadata.cost_center"]) for row in found} == {
        ("=team", "", "4711"),
        ("", "owner", ""),
    }


def test_an_export_has_only_the_records_of_its_question(recorded: Callable[..., UsageRecord]) -> None:
    wanted = recorded(created_at=DAY, model="claude-3")
    recorded(created_at=DAY, model="other")
    recorded(created_at=DAY - timedelta(days=10), model="claude-3")

    found = rows_of(records_table(matching(asked(model="claude-3")), query={}))

    assert [row["id"] for row in found] == [wanted.id]


def test_a_scope_hides_the_metadata_of_other_keys(recorded: Callable[..., UsageRecord]) -> None:
    record = recorded(created_at=DAY)
    recorded(created_at=DAY, of_a_team=False)
    scoped = replace(asked(), teams=frozenset({record.team_id or 0}))

    found = rows_of(records_table(matching(scoped), query={}, teams=scoped.teams))

    assert [row["id"] for row in found] == [record.id]
    assert not any(name == "metadata.project" for name in found[0])


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_the_charges_add_up_to_the_costs_of_the_records(
    recorded: Callable[..., UsageRecord], zone: str, settings: Any
) -> None:
    settings.TIME_ZONE = zone
    chance = random.Random(7)
    NegotiatedFactor.objects.create(upstream="local", factor=Decimal("0.9"), valid_from=DAY - timedelta(days=1))
    prices.clear()
    for i in range(60):
        recorded(
            created_at=DAY + timedelta(hours=chance.uniform(-60, 60)),
            of_a_team=i % 3 > 0,
            model=chance.choice(["claude-3", "llama"]),
            input_tokens=chance.randrange(1000),
            output_tokens=chance.randrange(1000),
            cache_read_tokens=chance.choice([0, 0, 17]),
            status=chance.choice(["completed", "completed", "failed"]),
        )
    counted = UsageRecord.objects.exclude(status="rejected")

    found = rows_of(focus_table(asked(), query={}))

    assert (
        sum(row["BilledCost"] for row in found)
        == sum(cost or 0 for cost in counted.values_list("cost_usd_picos", flat=True))
        > 0
    )
    assert sum(row["x_Requests"] for row in found) == 60
    for name, meter in (("input_tokens", "Input tokens"), ("cache_read_tokens", "Cache read tokens")):
        exported = sum(row["ConsumedQuantity"] for row in found if row["SkuMeter"] == meter)
        assert exported == sum(counted.values_list(name, flat=True))
    for row in found:
        if row["ContractedUnitPrice"] is not None:
            assert row["ContractedUnitPrice"] * row["PricingQuantity"] == row["ContractedCost"]
        assert row["ListCost"] >= row["BilledCost"]
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
    # Each charge has one price here, so that every unit price is known.
    assert all(row["ContractedUnitPrice"] is not None for row in found if row["ConsumedQuantity"])


def test_the_list_cost_is_without_the_negotiated_factor(recorded: Callable[..., UsageRecord]) -> None:
    NegotiatedFactor.objects.create(upstream="local", factor=Decimal("0.8"), valid_from=DAY - timedelta(days=1))
    prices.clear()
    recorded(created_at=DAY, input_tokens=10, output_tokens=0, cache_read_tokens=0)

    [charge] = rows_of(focus_table(asked(), query={}))

    assert (charge["ListCost"], charge["BilledCost"]) == (30_000_000, 24_000_000)
    assert (charge["ListUnitPrice"], charge["ContractedUnitPrice"]) == (3_000_000, 2_400_000)


def test_an_unpriced_request_is_counted_and_costs_nothing(recorded: Callable[..., UsageRecord]) -> None:
    ModelPrice.objects.all().delete()
    prices.clear()
    recorded(created_at=DAY, cache_read_tokens=0)

    found = rows_of(focus_table(asked(), query={}))

    assert [row["x_UnpricedRequests"] for row in found] == [1, 0]
    assert {row["BilledCost"] for row in found} == {0}


MANDATORY = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
]
MAY_BE_NULL = {"ChargeClass"}


def test_the_mandatory_columns_of_focus_are_present_and_filled(recorded: Callable[..., UsageRecord]) -> None:
    recorded(created_at=DAY)

    found = rows_of(focus_table(asked(), query={}))

    assert set(MANDATORY) <= {column.name for column in focus.COLUMNS}
    for row in found:
        assert all(row[name] is not None for name in set(MANDATORY) - MAY_BE_NULL)
        assert (row["BillingCurrency"], row["ChargeCategory"], row["ServiceCategory"]) == (
            "USD",
            "Usage",
            "AI and Machine Learning",
        )
        assert row["ChargePeriodStart"].endswith("Z")
        assert row["Tags"] == '{"cost_center": "4711"}'
