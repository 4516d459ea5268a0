"""Reconciliation: each planted cause is named with its evidence, and nothing else is."""

import io
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from keys.bills.importing import import_bill
from keys.bills.reconciliation import Reconciliation, reconcile
from keys.models import APIKey, UpstreamKeys
from tests.keys.bills import samples
from tests.keys.bills.records import NOON, PLAIN, SAMPLE, UPSTREAM, price, record, usage_of

pytestmark = pytest.mark.django_db

FIRST, LAST = date(2026, 11, 20), date(2026, 11, 21)
MINUTE = timedelta(minutes=1)
KIND_OF = {
    "input_tokens": ("uncached_input_tokens", 4_000_000),
    "output_tokens": ("output_tokens", 20_000_000),
    "cache_read_tokens": ("cache_read_input_tokens", 200_000),
    "cache_write_5m_tokens": ("cache_creation.ephemeral_5m_input_tokens", 5_000_000),
    "cache_write_1h_tokens": ("cache_creation.ephemeral_1h_input_tokens", 8_000_000),
}


@pytest.fixture(autouse=True)
def api_key(db: None) -> APIKey:
    price()
    return APIKey.objects.issue(name="app", owner=User.objects.create(username="owner"))[0]


def imported(content: bytes, upstream: str = UPSTREAM) -> None:
    import_bill(io.BytesIO(content), upstream=upstream, file_name="bill", imported_by="root")


def found(first: date = FIRST, last: date = LAST, upstream: str = UPSTREAM) -> Reconciliation:
    result = reconcile(upstream, first, last)
    for day in result.days:
        assert day.billed == day.recorded + sum(day.causes.values()) + day.unexplained
    return result


def days(*results: list[dict[str, Any]]) -> bytes:
    return samples.page(
        *((f"2026-11-{20 + i}", f"2026-11-{21 + i}", results_of_day) for i, results_of_day in enumerate(results))
    )


def cost_of(tokens: dict[str, int], *, factor: float = 1, **changes: Any) -> list[dict[str, Any]]:
    """Return the results of a cost report, in cents."""
    results = []
    for column, count in tokens.items():
        if column == "web_searches":
            fee = samples.cost_result(None, f"{count}.0", cost_type="web_search", model=None, speed=None)
            results.append(fee | {"service_tier": None, "inference_geo": None})
        elif count:
            name, rate = KIND_OF[column]
            cents = f"{count * rate * factor / 10**10:.8f}"
            results.append(samples.cost_result(name, cents, **changes))
    return results


def summary(result: Reconciliation) -> dict[str, int]:
    """Return the causes with their amounts in micro-dollars."""
    return {cause: picos // 10**6 for cause, picos in sorted(result.causes.items())}


def test_the_samples_of_one_day_agree(api_key: APIKey) -> None:
    record(api_key, **SAMPLE)
    for content in (samples.ANTHROPIC_USAGE, samples.ANTHROPIC_COST):
        imported(content)

    result = found(last=FIRST)

    assert (result.recorded, result.billed) == (234_940 * 10**6, 234_940 * 10**6)
    assert (result.items, result.unexplained, result.unexplained_tokens) == ([], 0, {})


@pytest.mark.parametrize("content", [samples.ANALYTICS_COST, samples.CONSOLE_USAGE, samples.CONSOLE_COST])
def test_the_other_exports_of_the_same_day_agree_too(content: bytes, api_key: APIKey) -> None:
    is_usage = content == samples.CONSOLE_USAGE
    record(api_key, **(SAMPLE if is_usage else SAMPLE | {"web_searches": 0}))
    imported(content)

    result = found(last=FIRST)

    # The five amounts of the cost CSV are rounded to cents.
    assert summary(result) == ({"rounding": -4_940} if content == samples.CONSOLE_COST else {})
    assert result.is_explained


FAST: dict[str, Any] = {"input_tokens": 7_000, "output_tokens": 900}
WRITE: dict[str, Any] = {"input_tokens": 300, "output_tokens": 40, "cache_write_5m_tokens": 6_000}
MISSING: dict[str, Any] = {"input_tokens": 5_555, "output_tokens": 77, "cache_read_tokens": 1_000}
LATE: dict[str, Any] = {"input_tokens": 2_222, "output_tokens": 333}
FOREIGN: dict[str, Any] = {"input_tokens": 9_999, "output_tokens": 1_111}
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)


