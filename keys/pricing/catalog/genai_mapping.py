"""Mapping of the prices of genai-prices to those of the gateway, exact: what cannot be mapped is named."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction

from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from keys.pricing.catalog.proposals import LABELS, ProposedModifier, ProposedPrice

MICROS = 1_000_000
TEN_THOUSANDTHS = 10_000
COLUMNS = {
    "input_mtok": "input_price",
    "output_mtok": "output_price",
    "cache_read_mtok": "cache_read_price",
    "cache_write_mtok": "cache_write_5m_price",
    "cache_write_5m_mtok": "cache_write_5m_price",
    "cache_write_1h_mtok": "cache_write_1h_price",
    "input_audio_mtok": "audio_input_price",
    "output_audio_mtok": "audio_output_price",
    "web_searches_kcount": "web_search_price",
}
"""Units of genai-prices by the column of the price. A later one replaces an earlier one."""
OUTPUT_COLUMNS = ("output_price", "audio_output_price")
INPUT_COLUMNS = tuple(name for name in LABELS if name not in (*OUTPUT_COLUMNS, "web_search_price"))
UNCOUNTED = {
    "storage_searches_kcount": "fees of file searches",
    "input_document_kpages": "prices of document pages",
    "input_annotated_document_kpages": "prices of annotated document pages",
}
"""Units of tools and endpoints that the gateway does not offer."""
DIMENSIONS = {"service_tier": "service_tier", "speed": "speed"}
NEUTRAL_VALUES = ("default", "standard", "auto")

Rates = dict[str, int]
"""Micro-dollars by column."""


class NotMappable(Exception):
    """A price that the gateway cannot express. The message names it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogPrice:
    """A price of the catalog from a day on."""

    since: date | None
    """None: not stated."""
    price: ProposedPrice | None
    """None: it cannot be mapped at all."""
    notes: tuple[str, ...] = ()
    """Parts of it that cannot be mapped."""
    is_complete: bool = True
    """Whether no request is priced too low for what the notes name: it does not occur, or makes it unpriced."""


def catalog_prices(model: ModelInfo, *, at: datetime) -> list[CatalogPrice]:
    """Return the price of a model that is valid at a time, and those that begin later."""
    entries = _entries(model)
    steps = [
        (position, _start(constraint), price)
        for position, (constraint, price) in enumerate(entries)
        if not isinstance(constraint, TimeOfDateConstraint)
    ]
    begun = [step for step in steps if step[1] is None or step[1] <= at.date()]
    chosen = begun[-1:] + [step for step in steps if step not in begun]
    return [_mapped(model, entries[position + 1 :], start, price, at=at) for position, start, price in chosen]


Constraint = StartDateConstraint | TimeOfDateConstraint | None


def _entries(model: ModelInfo) -> list[tuple[Constraint, ModelPrice]]:
    """Return the prices with their conditions. A later one takes precedence."""
    if isinstance(model.prices, ModelPrice):
        return [(None, model.prices)]
    return [(each.constraint, each.prices) for each in model.prices]


def _start(constraint: Constraint) -> date | None:
    return constraint.start_date if isinstance(constraint, StartDateConstraint) else None


def _mapped(
    model: ModelInfo,
    later: Iterable[tuple[Constraint, ModelPrice]],
    start: date | None,
    price: ModelPrice,
    *,
    at: datetime,
) -> CatalogPrice:
    day = max(at.date(), start or at.date())
    hours = [(each, prices) for each, prices in later if isinstance(each, TimeOfDateConstraint)]
    variants = [each for each in model.price_variants or () if (_start(each.constraint) or day) <= day]
    try:
        return _Mapper(price).mapped(start, hours=hours, variants=variants)
    except NotMappable as error:
        return CatalogPrice(since=start, price=None, notes=(str(error),), is_complete=False)


