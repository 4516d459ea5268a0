"""The maximum cost of a request, which budgets reserve: the most that its body allows, at the highest rates. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keys.domain.factors import ONE
from keys.domain.price_kinds import CACHE_READ, CACHE_WRITE_1H, CACHE_WRITE_5M, INPUT
from keys.domain.price_modifiers import NEUTRAL, PROMPT_OVER, SERVED, UTC_HOURS, Modifier
from keys.domain.prices import Price
from keys.domain.utc_hours import contain
from lib import money

ESTIMATE_MARGIN_PERCENT = 25
"""How far a prompt may exceed its estimate. With that, the price of longer prompts is reserved."""
CACHE_KINDS = {"": (), "5m": (CACHE_WRITE_5M,), "1h": (CACHE_WRITE_5M, CACHE_WRITE_1H)}
"""The kinds of cache writes by the longest lifetime that a request asks for."""
HOURS_STEP = timedelta(minutes=5)
MAX_HOURS = timedelta(days=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """A generation that may be billed, once or several times, and the place of the request that asks for it."""

    model: str = ""
    """Empty: the model of the target."""
    times: int = 1
    max_tokens: int | None
    """None: the maximum of the model."""
    param: str = ""
    may_respond: bool = True
    """False for those whose output is no part of the response: an advisor, a compaction."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What it asks for by dimension, in place of what the request asks for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What a request may be billed for, at most."""

    input_tokens: int
    """Of each sampling: the estimate, and what server tools may add."""
    samplings: tuple[Sampling, ...]
    """Each of them may be billed."""
    cache_ttl: str = ""
    """The longest lifetime of its cache writes: `5m`, `1h`, or empty for none."""
    web_searches: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the request asks for by dimension: speed, service tier, inference geography."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingTerms:
    """What an upstream applies to a request that does not ask for it."""

    region: str = ""
    service_tier: str = ""
    """The most expensive tier that it may choose. Empty: none but the standard."""
    inference_geo: str = ""
    """The geography of its workspace. Empty: unknown, so the most expensive one is reserved."""
    longest_s: float = 0.0
    """The request may be rated with the modifiers of hours until then."""

    @property
    def are_standard(self) -> bool:
        """Whether it applies nothing that a modifier may have a factor for, besides hours."""
        return not (self.region or self.service_tier or self.inference_geo)


class CostUnknown(Exception):
    """A part of the request has no price. `param` names the field that asks for it."""

    def __init__(self, param: str, *, model: str = "", value: str = "") -> None:
        super().__init__(param)
        self.param = param
        self.model = model
        self.value = value
        """The value of a dimension that the price has no modifier for."""