def plant(api_key: APIKey) -> dict[str, str]:
    """Record requests of which the bill has some otherwise. Return the records by cause."""
    for minute in range(30):
        record(api_key, at=NOON + minute * MINUTE, **PLAIN)
        record(api_key, at=NOON + timedelta(days=1) + minute * MINUTE, **SAMPLE)
    return {
        "speed": record(api_key, at=NOON - MINUTE, **FAST).pk,
        "write_lifetime": record(api_key, at=NOON - 2 * MINUTE, **WRITE).pk,
        "day_boundary": record(api_key, at=MIDNIGHT - MINUTE, **LATE).pk,
    }


WRITE_BILLED = {"input_tokens": 300, "output_tokens": 40, "cache_write_1h_tokens": 6_000}
PLANTED_USAGE = days(
    [
        usage_of(*[PLAIN] * 30, WRITE_BILLED, MISSING),
        usage_of(FAST, speed="fast"),
        usage_of(FOREIGN, api_key_id="apikey_LAPTOP"),
    ],
    [usage_of(*[SAMPLE] * 30, LATE)],
)


def totals(*all_tokens: dict[str, int]) -> dict[str, int]:
    return {column: sum(tokens.get(column, 0) for tokens in all_tokens) for column in (*KIND_OF, "web_searches")}


PLANTED_COST = days(
    cost_of(totals(*[PLAIN] * 30, WRITE_BILLED, MISSING, FOREIGN) | {"web_searches": 0})
    + cost_of(FAST, factor=2, speed="fast"),
    cost_of(totals(*[SAMPLE] * 30, LATE)),
)
EFFECTS = {
    "day_boundary": 0,
    "foreign_key": 9_999 * 4 + 1_111 * 20,
    "missing_record": (5_555 * 4_000 + 77 * 20_000 + 1_000 * 200) // 1_000,
    "speed": 7_000 * 4 + 900 * 20,
    "write_lifetime": 6_000 * 3,
}


@pytest.mark.parametrize("with_cost_report", [False, True])
def test_five_planted_causes_are_named_and_nothing_else_is(api_key: APIKey, with_cost_report: bool) -> None:
    records = plant(api_key)
    imported(PLANTED_USAGE)
    if with_cost_report:
        imported(PLANTED_COST)
    UpstreamKeys.objects.create(upstream=UPSTREAM, provider_keys=["apikey_EXAMPLE"])

    result = found()

    assert summary(result) == EFFECTS
    assert result.is_explained
    assert {item.cause: item.records for item in result.items} == {
        **{cause: [pk] for cause, pk in records.items()},
        "foreign_key": [],
        "missing_record": [],
    }
    [foreign] = [item for item in result.items if item.cause == "foreign_key"]
    assert foreign.text == "key apikey_LAPTOP: 9,999 input, 1,111 output"
    assert [lines.positions for lines in foreign.lines] == [["line 3: data[0].results[2]"]]


def test_without_a_chosen_key_the_one_that_matches_is_assumed(api_key: APIKey) -> None:
    plant(api_key)
    imported(PLANTED_USAGE)

    result = found()

    assert summary(result) == EFFECTS
    assert (result.own_keys, result.are_keys_assumed) == (["apikey_EXAMPLE"], True)


def test_a_cost_report_alone_names_them_except_the_key_that_it_does_not_have(api_key: APIKey) -> None:
    plant(api_key)
    imported(PLANTED_COST)

    result = found()

    together = EFFECTS["missing_record"] + EFFECTS["foreign_key"]
    assert summary(result) == {cause: EFFECTS[cause] for cause in EFFECTS if cause != "foreign_key"} | {
        "missing_record": together
    }
    assert result.is_explained


@pytest.mark.parametrize("cause", ["foreign_key", "speed", "missing_record", "write_lifetime", "day_boundary"])
def test_each_cause_alone_is_named_alone(api_key: APIKey, cause: str) -> None:
    """A record or a part of the bill is planted alone, beside requests that agree."""
    for _ in range(3):
        record(api_key, **PLAIN)
    first, second = [usage_of(*[PLAIN] * 3)], [usage_of()]
    match cause:
        case "foreign_key":
            first.append(usage_of(FOREIGN, api_key_id=None))
        case "speed":
            record(api_key, **FAST)
            first.append(usage_of(FAST, speed="fast"))
        case "missing_record":
            first = [usage_of(*[PLAIN] * 3, MISSING)]
        case "write_lifetime":
            record(api_key, **WRITE)
            first = [usage_of(*[PLAIN] * 3, WRITE_BILLED)]
        case "day_boundary":
            record(api_key, at=MIDNIGHT - MINUTE, **LATE)
            second = [usage_of(LATE)]
    imported(days(first, second))

    result = found()

    assert list(result.causes) == [cause]
    assert result.is_explained


