"""Rules of providers that the catalog cannot say, offered as additions to a proposed price. Pure.

Each rule states its source, because an admin decides whether it applies.
"""

import re
from collections.abc import Iterator
from decimal import Decimal

from keys.pricing.catalog.proposals import TIMES, Addition, ProposedModifier, ProposedPrice

SURCHARGE = Decimal("1.1")
WORKDAYS = "12345"
_CLAUDE = re.compile(r"^claude-(?:opus|sonnet|haiku|fable|mythos)-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)", re.ASCII)
_GPT = re.compile(r"^gpt-(\d{1,2})(?:\.(\d{1,2}))?(?!\d)", re.ASCII)
FIRST_CLAUDE_WITH_GEO = (4, 6)
FIRST_GPT_WITH_REGIONS = (5, 4)
FIRST_GPT_WITH_WRITES = (5, 6)
WRITE_12H_FACTOR = Decimal("2.5")


def additions_for(
    price: ProposedPrice, *, provider: str, model: str, regions: frozenset[str] = frozenset()
) -> list[Addition]:
    """Return the rules that apply to a model of a provider and that its price does not have.

    `regions` are those of the regional endpoints at which it is used.
    """
    if price.is_free:
        return []
    return [each for each in _rules(price, provider, model, regions) if each.added_to(price) != price]


def _rules(price: ProposedPrice, provider: str, model: str, regions: frozenset[str]) -> Iterator[Addition]:
    if provider == "anthropic" and _version(_CLAUDE, model) >= FIRST_CLAUDE_WITH_GEO:
        yield _surcharge("inference_geo", "us", f"Inference in the US {TIMES} 1.1", "Claude 4.6 and later, all tokens.")
    if provider == "openai":
        yield from _openai(price, _version(_GPT, model), regions)
    if provider == "deepseek" and any(each.dimension == "utc_hours" for each in price.modifiers):
        reason = "Weekends are off-peak. So are Chinese holidays, which no rule covers."
        yield Addition(id="weekdays", label="Hours on weekdays only", reason=reason, weekdays=WORKDAYS)


def _openai(price: ProposedPrice, version: tuple[int, int], regions: frozenset[str]) -> Iterator[Addition]:
    if version >= FIRST_GPT_WITH_REGIONS:
        for region in sorted(regions):
            reason = "Models since 2026-03-05. It applies where the profile of the upstream states the region."
            yield _surcharge("region", region, f"Regional endpoint {region} {TIMES} 1.1", reason)
    if version >= FIRST_GPT_WITH_WRITES:
        reason = "gpt-5.6 and later write to the cache without being asked: reservations include it."
        fields: dict[str, int | bool] = {"writes_cache_implicitly": True}
        yield Addition(id="implicit_writes", label="Implicit cache writes", reason=reason, fields=fields)
        rate = Decimal(price.rates.get("input_price") or 0) * WRITE_12H_FACTOR
        if price.rates.get("cache_write_1h_price") is None and rate and not rate % 1:
            reason = "Writes that are kept for 12 hours cost 2.5 times the input. They are counted as long writes."
            fields = {"cache_write_1h_price": int(rate)}
            yield Addition(id="write_12h", label="Cache writes for 12 hours", reason=reason, fields=fields)


def _surcharge(dimension: str, value: str, label: str, reason: str) -> Addition:
    modifier = ProposedModifier(dimension=dimension, value=value, input_factor=SURCHARGE, output_factor=SURCHARGE)
    return Addition(id=f"{dimension}_{value}", label=label, reason=reason, modifier=modifier)


def _version(pattern: re.Pattern[str], model: str) -> tuple[int, int]:
    match = pattern.match(model)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)


def carried_over(old: ProposedPrice, new: ProposedPrice) -> ProposedPrice:
    """Return a new price with what the old one has and the catalog cannot say.

    Modifiers of geographies and regions, weekdays of the same hours, audio rates and long writes without a rate in the
    catalog, implicit writes and the maximum output.
    """
    if new.is_free:
        return new
    kept = [each for each in old.modifiers if each.dimension in ("inference_geo", "region")]
    weekdays = {each.key: each.weekdays for each in old.modifiers}
    modifiers = [
        ProposedModifier(
            dimension=each.dimension,
            value=each.value,
            weekdays=each.weekdays or weekdays.get(each.key, ""),
            input_factor=each.input_factor,
            output_factor=each.output_factor,
        )
        for each in new.modifiers
    ]
    unknown = ("audio_input_price", "audio_output_price", "cache_write_1h_price", "web_search_price")
    rates = {name: old.rates[name] for name in unknown if old.rates.get(name) is not None}
    return ProposedPrice(
        rates={**rates, **{name: rate for name, rate in new.rates.items() if rate is not None}},
        writes_cache_implicitly=old.writes_cache_implicitly or new.writes_cache_implicitly,
        max_output_tokens=new.max_output_tokens or old.max_output_tokens,
        modifiers=(*modifiers, *kept),
    )
