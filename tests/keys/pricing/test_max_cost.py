"""The maximum cost of a request is at least its cost, whatever is served of what it allows."""

from random import Random
from statistics import median
from typing import Any

import pytest

from keys.domain.price_modifiers import Modifier
from keys.domain.prices import Price
from keys.pricing.max_cost import CostBound, CostUnknown, Demand, Sampling, ServingTerms
from keys.pricing.price_book import PriceBook
from keys.pricing.rating import rate
from lib import money
from tests.keys.pricing.books import NOON, book, price, row

EXAMPLES = 300


def modifier(dimension: str, value: str, input: int, output: int | None = None, *, weekdays: str = "") -> Modifier:
    """Return a modifier with factors in ten-thousandths."""
    return Modifier.parsed(
        dimension, value, weekdays=weekdays, input_factor=input, output_factor=input if output is None else output
    )


FAST, US = modifier("speed", "fast", 20_000), modifier("inference_geo", "us", 11_000)
HAIKU = price(
    input=100_000,
    output=500_000,
    cache_read=10_000,
    cache_write_5m=125_000,
    cache_write_1h=200_000,
    modifiers=(modifier("prompt_over", "100000", 50_000), US),
)
SOL = price(
    cache_read=200_000,
    cache_write_5m=2_500_000,
    cache_write_1h=5_000_000,
    writes_cache_implicitly=True,
    modifiers=(
        modifier("prompt_over", "272000", 20_000, 15_000),
        modifier("service_tier", "priority", 20_000),
        modifier("service_tier", "flex", 5_000),
        modifier("region", "eu", 11_000),
    ),
)
OPUS = price(
    input=4_000_000,
    output=20_000_000,
    cache_read=200_000,
    cache_write_5m=5_000_000,
    cache_write_1h=8_000_000,
    web_search=10_000,
    modifiers=(FAST, US),
)
DEEPSEEK = price(
    input=150_000,
    output=600_000,
    cache_read=3_000,
    modifiers=(modifier("utc_hours", "13:00-14:00", 20_000, weekdays="12345"),),
)


def bound(priced: Price | PriceBook, **fields: Any) -> CostBound:
    prices = priced if isinstance(priced, PriceBook) else book(priced)
    return CostBound(
        **{
            "model": "m",
            "find": lambda model: prices.find(model, upstream="u", at=NOON),
            "terms": ServingTerms(),
            "at": NOON,
            "assumed_output": 128_000,
            **fields,
        }
    )


def demand(input_tokens: int, max_tokens: int, *others: Sampling, **fields: Any) -> Demand:
    return Demand(input_tokens=input_tokens, samplings=(Sampling(max_tokens=max_tokens), *others), **fields)


@pytest.mark.parametrize(
    ("priced", "wanted", "billed"),
    [
        pytest.param(HAIKU, demand(120_000, 1_000), 62_500, id="a prompt over a threshold"),
        pytest.param(SOL, demand(100_000, 1_000), 260_000, id="implicit cache writes"),
        pytest.param(
            OPUS,
            demand(10_000, 1_000, facts={"speed": "fast", "inference_geo": "us"}),
            132_000,
            id="fast, in the United States",
        ),
        pytest.param(
            price(web_search=10_000), demand(1_000, 1_000, web_searches=5), 62_000, id="five searches and their tokens"
        ),
    ],
)
def test_the_examples_whose_bill_once_exceeded_the_reservation(priced: Price, wanted: Demand, billed: int) -> None:
    assert bound(priced).micros(wanted) >= billed


@pytest.mark.parametrize(
    ("priced", "wanted", "fields", "expected"),
    [
        pytest.param(price(), demand(100, 10), {}, 300, id="input and output"),
        pytest.param(price(input=1, output=1_000_000), demand(1, 2), {}, 3, id="rounded up"),
        pytest.param(price(max_output_tokens=5), demand(0, 1000), {}, 50, id="capped by the model's maximum"),
        pytest.param(HAIKU, demand(80_001, 0), {"terms": ServingTerms(inference_geo="global")}, 40_001, id="near"),
        pytest.param(HAIKU, demand(80_000, 0), {"terms": ServingTerms(inference_geo="global")}, 8_000, id="below"),
        pytest.param(HAIKU, demand(1_000, 0), {}, 110, id="an unknown geography"),
        pytest.param(OPUS, demand(1_000, 0, cache_ttl="5m"), {}, 5_500, id="cache writes for five minutes"),
        pytest.param(OPUS, demand(1_000, 0, cache_ttl="1h"), {}, 8_800, id="cache writes for an hour"),
        pytest.param(SOL, demand(1_000, 0, facts={"service_tier": "flex"}), {}, 2_500, id="flex may be standard"),
        pytest.param(SOL, demand(1_000, 0), {"terms": ServingTerms(service_tier="priority")}, 5_000, id="a project's"),
        pytest.param(SOL, demand(1_000, 0), {"terms": ServingTerms(region="eu")}, 2_750, id="a region"),
        pytest.param(DEEPSEEK, demand(1_000, 0), {}, 150, id="outside the hours"),
        pytest.param(DEEPSEEK, demand(1_000, 0), {"terms": ServingTerms(longest_s=3600)}, 300, id="until the hours"),
        pytest.param(price(is_free=True), demand(1_000, 9), {}, 0, id="a free model"),
        pytest.param(price(), demand(1_000, 0), {"negotiated": 9_300}, 1_860, id="a negotiated factor"),
        pytest.param(price(), demand(10, 1, Sampling(max_tokens=None)), {}, 30 + 1_280_020, id="an unbounded sampling"),
        pytest.param(price(), demand(10, 1, Sampling(max_tokens=2, times=3)), {}, 30 + 120, id="several samplings"),
    ],
)
def test_the_most_expensive_that_is_allowed(
    priced: Price, wanted: Demand, fields: dict[str, Any], expected: int
) -> None:
    assert bound(priced, **fields).micros(wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "fields", "param", "value"),
    [
        pytest.param(demand(1, 1, Sampling(model="x", max_tokens=1, param="tools[0].model")), {}, "tools[0].model", ""),
        pytest.param(demand(1, 1, facts={"speed": "ultra"}), {}, "speed", "ultra"),
        pytest.param(demand(1, 1), {"terms": ServingTerms(region="moon")}, "model", "moon"),
        pytest.param(demand(1, 1), {"model": "other"}, "model", ""),
        pytest.param(demand(1, 1, web_searches=1), {}, "model", "web_search"),
    ],
)
def test_what_has_no_price_is_named(wanted: Demand, fields: dict[str, Any], param: str, value: str) -> None:
    with pytest.raises(CostUnknown) as caught:
        bound(SOL, **fields).micros(wanted)

    assert (caught.value.param, caught.value.value) == (param, value)