def test_a_missing_request_that_equals_recorded_ones_is_a_missing_record(api_key: APIKey) -> None:
    """Requests of one size: the same tokens at both speeds, and near midnight."""
    for day, speed in ((0, ""), (0, "fast"), (1, ""), (1, "fast")):
        record(api_key, at=NOON + timedelta(days=day), speed=speed, **PLAIN)
    record(api_key, at=NOON + timedelta(days=1, hours=1), **PLAIN)
    fast = usage_of(PLAIN, speed="fast")
    imported(days([usage_of(PLAIN, PLAIN), fast], [usage_of(PLAIN, PLAIN), fast]))

    result = found()

    assert [(item.cause, item.picos) for item in result.items] == [("missing_record", 14 * 10**9)]


def test_what_no_cause_explains_stays_unexplained_and_is_not_spread(api_key: APIKey) -> None:
    record(api_key, **PLAIN)
    record(api_key, at=NOON + timedelta(days=1), **PLAIN)
    imported(days([usage_of(PLAIN | {"input_tokens": 1_001})], [usage_of(PLAIN)]))

    result = found()

    assert result.items == []
    assert [day.unexplained for day in result.days] == [4 * 10**6, 0]
    assert [(cell.day, tokens) for cell, tokens in result.unexplained_tokens.items()] == [(FIRST, {"input": 1})]


def test_an_amount_without_tokens_stays_unexplained(api_key: APIKey) -> None:
    record(api_key, **PLAIN)
    imported(days([usage_of(PLAIN)]))
    dearer = cost_of(PLAIN)
    dearer[0]["amount"] = "0.47777777"
    imported(days(dearer))

    result = found(last=FIRST)

    assert result.items == []
    assert result.unexplained == 777_777_700


