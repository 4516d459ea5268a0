"""Causes of differing amounts once the tokens are explained. What remains of a day is unexplained, never spread."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

from keys.bills import causes
from keys.bills.billed import Amount, positions
from keys.bills.causes import ALL, BillLines, Item, evidence
from keys.bills.cells import GROUPS, canonical
from keys.bills.lines import Kind
from keys.bills.own import OwnCell
from keys.bills.token_causes import Matching, joined
from lib import money

ADJUSTMENTS = {Kind.DISCOUNT, Kind.CREDIT, Kind.TAX}
FEES = {Kind.CODE_EXECUTION, Kind.SESSION, Kind.OTHER}
OBSERVATIONS = 2
"""Amounts with the same factor that make a wrong price: one alone would explain anything."""

Key = tuple[date, str, str]
"""Day, model and part of the cost. The model is "" where the bill has none."""


@dataclass(slots=True)
class Amounts:
    """Differences of amounts by day, model and part of the cost, while causes are taken out of them."""

    matching: Matching
    lines: list[Amount]
    has_models: bool = True
    has_groups: bool = True
    own: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    rest: dict[Key, int] = field(default_factory=lambda: defaultdict(int))

    def key(self, day: date, model: str, kind: str) -> Key:
        group = GROUPS.get(Kind(kind), ALL) if self.has_groups else ALL
        if group == "item":
            return day, "", "item"
        return day, model if self.has_models else "", group

    def take(self, key: Key, picos: int, cause: str, text: str, lines: list[BillLines], records: list[str]) -> None:
        """Explain a part of a difference."""
        if picos:
            self.rest[key] -= picos
            self.matching.items.append(Item(cause, text, {key: picos}, records=records, lines=lines))

    def evidence(self, key: Key) -> list[BillLines]:
        found = [each for each in self.lines if self.key(each.day, each.model, each.kind) == key]
        return _evidence(found)


def _evidence(amounts: list[Amount]) -> list[BillLines]:
    shown = [(each.bill, *positions(each.bill, each.where)) for each in amounts[: causes.MAX_EVIDENCE]]
    if not shown:
        return []
    first = [position for _, found, _ in shown for position in found][: causes.MAX_EVIDENCE]
    return [evidence(shown[0][0], first, sum(count for *_, count in shown))]


def compare(matching: Matching) -> Amounts:
    """Return the differences: billed amounts minus recorded costs minus what the causes of tokens add."""
    lines = matching.billed.amounts
    in_tokens = [each for each in lines if each.kind not in ADJUSTMENTS | FEES and each.kind != Kind.WEB_SEARCH]
    amounts = Amounts(
        matching,
        lines,
        has_models=all(each.model for each in in_tokens),
        has_groups=all(each.kind != Kind.ALL_TOKENS for each in in_tokens),
    )
    for each in lines:
        if each.kind in ADJUSTMENTS | FEES:
            continue
        amounts.rest[amounts.key(each.day, each.model, each.kind)] += each.picos
    for cell, own in matching.own.cells.items():
        if cell.day in matching.billed.amount_bills:
            _subtract(amounts, cell.day, cell.model, own)
    for (day, model, group), picos in joined(item.parts for item in matching.items).items():
        if day in matching.billed.amount_bills:
            amounts.rest[_regrouped(amounts, day, model, group)] -= picos
    return amounts


def _subtract(amounts: Amounts, day: date, model: str, own: OwnCell) -> None:
    for group, picos in own.picos.items():
        key = _regrouped(amounts, day, model, group)
        amounts.own[key] += picos
        amounts.rest[key] -= picos


def _regrouped(amounts: Amounts, day: date, model: str, group: str) -> Key:
    if group == "item" and (amounts.has_groups or any(each.kind == Kind.WEB_SEARCH for each in amounts.lines)):
        return day, "", "item"
    return day, model if amounts.has_models else "", group if amounts.has_groups else ALL


# ---- In order.


def fees(amounts: Amounts) -> None:
    """Explain lines without tokens: sessions, code execution, and searches beyond the recorded ones."""
    for each in amounts.lines:
        if each.kind in FEES and each.picos:
            _append(amounts, causes.FEE, each)
        if each.kind in ADJUSTMENTS and each.picos:
            _append(amounts, causes.DISCOUNT, each)
    for key, picos in list(amounts.rest.items()):
        if key[2] == "item" and picos > 0 and not _rounds(amounts, key):
            text = f"web searches: {money.exact(picos)} beyond the recorded ones"
            amounts.take(key, picos, causes.WEB_SEARCH, text, amounts.evidence(key), [])


def _append(amounts: Amounts, cause: str, line: Amount) -> None:
    text = f"{Kind(line.kind).label}: {money.exact(line.picos)}"
    parts = {(line.day, line.model, str(line.kind)): line.picos}
    amounts.matching.items.append(Item(cause, text, parts, lines=_evidence([line])))


def unpriced(amounts: Amounts) -> None:
    """Explain the whole difference of a day and model whose requests have no price: only the bill knows their cost."""
    days = {(cell.day, cell.model) for cell, own in amounts.matching.own.cells.items() if own.unpriced}
    days |= amounts.matching.unpriced_days
    for key, picos in list(amounts.rest.items()):
        models = {model for day, model in days if day == key[0] and key[1] in (model, "")}
        if models and picos > 0:
            text = f"{', '.join(sorted(models))}: requests or tokens without a price"
            amounts.take(key, picos, causes.UNPRICED, text, amounts.evidence(key), _unpriced_records(amounts, key))


def _unpriced_records(amounts: Amounts, key: Key) -> list[str]:
    cells = [cell for cell in amounts.matching.own.cells if cell.day == key[0] and key[1] in (cell.model, "")]
    rows = [row for cell in cells for row in amounts.matching.records(cell, cost_usd_picos=None)]
    return [row["id"] for row in rows[: causes.MAX_EVIDENCE]]


def discounts(amounts: Amounts) -> None:
    """Explain amounts below the list amounts, where the records are rated without a negotiated factor."""
    book, upstream = amounts.matching.prices.book, amounts.matching.upstream
    if book.factors.get(upstream):
        return
    found: dict[Key, list[Amount]] = defaultdict(list)
    for each in amounts.lines:
        if each.listed is not None and each.listed != each.picos and each.kind not in ADJUSTMENTS | FEES:
            found[amounts.key(each.day, each.model, each.kind)].append(each)
    for key, lines in found.items():
        picos = sum(each.picos - (each.listed or 0) for each in lines)
        text = f"{key[1] or 'all models'}: billed {money.exact(-picos)} below the list price"
        amounts.take(key, picos, causes.DISCOUNT, text, _evidence(lines), [])


def byok(amounts: Amounts) -> None:
    """Explain requests with a key of another provider: the bill has a fee, and the other provider's bill the rest."""
    for key in {amounts.key(each.day, each.model, each.kind) for each in amounts.lines if each.is_byok}:
        text = f"{key[1] or 'all models'}: requests with a key of another provider, whose bill has their cost"
        amounts.take(key, amounts.rest[key], causes.BYOK, text, amounts.evidence(key), [])


