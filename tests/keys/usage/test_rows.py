"""Usage records as rows: every kind of tokens is in every form of them."""

import json
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest

from keys.models import HourlyUsage, UsageRecord
from keys.models.usage import BILLED_TOKEN_COLUMNS, TOKEN_COLUMNS
from keys.pricing.parts import COUNTED
from keys.usage import rows
from keys.usage.rollup_statements import MEASURES
from keys.usage.rows import Settlement


def names_of(form: type) -> set[str]:
    if form is Settlement:
        return {item.name for item in fields(Settlement)}
    return {item.attname for item in form._meta.concrete_fields}  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", [UsageRecord, HourlyUsage, Settlement])
def test_every_form_has_all_kinds_of_tokens(form: type) -> None:
    columns = {name for name in names_of(form) if name.endswith("_tokens")} - {"estimated_input_tokens"}

    assert columns == set(TOKEN_COLUMNS)


def test_every_kind_of_tokens_is_rolled_up() -> None:
    assert set(TOKEN_COLUMNS) < set(MEASURES)


def spooled(**changes: Any) -> bytes:
    """Return a line of the spool as an older version wrote it."""
    moment = "2026-11-01T12:00:00+00:00"
    row = {"id": "req_1", "api_key_id": 1, "status": "completed", "streamed": False, "reservations": [[1, 15]]}
    times = dict.fromkeys(("created_at", "settled_at", "lease_expires_at"), moment)
    return json.dumps(row | times | changes).encode()


@pytest.mark.parametrize(
    ("changes", "cost"),
    [
        pytest.param({"cost_usd_micros": 15}, 15_000_000, id="micro-dollars"),
        pytest.param({"cost_usd_micros": 0}, 0, id="nothing"),
        pytest.param({"cost_usd_micros": None}, None, id="unpriced"),
        pytest.param({"cost_usd_micros": 1, "cost_usd_picos": 2_900_000}, 2_900_000, id="both"),
        pytest.param({"cost_usd_micros": "15"}, None, id="a text"),
        pytest.param({"cost_usd_micros": 10**13}, None, id="too large"),
        pytest.param({"cost_usd_picos": 2**63 - 1}, 2**63 - 1, id="the largest"),
        pytest.param({"cost_usd_picos": 2_900_000.0}, None, id="a float"),
    ],
)
def test_a_row_that_an_older_version_spooled_has_its_cost_in_pico_dollars(
    changes: dict[str, Any], cost: int | None
) -> None:
    row = rows.from_json(spooled(**changes))

    assert row["cost_usd_picos"] == cost and "cost_usd_micros" not in row


def test_what_the_cache_saved_may_be_negative() -> None:
    row = rows.from_json(spooled(cache_savings_usd_picos=-(10**12), cache_read_cost_usd_picos=-1))

    assert (row["cache_savings_usd_picos"], row["cache_read_cost_usd_picos"]) == (-(10**12), None)


def test_every_billed_kind_is_rated() -> None:
    row = {name: 10**position for position, name in enumerate(BILLED_TOKEN_COLUMNS)}

    assert [f"{kind}_tokens" for kind in COUNTED] == list(BILLED_TOKEN_COLUMNS)
    assert rows.total_tokens(row) == Settlement(status="completed", **row).tokens == 11_111


SERVED = {
    "served_model": "m-2",
    "speed": "fast",
    "service_tier": "priority",
    "inference_geo": "us",
    "region": "eu",
    "refusal_category": "bio",
    "refused_before_output": True,
    "usage_object": {"input_tokens": 5, "cost": 0.00014, "server_tool_use": {"web_search_requests": 1}},
    "audio_input_tokens": 3,
    "audio_output_tokens": 2,
    "web_searches": 1,
    "vendor_cost_usd_picos": 10**18,
    "added_us": 900,
    "iterations": [
        {"type": "message", "model": "m-1", **dict.fromkeys(BILLED_TOKEN_COLUMNS, 5)}
        | {"refusal_category": "cyber", "refused_before_output": True},
        {"type": "fallback_message", "model": "m-2", **dict.fromkeys(BILLED_TOKEN_COLUMNS, 10**9)},
    ],
}


def test_what_was_served_is_the_same_after_the_spool() -> None:
    row = rows.from_json(spooled(**SERVED))

    assert {name: row[name] for name in SERVED} == SERVED
    assert rows.from_json(rows.to_json(row)) == row


RATED: dict[str, Any] = {
    "cost_usd_picos": 2**63 - 1,
    "cache_savings_usd_picos": -5,
    "item_cost_usd_picos": 0,
    "unpriced_reason": "",
    "other_prices": {"m" * 256: 7, "advisor": 8},
    "price_factor": Decimal("0.93"),
}


def test_what_was_rated_is_the_same_after_the_spool() -> None:
    row = rows.from_json(spooled(**RATED | {"price_factor": "0.93"}))

    assert {name: row[name] for name in RATED} == RATED
    assert rows.from_json(rows.to_json(row)) == row


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("other_prices", [7]),
        ("other_prices", {"m": "7"}),
        ("other_prices", {"m": -1}),
        ("price_factor", "0"),
        ("price_factor", "0.00001"),
        ("price_factor", "much"),
        ("price_factor", [1]),
        ("price_factor", "Infinity"),
        ("cost_usd_picos", 2**63),
    ],
)
def test_what_rating_cannot_have_written_is_dropped(name: str, value: Any) -> None:
    assert rows.from_json(spooled(**{name: value}))[name] is None


def test_a_row_of_an_older_version_states_nothing_about_what_was_served() -> None:
    row = rows.from_json(spooled())

    assert {name: row[name] for name in SERVED if row[name]} == {}
    assert (row["refused_before_output"], row["speed"], row["iterations"]) == (False, "", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iterations", "entries"),
        ("iterations", [1]),
        ("iterations", [{"type": 1, "model": "m"}]),
        ("iterations", [{"type": "message", "model": "m", "input_tokens": -1}]),
        ("iterations", [{"type": "message", "model": "m", "refusal_category": 1}]),
        ("iterations", []),
        ("usage_object", [1]),
        ("usage_object", {"text": "x" * 65}),
        ("refused_before_output", 1),
        ("added_us", -1),
        ("added_us", 2**31),
        ("web_searches", 10**10),
        ("vendor_cost_usd_picos", 2**63),
        ("speed", {}),
    ],
)
def test_a_value_that_does_not_fit_is_dropped(name: str, value: Any) -> None:
    row = rows.from_json(spooled(**{name: value}))

    assert row[name] == rows.from_json(spooled())[name]


def test_iterations_have_all_counts_and_nothing_else() -> None:
    row = rows.from_json(spooled(iterations=[{"type": "message", "model": "m", "input_tokens": 5, "text": "secret"}]))

    counts = dict.fromkeys(BILLED_TOKEN_COLUMNS, 0) | {"input_tokens": 5}
    assert row["iterations"] == [{"type": "message", "model": "m", **counts}]