def test_a_price_that_is_wrong_since_a_day_is_named(api_key: APIKey) -> None:
    for day in range(4):
        record(api_key, at=NOON + timedelta(days=day), **PLAIN)
    imported(days(*[[usage_of(PLAIN)]] * 4))
    imported(days(cost_of(PLAIN), *[cost_of(PLAIN, factor=1.25)] * 3))

    result = found(last=date(2026, 11, 23))

    assert summary(result) == {"price": 3 * (1_000 * 4 + 500 * 20) // 4}
    assert result.items[0].text.endswith("billed at 1.25 times the recorded price since 2026-11-21")
    assert result.is_explained


def test_fees_searches_and_discounts_are_named(api_key: APIKey) -> None:
    record(api_key, **PLAIN)
    imported(days([usage_of(PLAIN)]))
    fee = samples.cost_result(None, "5.0", cost_type="code_execution", model=None)
    search = samples.cost_result(None, "1.0", cost_type="web_search", model=None)
    imported(days([*cost_of(PLAIN), fee, search]))

    assert summary(found(last=FIRST)) == {"fee": 50_000, "web_search": 10_000}


def test_a_discount_below_the_list_amount_is_named(api_key: APIKey) -> None:
    record(api_key, **PLAIN)
    listed = [each | {"list_amount": each["amount"], "amount": "0.30000000"} for each in cost_of(PLAIN)]
    imported(days(listed))

    result = found(last=FIRST)

    assert summary(result) == {"discount": 6_000 - (4_000 + 10_000)}
    assert result.is_explained


def test_a_model_without_a_price_is_named_with_its_records(api_key: APIKey) -> None:
    pk = record(api_key, **PLAIN, upstream_model="claude-new-1").pk
    imported(days(cost_of(PLAIN, model="claude-new-1")))

    result = found(last=FIRST)

    assert summary(result) == {"unpriced": 14_000}
    assert {record for item in result.items for record in item.records} == {pk}


def test_a_dated_model_is_the_same_model(api_key: APIKey) -> None:
    record(api_key, **PLAIN, served_model=f"{samples.MODEL}-20260922")
    imported(days([usage_of(PLAIN)]))

    result = found(last=FIRST)

    assert summary(result) == {"alias": 0}
    assert result.is_explained


def test_data_that_is_not_complete_on_the_last_day_is_named(api_key: APIKey) -> None:
    record(api_key, **PLAIN)
    for hour in range(3):
        record(api_key, at=NOON + timedelta(days=1, hours=hour), **PLAIN)
    imported(days([usage_of(PLAIN)], [usage_of(PLAIN)]))

    assert summary(found()) == {"late_data": -28_000}


def test_an_advisor_that_the_record_lists_is_compared_with_its_own_model(api_key: APIKey) -> None:
    price("claude-advisor-1", input_price=10_000_000, output_price=50_000_000)
    advisor = {"type": "advisor_message", "model": "claude-advisor-1", "input_tokens": 100, "output_tokens": 10}
    message = {"type": "message", "model": "", **PLAIN}
    record(api_key, input_tokens=1_100, output_tokens=510, iterations=[message, advisor])
    imported(days([usage_of(PLAIN), usage_of({"input_tokens": 100, "output_tokens": 10}, model="claude-advisor-1")]))

    result = found(last=FIRST)

    assert (result.items, result.unexplained_tokens) == ([], {})


def test_requests_are_matched_by_the_id_that_the_response_had(api_key: APIKey) -> None:
    price("openai/gpt-example", input_price=1_000_000, output_price=2_000_000)
    common: dict[str, Any] = {"upstream": "openrouter", "upstream_model": "openai/gpt-example"}
    cost: dict[str, Any] = {"input_tokens": 136, "output_tokens": 2}  # $0.00014
    record(api_key, message_id="gen-1795176000-EXAMPLE", **cost, **common)
    other = record(api_key, message_id="gen-2", **cost, vendor_cost_usd_picos=150 * 10**6, **common)
    head, _, row = samples.OPENROUTER_GENERATIONS.decode().partition("\n")
    rows = [row, row.replace("gen-1795176000-EXAMPLE", "gen-2").replace("0.00014", "0.00015")]
    rows += [row.replace("gen-1795176000-EXAMPLE", "gen-3")]
    rows += [row.replace("gen-1795176000-EXAMPLE", "gen-4").replace("example-key", "laptop")]
    imported("\n".join([head, *map(str.strip, rows)]).encode(), "openrouter")

    result = found(last=FIRST, upstream="openrouter")

    assert summary(result) == {"foreign_key": 140, "missing_record": 140, "price": 10}
    assert {record for item in result.items for record in item.records} == {other.pk}
    assert result.is_explained


def test_own_rollups_that_disagree_are_said_before_any_bill(api_key: APIKey) -> None:
    record(api_key, **PLAIN)  # without a rollup
    imported(days([usage_of(PLAIN)]))

    own = found(last=FIRST).own_sums

    assert own is not None and not own.agree
    assert (own.records["input_tokens"], own.rollups["input_tokens"]) == (1_000, 0)


def random_tokens(source: random.Random, *kinds: str) -> dict[str, Any]:
    return {"input_tokens": source.randint(50, 90_000), "output_tokens": source.randint(20, 9_000)} | {
        kind: source.randint(1_000, 50_000) for kind in kinds
    }


@pytest.mark.parametrize("seed", range(20))
def test_any_causes_in_the_same_cells_are_named_and_nothing_else_is(api_key: APIKey, seed: int) -> None:
    """All causes are of one model and of two days, so that their differences add up in the same cells."""
    source = random.Random(seed)
    planted = [cause for cause in EFFECTS if source.random() < 0.7]
    cached = ("cache_read_tokens", "cache_write_5m_tokens")
    on_bill: list[list[dict[str, Any]]] = [[], []]
    fast, foreign = list[list[dict[str, Any]]](([], [])), list[list[dict[str, Any]]](([], []))
    for _ in range(20):
        day, tokens = source.randint(0, 1), random_tokens(source, *source.sample(cached, source.randint(0, 2)))
        record(api_key, at=NOON + timedelta(days=day, minutes=source.randint(-600, 600)), **tokens)
        on_bill[day].append(tokens)
    day = source.randint(0, 1)
    for cause in planted:
        tokens = random_tokens(source, *source.sample(cached[:1], source.randint(0, 1)))
        match cause:
            case "speed":
                record(api_key, at=NOON + timedelta(days=day), **tokens)
                fast[day].append(tokens)
            case "foreign_key":
                foreign[day].append(tokens)
            case "missing_record":
                on_bill[day].append(tokens)
            case "day_boundary":
                record(api_key, at=MIDNIGHT - source.randint(1, 29) * MINUTE, **tokens)
                on_bill[1].append(tokens)
            case "write_lifetime":
                record(api_key, at=NOON + timedelta(days=day), **tokens, cache_write_5m_tokens=4_321)
                on_bill[day].append(tokens | {"cache_write_1h_tokens": 4_321})
    imported(
        days(
            *(
                [
                    usage_of(*on_bill[day]),
                    usage_of(*fast[day], speed="fast"),
                    usage_of(*foreign[day], api_key_id="apikey_LAPTOP"),
                ]
                for day in (0, 1)
            )
        )
    )
    UpstreamKeys.objects.create(upstream=UPSTREAM, provider_keys=["apikey_EXAMPLE"])

    result = found()

    assert sorted(result.causes) == sorted(planted)
    assert len(result.items) == len(planted)
    assert result.is_explained