class _Request:
    """A random request with prices, and responses that it allows."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        models = [HAIKU, SOL, OPUS, DEEPSEEK]
        self.price = random.choice(models)
        self.other = random.choice(models)
        self.prices = book(
            self.price,
            price(
                **{name: getattr(self.other, name) for name in ("input", "output", "cache_read", "cache_write_5m")},
                id=2,
                model_pattern="other",
                cache_write_1h=self.other.cache_write_1h,
                web_search=15_000,
                modifiers=self.other.modifiers,
            ),
            factors={"u": random.choice([9_300, 10_000])},
        )
        self.input = random.choice([random.randrange(1, 2_000), random.randrange(50_000, 300_000)])
        self.max_tokens = random.randrange(1, 64_000)
        self.cache_ttl = random.choice(["", "5m", "1h"])
        self.asked = {"speed": "fast"} if self.price is OPUS is self.other and random.random() < 0.5 else {}
        self.searches = random.randrange(6) if self.price is OPUS else 0
        self.others = [
            each
            for each in (
                Sampling(model="other", max_tokens=random.randrange(1, 9_000)),
                Sampling(model="other", max_tokens=None, times=random.randrange(1, 4)),
                Sampling(max_tokens=None),
            )
            if random.random() < 0.3
        ]

    @property
    def demand(self) -> Demand:
        return demand(
            self.input,
            self.max_tokens,
            *self.others,
            cache_ttl=self.cache_ttl,
            web_searches=self.searches,
            facts=self.asked,
        )

    def response(self) -> dict[str, Any]:
        """Return the columns of a response that the request allows."""
        random = self.random
        samplings = [Sampling(max_tokens=self.max_tokens), *self.others]
        iterations = [
            {"type": "message", "model": each.model, **self._tokens(each)}
            for each in samplings
            for _ in range(random.randrange(each.times + 1))
        ]
        counts = {"iterations": iterations} if iterations else self._tokens(samplings[0])
        facts = {"speed": random.choice(["standard", self.asked.get("speed", "standard")])}
        if all(US in each.modifiers for each in (self.price, self.other)):
            facts["inference_geo"] = random.choice(["us", "global"])
        return row(**counts, **facts, web_searches=random.randint(0, self.searches))

    def _tokens(self, sampling: Sampling) -> dict[str, int]:
        random = self.random
        priced = self.price if sampling.model == "" else self.other
        used = random.randint(0, self.input)
        kinds = ["input_tokens", "cache_read_tokens"]
        kinds += ["cache_write_5m_tokens"] if self.cache_ttl or priced.writes_cache_implicitly else []
        kinds += ["cache_write_1h_tokens"] if self.cache_ttl == "1h" else []
        found = dict.fromkeys(kinds, 0)
        for _ in range(3):
            part = random.randint(0, used)
            found[random.choice(kinds)] += part
            used -= part
        found[random.choice(kinds)] += used
        limit = 128_000 if sampling.max_tokens is None else sampling.max_tokens
        return found | {"output_tokens": random.randint(0, limit)}


def test_no_allowed_response_of_random_requests_costs_more_than_is_reserved() -> None:
    reservations, costs = [], []
    for seed in range(EXAMPLES):
        request = _Request(seed)
        negotiated = request.prices.price_factor("u", at=NOON)
        reserved = bound(request.prices, negotiated=negotiated).micros(request.demand)
        for _ in range(10):
            response = request.response()
            rated = rate(response, request.prices)
            assert rated.cost_usd_picos is not None, (seed, rated.unpriced_reason)
            assert rated.cost_usd_picos <= money.picos(reserved), (seed, response)
            reservations.append(money.picos(reserved))
            costs.append(rated.cost_usd_picos)

    ratios = [reserved / cost for reserved, cost in zip(reservations, costs, strict=True) if cost]
    print(f"reserved / cost: median {median(ratios):.1f}, of all {sum(reservations) / sum(costs):.1f}")
    assert len(ratios) > 9 * EXAMPLES
