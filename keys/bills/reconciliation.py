"""Reconciliation of an upstream's bills with the usage records: own sums, tokens, keys, amounts, and what remains.

On each day, the billed amount is what was recorded plus all causes plus what is unexplained, to the pico-dollar.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta

from keys.bills import generations, long_prompts, money_causes, request_causes, token_causes
from keys.bills.billed import Billed, KeyTokens, billed, own_keys_of, sum_by_cell
from keys.bills.causes import Item
from keys.bills.cells import Cell, Tokens, minus, plus, size
from keys.bills.derived_tokens import derived
from keys.bills.own import OwnFigures, own_figures
from keys.bills.own_sums import OwnSums, compare_own_sums
from keys.bills.token_causes import Matching, joined
from keys.bills.unit_prices import UnitPrices
from keys.models import Bill
from keys.pricing import price_book
from lib.pace import Pace, no_pace

DAY = timedelta(days=1)
MAX_REST = 100


@dataclass(slots=True)
class DayFigures:
    """Amounts of a day in pico-dollars."""

    day: date
    recorded: int
    billed: int
    causes: dict[str, int]
    unexplained: int


@dataclass(slots=True)
class Reconciliation:
    upstream: str
    first: date
    last: date
    bills: list[Bill]
    days: list[DayFigures]
    items: list[Item]
    unexplained_tokens: dict[Cell, Tokens] = field(default_factory=dict)
    own_sums: OwnSums | None = None
    own_keys: list[str] = field(default_factory=list)
    bill_keys: list[str] = field(default_factory=list)
    """The API keys at the provider that the bills name; "" for usage without a key."""
    are_keys_assumed: bool = False
    """No key was chosen as the gateway's: the one whose tokens match best is taken."""
    is_priced_by_gateway: bool = False
    """The bill has tokens only: its amounts are billed tokens times the gateway's prices."""
    requests: int = 0

    @property
    def recorded(self) -> int:
        return sum(day.recorded for day in self.days)

    @property
    def billed(self) -> int:
        return sum(day.billed for day in self.days)

    @property
    def unexplained(self) -> int:
        return sum(day.unexplained for day in self.days)

    @property
    def unexplained_in_both_directions(self) -> int:
        """The sum of the days' amounts without their signs: too much on one day does not cancel too little."""
        return sum(abs(day.unexplained) for day in self.days)

    @property
    def causes(self) -> dict[str, int]:
        totals: dict[str, int] = defaultdict(int)
        for day in self.days:
            for cause, picos in day.causes.items():
                totals[cause] += picos
        return dict(totals)

    @property
    def is_explained(self) -> bool:
        return not self.unexplained_tokens and not self.unexplained_in_both_directions


def reconcile(
    upstream: str, first: date, last: date, *, bill: Bill | None = None, pace: Pace = no_pace
) -> Reconciliation:
    """Compare what was billed with what was recorded in these UTC days, as far as bills cover them."""
    of_bills = billed(upstream, first, last, bill=bill)
    if any(each.format == Bill.Format.OPENROUTER_GENERATIONS for each in of_bills.amount_bills.values()):
        chosen = own_keys_of(upstream)
        compared = generations.match(upstream, of_bills, price_book.load(), set(chosen), pace)
        return _result(upstream, first, last, compared.matching)
    matching = _matching(upstream, of_bills, pace)
    assumed = _assumed_key(matching)
    chosen = own_keys_of(upstream)
    own_keys = chosen or ([assumed] if assumed else [])
    _explain_tokens(matching, set(own_keys))
    _explain_amounts(matching)
    result = _result(upstream, first, last, matching)
    result.own_keys, result.are_keys_assumed = own_keys, bool(assumed and not chosen)
    return result


def _matching(upstream: str, of_bills: Billed, pace: Pace) -> Matching:
    days = of_bills.days
    book = price_book.load()
    prices = UnitPrices(upstream, book)
    own = OwnFigures()
    if days:  # and the days around them: a request near midnight may be billed on either
        own = own_figures(upstream, days[0] - DAY, days[-1] + DAY, known=of_bills.known, book=book, pace=pace)
    prices.region = own.region
    for cell, figures in own.cells.items():
        prices.names.setdefault(cell.model, min(figures.names))
    for model, names in of_bills.names.items():
        prices.names.setdefault(model, min(names))
    return Matching(upstream, own, of_bills, prices, set(days))