class _Mapper:
    """The mapping of one price with its variants."""

    def __init__(self, price: ModelPrice) -> None:
        self._price = price
        self._thresholds = sorted({tier.start for each in _tiered(price) for tier in each.tiers})
        self._notes: list[str] = []
        self._modifiers: list[ProposedModifier] = []
        self._is_complete = True

    def mapped(
        self,
        start: date | None,
        *,
        hours: Iterable[tuple[TimeOfDateConstraint, ModelPrice]],
        variants: Iterable[PriceVariant],
    ) -> CatalogPrice:
        rates = _rates(self._price)
        self._note_unknown_units()
        if not any(rates.values()):
            if not {"input_price", "output_price"} <= rates.keys():
                raise NotMappable("The catalog has no prices per token of it.")
            return self._result(start, ProposedPrice(rates={}, is_free=True))
        if not (rates.get("input_price") and rates.get("output_price")):
            raise NotMappable("The catalog has no input and output price of it.")
        for threshold in self._thresholds:
            self._add("prompt_over", str(threshold), _rates(self._price, over=threshold))
        self._add_hours(hours)
        for variant in variants:
            self._add_variant(variant)
        return self._result(start, ProposedPrice(rates=dict(rates), modifiers=tuple(self._modifiers)))

    def _result(self, start: date | None, price: ProposedPrice) -> CatalogPrice:
        return CatalogPrice(since=start, price=price, notes=tuple(self._notes), is_complete=self._is_complete)

    def _note_unknown_units(self) -> None:
        for unit in _values(self._price):
            if unit in UNCOUNTED:
                self._notes.append(f"Not included: {UNCOUNTED[unit]}.")
            elif unit not in COLUMNS:
                self._reject(f"Not mappable: the price of {unit}.")

    def _reject(self, note: str) -> None:
        self._notes.append(note)
        self._is_complete = False

    def _leave_unpriced(self, dimension: str, value: str, why: str) -> None:
        """Name a served value without a modifier. Requests with it are unpriced, so none is priced too low."""
        self._notes.append(f"Not mappable: {_name(dimension)} {value}: {why} Requests with it stay unpriced.")

    def _add(self, dimension: str, value: str, changed: Rates) -> None:
        """Add a modifier from the rates that apply under its condition."""
        try:
            modifier = _modifier(dimension, value, _rates(self._price), changed)
        except NotMappable as error:
            self._reject(f"Not mappable: {_name(dimension)} {value}: {error}")
            return
        if modifier is not None:
            self._modifiers.append(modifier)

    def _add_variant(self, variant: PriceVariant) -> None:
        [(name, value), *more] = variant.when.items()
        if (name, value) == ("processing", "batch"):
            name = "service_tier"
        if more or name not in DIMENSIONS:
            self._reject(f"Not mappable: {', '.join(f'{key} {each}' for key, each in variant.when.items())}.")
            return
        dimension = DIMENSIONS[name]
        try:
            modifier = self._modifier_at_each_length(dimension, value, variant.prices)
            if modifier is not None and value in NEUTRAL_VALUES:
                self._reject(f"Not mappable: {_name(dimension)} {value}: it is the price itself.")
                return
        except NotMappable as error:
            self._leave_unpriced(dimension, value, str(error))
            return
        if modifier is not None and modifier.key not in {each.key for each in self._modifiers}:
            self._modifiers.append(modifier)

    def _add_hours(self, hours: Iterable[tuple[TimeOfDateConstraint, ModelPrice]]) -> None:
        """Add one modifier for all hours with the same factors."""
        found: dict[tuple[Decimal, Decimal], list[str]] = {}
        for constraint, price in hours:
            ranges = _ranges(constraint)
            try:
                modifier = self._modifier_at_each_length("utc_hours", ",".join(ranges), price)
            except NotMappable as error:
                self._reject(f"Not mappable: hours {','.join(ranges)}: {error}")
                continue
            if modifier is not None:
                found.setdefault((modifier.input_factor, modifier.output_factor), []).extend(ranges)
        for (first, second), all_ranges in found.items():
            value = ",".join(sorted(all_ranges))
            self._modifiers.append(
                ProposedModifier(dimension="utc_hours", value=value, input_factor=first, output_factor=second)
            )

    def _modifier_at_each_length(self, dimension: str, value: str, changed: ModelPrice) -> ProposedModifier | None:
        """Return the modifier, whose factors must be the same for each prompt length."""
        modifier = _modifier(dimension, value, _rates(self._price), _rates(changed, known=self._price))
        for threshold in self._thresholds:
            standard = _rates(self._price, over=threshold)
            other = _modifier(dimension, value, standard, _rates(changed, known=self._price, over=threshold))
            if other != modifier:
                raise NotMappable(f"another factor for prompts over {threshold:,} tokens.")
        return modifier