FindPrice = Callable[[str], Price | None]
Factors = tuple[int, int]
"""Of input and of output, in ten-thousandths."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CostBound:
    """The maximum cost of requests at one target."""

    model: str
    """The target's name for the model."""
    find: FindPrice
    """The price of a model at this upstream, now."""
    terms: ServingTerms
    at: datetime
    assumed_output: int
    """Output of models whose maximum is unknown, for samplings that the request does not bound."""
    negotiated: int | None = None
    """The factor that was negotiated with the upstream, in ten-thousandths."""

    def tokens(self, demand: Demand) -> int:
        """Return the most tokens that a request may use."""
        return sum(
            each.times * (demand.input_tokens + self._output(each, self._price(each))) for each in demand.samplings
        )

    def micros(self, demand: Demand) -> int:
        """Return the maximum cost in micro-dollars, rounded up. Raise CostUnknown."""
        picos = sum(each.times * self._sampling(demand, each) for each in demand.samplings)
        picos += self._searches(demand)
        return money.rounded_up(_times(picos, ONE if self.negotiated is None else self.negotiated))

    def _price(self, sampling: Sampling) -> Price | None:
        return self.find(sampling.model or self.model)

    def _output(self, sampling: Sampling, price: Price | None) -> int:
        """Return the most output tokens of a sampling: as the request bounds it, capped by the model's maximum."""
        maximum = None if price is None else price.max_output_tokens
        if sampling.max_tokens is None:
            return self.assumed_output if maximum is None else maximum
        return sampling.max_tokens if maximum is None else min(sampling.max_tokens, maximum)

    def _sampling(self, demand: Demand, sampling: Sampling) -> int:
        price = self._price(sampling)
        if price is None or not price.is_valid:
            raise CostUnknown(sampling.param or "model", model=sampling.model or self.model)
        if price.is_free:
            return 0
        input_factor = output_factor = ONE
        for factors in self._possible_factors(demand, sampling, price):
            input_factor = _times(input_factor, max(input for input, _ in factors))
            output_factor = _times(output_factor, max(output for _, output in factors))
        kinds = [INPUT, CACHE_READ, *CACHE_KINDS[demand.cache_ttl]]
        kinds += [CACHE_WRITE_5M] if price.writes_cache_implicitly else []
        input = demand.input_tokens * max(price.rate(kind) for kind in kinds)
        output = self._output(sampling, price) * price.output
        return _times(input, input_factor) + _times(output, output_factor)

    def _searches(self, demand: Demand) -> int:
        """Return the cost of web searches, which are priced as those of the model that responds."""
        if not demand.web_searches:
            return 0
        highest = 0
        for each in demand.samplings:
            price = self._price(each)
            if price is None or price.is_free or not each.may_respond:
                continue
            if price.web_search is None:
                raise CostUnknown(each.param or "model", model=each.model or self.model, value="web_search")
            highest = max(highest, price.web_search)
        return demand.web_searches * money.picos(highest)

    # ---- modifiers that may apply

    def _possible_factors(self, demand: Demand, sampling: Sampling, price: Price) -> Iterator[list[Factors]]:
        """Yield, for each dimension, the factors of which one may apply."""
        if not (price.modifiers or demand.facts or sampling.facts) and self.terms.are_standard:
            return
        prompt = demand.input_tokens + demand.input_tokens * ESTIMATE_MARGIN_PERCENT // 100
        yield _factors(price, lambda each: each.dimension == PROMPT_OVER and each.threshold < prompt)
        yield _factors(price, self._may_apply_by_hours)
        facts = {**demand.facts, **sampling.facts}
        for dimension in SERVED:
            yield self._served_factors(dimension, facts.get(dimension, ""), price)

    def _served_factors(self, dimension: str, asked: str, price: Price) -> list[Factors]:
        """Return the factors of the value that the request asks for, and of those that it may be served with."""
        value = asked
        if value in NEUTRAL[dimension]:
            value = getattr(self.terms, dimension, "")
            if dimension == "inference_geo" and not value and not asked:
                return _factors(price, lambda each: each.dimension == dimension)
        known = _factors(price, lambda each: each.dimension == dimension and each.value == value)
        if len(known) == 1 and value not in NEUTRAL[dimension]:
            raise CostUnknown(dimension if asked else "model", model=self.model, value=value)
        # A region is certain, while a tier or a speed that is asked for may not be available.
        return known[1:] if dimension == "region" and len(known) > 1 else known

    def _may_apply_by_hours(self, modifier: Modifier) -> bool:
        if modifier.dimension != UTC_HOURS:
            return False
        longest = min(timedelta(seconds=min(self.terms.longest_s, MAX_HOURS.total_seconds())), MAX_HOURS)
        steps = range(longest // HOURS_STEP + 1)
        moments = [*(self.at + number * HOURS_STEP for number in steps), self.at + longest]
        return any(contain(modifier.hours, modifier.weekdays, moment) for moment in moments)


def _factors(price: Price, may_apply: Callable[[Modifier], bool]) -> list[Factors]:
    """Return 1, for no modifier, and the factors of those that may apply."""
    return [(ONE, ONE), *((each.input_factor, each.output_factor) for each in price.modifiers if may_apply(each))]


def _times(amount: int, factor: int) -> int:
    """Return an amount times a factor in ten-thousandths, rounded up."""
    return -(-amount * factor // ONE)