def _assumed_key(matching: Matching) -> str:
    """Return the key whose tokens are closest to the recorded ones, if it is closer than all keys together."""
    of_bills = matching.billed
    if len(of_bills.keys) == 1:
        return next(iter(of_bills.keys))
    distances = {
        key: _distance(matching, [each for each in of_bills.tokens if each.provider_key == key])
        for key in sorted(of_bills.keys)
    }
    best = min(distances, key=lambda key: distances[key], default="")
    return best if best and distances[best] < _distance(matching, of_bills.tokens) else ""


def _distance(matching: Matching, tokens: list[KeyTokens]) -> int:
    """Return how far tokens are from the recorded ones, by day and model alone: facts may differ for other causes."""
    days = matching.billed.token_bills
    found: dict[tuple[date, str], Tokens] = {}
    for cell, billed_tokens in sum_by_cell(tokens).items():
        key = cell.day, cell.model
        found[key] = plus(found.get(key, {}), billed_tokens)
    for cell, own in matching.own.cells.items():
        if cell.day in days:
            key = cell.day, cell.model
            found[key] = minus(found.get(key, {}), own.tokens)
    return sum(map(size, found.values()))


def _explain_tokens(matching: Matching, own_keys: set[str]) -> None:
    of_bills, own = matching.billed, matching.own
    if of_bills.token_bills:
        mine = sum_by_cell(token_causes.foreign_keys(matching, own_keys))
        recorded = {cell: each.tokens for cell, each in own.cells.items() if cell.day in of_bills.token_bills}
        differences = {cell: minus(mine.get(cell, {}), recorded.get(cell, {})) for cell in {*mine, *recorded}}
    else:
        days = set(of_bills.amount_bills)
        within = OwnFigures({cell: each for cell, each in own.cells.items() if cell.day in days})
        differences = derived(of_bills.amounts, within, matching.prices)
    matching.rest = {cell: tokens for cell, tokens in sorted(differences.items()) if tokens}
    found = -1
    while found < len(matching.items):  # one of them may show another in the same cell
        found = len(matching.items)
        token_causes.moved_dimensions(matching)
        token_causes.moved_days(matching)
        token_causes.write_lifetimes(matching)
    request_causes.refusals(matching)
    request_causes.failed_attempts(matching)
    request_causes.estimates(matching)
    request_causes.late_data(matching)
    request_causes.missing_records(matching)


def _explain_amounts(matching: Matching) -> None:
    money_causes.aliases(matching)
    if not matching.billed.amount_bills:
        return
    amounts = money_causes.compare(matching)
    money_causes.fees(amounts)
    money_causes.byok(amounts)
    money_causes.discounts(amounts)
    money_causes.unpriced(amounts)
    money_causes.prompt_length(amounts)
    long_prompts.long_prompts(amounts)
    money_causes.wrong_prices(amounts)
    money_causes.rounding(amounts)


def _result(upstream: str, first: date, last: date, matching: Matching) -> Reconciliation:
    of_bills = matching.billed
    by_cause: dict[date, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for item in matching.items:
        for (day, _, _), picos in item.parts.items():
            by_cause[day][item.cause] += picos
    days = [_day(matching, day, dict(by_cause[day])) for day in of_bills.days]
    keys = {each.provider_key for each in of_bills.tokens} if of_bills.keys else set()
    own_days = {cell: own for cell, own in matching.own.cells.items() if cell.day in matching.days}
    return Reconciliation(
        upstream=upstream,
        first=days[0].day if days else first,
        last=days[-1].day if days else last,
        bills=of_bills.bills,
        days=days,
        items=matching.items,
        unexplained_tokens=dict(sorted(matching.rest.items())[:MAX_REST]),
        own_sums=compare_own_sums(upstream, days[0].day, days[-1].day) if days else None,
        bill_keys=sorted(keys),
        is_priced_by_gateway=not of_bills.amount_bills,
        requests=sum(own.requests for own in own_days.values()),
    )


def _day(matching: Matching, day: date, causes: dict[str, int]) -> DayFigures:
    """Return the figures of a day. Without amounts, what was billed is what the billed tokens cost."""
    recorded, explained = matching.own.picos_of(day), sum(causes.values())
    if day in matching.billed.amount_bills:
        billed = matching.billed.picos_of(day)
        return DayFigures(day, recorded, billed, causes, billed - recorded - explained)
    rest = [matching.parts(tokens, cell) for cell, tokens in matching.rest.items() if cell.day == day]
    unexplained = sum(joined(rest).values())
    return DayFigures(day, recorded, recorded + explained + unexplained, causes, unexplained)