def _name(dimension: str) -> str:
    return dimension.replace("_", " ")


def _values(price: ModelPrice) -> dict[str, Decimal | TieredPrices]:
    return {unit: value for unit, value in vars(price).items() if value is not None}


def _tiered(price: ModelPrice) -> Iterator[TieredPrices]:
    return (value for value in _values(price).values() if isinstance(value, TieredPrices))


def _rates(price: ModelPrice, *, known: ModelPrice | None = None, over: int = 0) -> Rates:
    """Return the rates for prompts over a number of tokens. Those that a variant does not have are those of `known`."""
    values = {**(_values(known) if known else {}), **_values(price)}
    found: Rates = {}
    for unit, column in COLUMNS.items():
        if unit in values:
            per_unit = 1000 if column == "web_search_price" else 1
            found[column] = _micros(_at(values[unit], over), per=per_unit, unit=unit)
    return found


def _at(value: Decimal | TieredPrices, over: int) -> Decimal:
    if not isinstance(value, TieredPrices):
        return value
    return next((tier.price for tier in reversed(value.tiers) if tier.start <= over), value.base)


def _micros(value: Decimal, *, per: int, unit: str) -> int:
    """Return dollars as micro-dollars. Raise NotMappable if they are not whole."""
    if not isinstance(value, Decimal) or not value.is_finite() or value < 0:
        raise NotMappable(f"{unit} {value} is no price.")
    micros = Fraction(value) * MICROS / per
    if micros.denominator != 1:
        raise NotMappable(f"{unit} {value} is not a whole number of micro-dollars.")
    return micros.numerator


def _modifier(dimension: str, value: str, standard: Mapping[str, int], changed: Rates) -> ProposedModifier | None:
    """Divide changed rates by standard ones. None: they are the same. Raise NotMappable."""
    if changed.keys() - standard.keys():
        names = sorted(LABELS[name] for name in changed.keys() - standard.keys())
        raise NotMappable(f"{', '.join(names)} has a price only there.")
    if standard.get("web_search_price") != changed.get("web_search_price"):
        raise NotMappable("another price of web searches.")
    first, second = (_factor(columns, standard, changed) for columns in (INPUT_COLUMNS, OUTPUT_COLUMNS))
    if first == second == 1:
        return None
    return ProposedModifier(dimension=dimension, value=value, input_factor=first, output_factor=second)


def _factor(columns: Iterable[str], standard: Mapping[str, int], changed: Rates) -> Decimal:
    """Return the factor that all rates of the columns have in common."""
    pairs = [(standard[name], changed[name]) for name in columns if name in standard]
    if any(not old and new for old, new in pairs):
        raise NotMappable("a price only there.")
    ratios = {Fraction(new, old) for old, new in pairs if old}
    if len(ratios) > 1:
        raise NotMappable(f"different factors ({', '.join(f'{float(each):g}' for each in sorted(ratios))}).")
    ratio = ratios.pop() if ratios else Fraction(1)
    if ratio <= 0 or (ratio * TEN_THOUSANDTHS).denominator != 1:
        raise NotMappable(f"the factor {ratio} has more than four decimals.")
    return Decimal((ratio * TEN_THOUSANDTHS).numerator).scaleb(-4)


def _ranges(constraint: TimeOfDateConstraint) -> list[str]:
    """Return the hours in UTC. Those past midnight are two ranges."""
    start, end = (_utc(each) for each in (constraint.start_time, constraint.end_time))
    if start < end:
        return [f"{start}-{end}"]
    ranges = [f"{start}-24:00", f"00:00-{end}"]
    return [each for each in ranges if each != "00:00-00:00"]


def _utc(moment: time) -> str:
    offset = moment.utcoffset()
    minutes = moment.hour * 60 + moment.minute - (int(offset.total_seconds()) // 60 if offset else 0)
    if moment.second or moment.microsecond:
        raise NotMappable("hours with seconds.")
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"
