"""Cause of amounts that are higher for long prompts than the gateway's price, which has no modifier for them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

from django.db.models import F, Value
from django.db.models.functions import Coalesce

from keys.bills import causes
from keys.bills.cells import GROUPS, canonical
from keys.bills.money_causes import Amounts
from keys.bills.own import COST_COLUMNS, of_day
from keys.bills.token_causes import PROMPT_KINDS

SHORTEST = 100_000
"""Tokens. No provider has a price for longer prompts below it."""
MAX_LONG = 10_000
"""Requests with long prompts of a day and model."""
PROMPT_COLUMNS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
INPUT_GROUPS = {GROUPS[kind] for kind in PROMPT_KINDS}
HALF = Fraction(1, 2)
"""Factors of long prompts are multiples of it: others are a coincidence."""


@dataclass(slots=True)
class _Longest:
    """The requests with the longest prompts: their costs together, and their number."""

    shortest: int = 0
    count: int = 0
    picos: dict[str, int] = field(default_factory=dict)
    records: list[str] = field(default_factory=list)


def long_prompts(amounts: Amounts) -> None:
    """Explain amounts of a day and model that are those of its longest prompts times one factor per direction."""
    if not amounts.has_groups or not amounts.has_models:
        return
    for day, model in sorted({(key[0], key[1]) for key, rest in amounts.rest.items() if rest > 0 and key[1]}):
        if any(cell.day == day and cell.model == model for cell in amounts.matching.rest):
            continue
        rest = {key[2]: picos for key, picos in amounts.rest.items() if key[:2] == (day, model) and picos}
        own = {key[2]: picos for key, picos in amounts.own.items() if key[:2] == (day, model)}
        for longest in _longest(amounts.matching.upstream, day, model):
            if found := _factors(rest, longest.picos, own):
                _explain(amounts, day, model, longest, found)
                break


def _longest(upstream: str, day: date, model: str) -> Iterator[_Longest]:
    """Yield the requests with the longest prompt, then with the next one too, and so on."""
    rows = of_day(upstream, day).filter(cost_usd_picos__isnull=False, iterations__isnull=True)
    rows = rows.annotate(prompt=sum((Coalesce(F(column), 0) for column in PROMPT_COLUMNS), start=Value(0)))
    names = ("id", "prompt", "served_model", "upstream_model", *COST_COLUMNS.values())
    longest = _Longest()
    for row in rows.filter(prompt__gte=SHORTEST).order_by("-prompt").values(*names)[:MAX_LONG]:
        if canonical(row["served_model"] or row["upstream_model"]) != model:
            continue
        if longest.count and row["prompt"] < longest.shortest:
            yield longest
        longest.shortest, longest.count = row["prompt"], longest.count + 1
        if len(longest.records) < causes.MAX_EVIDENCE:
            longest.records.append(row["id"])
        for group, column in COST_COLUMNS.items():
            longest.picos[group] = longest.picos.get(group, 0) + (row[column] or 0)
    if longest.count:
        yield longest


def _factors(rest: dict[str, int], picos: dict[str, int], own: dict[str, int]) -> tuple[Fraction, Fraction] | None:
    """Return the factors of input and output with which these costs are the difference, or None."""
    is_in_part = any(picos.get(group, 0) < amount for group, amount in own.items() if group != "item")
    factors = {
        group: 1 + Fraction(rest.get(group, 0), amount) for group, amount in picos.items() if amount and group != "item"
    }
    prompt = {factor for group, factor in factors.items() if group in INPUT_GROUPS}
    output = factors.get("output", Fraction(1))
    if len(prompt) != 1 or not rest.keys() <= factors.keys():
        return None
    [of_input] = prompt
    # One factor on all amounts of the model is its price, whatever the lengths.
    is_plausible = of_input > 1 and output >= 1 and (is_in_part or of_input != output)
    return (of_input, output) if is_plausible and not of_input % HALF and not output % HALF else None


def _explain(amounts: Amounts, day: date, model: str, longest: _Longest, factors: tuple[Fraction, Fraction]) -> None:
    requests = f"{longest.count:,} request{'s'[: longest.count != 1]} of {longest.shortest:,} tokens or more"
    of_input, of_output = (f"{float(factor):g}" for factor in factors)
    text = f"{model}: {requests}, billed at {of_input} times the input and {of_output} times the output price"
    for key in [key for key, rest in amounts.rest.items() if key[:2] == (day, model) and rest]:
        amounts.take(key, amounts.rest[key], causes.PROMPT_LENGTH, text, amounts.evidence(key), longest.records)