def prompt_length(amounts: Amounts) -> None:
    """Explain missing requests that were billed at the price of long prompts."""
    for item in [each for each in amounts.matching.items if each.if_long and each.if_long != each.picos]:
        day = next(iter(item.parts))[0]
        keys = [key for key, rest in amounts.rest.items() if key[0] == day and rest and key[2] != "item"]
        if keys and sum(amounts.rest[key] for key in keys) == item.if_long - item.picos:
            for key in keys:
                text = f"{item.text}: billed at the price of long prompts"
                amounts.take(key, amounts.rest[key], causes.PROMPT_LENGTH, text, item.lines, [])


def wrong_prices(amounts: Amounts) -> None:
    """Explain amounts that differ by one factor since a day, while the tokens agree."""
    by_price: dict[tuple[str, str], dict[date, Fraction]] = defaultdict(dict)
    for key in amounts.own:
        if amounts.own[key] and key[2] != "item":
            by_price[key[1], key[2]][key[0]] = Fraction(amounts.own[key] + amounts.rest[key], amounts.own[key])
    steady = {price: since for price, factors in by_price.items() if (since := _steady_since(factors))}
    observations: dict[tuple[str, Fraction], int] = defaultdict(int)
    for (model, _), (_, factor, days) in steady.items():
        observations[model, factor] += days
    for (model, group), (first, factor, days) in steady.items():
        if days < OBSERVATIONS and observations[model, factor] < OBSERVATIONS:
            continue
        subject = f"{model or 'all models'}, {group.replace('_', ' ')}"
        text = f"{subject}: billed at {_shown(factor)} times the recorded price since {first}"
        for day in by_price[model, group]:
            key = day, model, group
            if day >= first and not _has_rest_tokens(amounts, day, model):
                amounts.take(key, amounts.rest[key], causes.PRICE, text, amounts.evidence(key), [])


def _steady_since(factors: dict[date, Fraction]) -> tuple[date, Fraction, int] | None:
    """Return since which day the factor is the same up to the last day, the factor, and the number of such days."""
    days = sorted(factors, reverse=True)
    factor = factors[days[0]]
    if factor == 1 or factor < 0:
        return None
    same = [day for day in days if factors[day] == factor]
    run = days[: len(same)]
    return (min(same), factor, len(same)) if run == same else None


def _shown(factor: Fraction) -> str:
    return f"{float(factor):.6g}"


def _has_rest_tokens(amounts: Amounts, day: date, model: str) -> bool:
    return any(cell.day == day and model in (cell.model, "") for cell in amounts.matching.rest)


def rounding(amounts: Amounts) -> None:
    """Explain what the rounding of the bill's lines can amount to. A bill in cents has half a cent per line."""
    for day in sorted({key[0] for key in amounts.rest}):
        keys = [key for key, picos in amounts.rest.items() if key[0] == day and picos]
        lines = [each for each in amounts.lines if each.day == day]
        bound = sum((each.tolerance + 1) // 2 for each in lines)
        picos = sum(amounts.rest[key] for key in keys)
        if picos and abs(picos) <= bound and all(_rounds(amounts, key) for key in keys):
            text = f"{sum(each.lines for each in lines):,} lines, rounded by at most {money.exact(bound)} together"
            parts = {key: amounts.rest.pop(key) for key in keys}
            amounts.matching.items.append(Item(causes.ROUNDING, text, parts, lines=_evidence(lines[:1])))


def _rounds(amounts: Amounts, key: Key) -> bool:
    found = [each for each in amounts.lines if amounts.key(each.day, each.model, each.kind) == key]
    return abs(amounts.rest[key]) <= sum((each.tolerance + 1) // 2 for each in found)


def aliases(matching: Matching) -> None:
    """Name models that the bill and the records name differently. It changes no amount."""
    for model, billed in matching.billed.names.items():
        recorded = {name for cell, own in matching.own.cells.items() if cell.model == model for name in own.names}
        if recorded and billed and model and not recorded & billed and canonical(model) == model:
            first = min(cell.day for cell in matching.own.cells if cell.model == model)
            text = f"billed as {', '.join(sorted(billed))}, recorded as {', '.join(sorted(recorded))}"
            matching.items.append(Item(causes.ALIAS, text, {(first, model, ALL): 0}))
