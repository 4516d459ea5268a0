"""
Export for finance in the FOCUS 1.2 format (FinOps Open Cost and Usage Specification).

One row for each day of the reporting time zone, API key, model of an upstream, and kind of token that has a price.
`ConsumedQuantity` times `ContractedUnitPrice` is exactly the cost wherever one price applied to the whole row;
elsewhere the unit price is empty. Charges are read from records: days whose records are purged have none. Requests
without a price cost 0 here and are counted in `x_UnpricedRequests`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Q, Sum

from keys.explore import records
from keys.explore.intervals import Interval, local, midnight
from keys.explore.question import Question
from keys.exports.subjects import Subjects
from keys.exports.tables import Column, ExportTable, ValueType, texts
from keys.models import UsageRecord
from keys.models.usage import parts_of
from lib import money, periods


@dataclass(frozen=True, kw_only=True, slots=True)
class Meter:
    """A kind of usage that has a price of its own: the columns of usage records with its quantity and its cost."""

    name: str
    quantities: tuple[str, ...]
    cost: str
    unit: str = "Tokens"


METERS = (
    Meter(name="Input tokens", quantities=("input_tokens",), cost="input_cost_usd_picos"),
    Meter(name="Output tokens", quantities=("output_tokens",), cost="output_cost_usd_picos"),
    Meter(name="Cache read tokens", quantities=("cache_read_tokens",), cost="cache_read_cost_usd_picos"),
    Meter(
        name="Cache write tokens",
        quantities=("cache_write_5m_tokens", "cache_write_1h_tokens"),
        cost="cache_write_cost_usd_picos",
    ),
    Meter(name="Web searches", quantities=("web_searches",), cost="item_cost_usd_picos", unit="Requests"),
)
COLUMNS: tuple[Column, ...] = (
    Column(name="BilledCost", type=ValueType.USD),
    *texts("BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart"),
    *texts("ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd"),
    *texts("ChargePeriodStart"),
    Column(name="ConsumedQuantity", type=ValueType.COUNT),
    *texts("ConsumedUnit"),
    Column(name="ContractedCost", type=ValueType.USD),
    Column(name="ContractedUnitPrice", type=ValueType.USD),
    Column(name="EffectiveCost", type=ValueType.USD),
    *texts("InvoiceIssuerName"),
    Column(name="ListCost", type=ValueType.USD),
    Column(name="ListUnitPrice", type=ValueType.USD),
    *texts("PricingCategory"),
    Column(name="PricingQuantity", type=ValueType.COUNT),
    *texts("PricingUnit", "ProviderName", "PublisherName", "ResourceId", "ResourceName", "ResourceType"),
    *texts("ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SubAccountId"),
    *texts("SubAccountName", "Tags", "x_Owner"),
    Column(name="x_Requests", type=ValueType.COUNT),
    Column(name="x_UnpricedRequests", type=ValueType.COUNT),
)
NO_UPSTREAM = "No upstream"
_CONSTANTS: dict[str, str | None] = {
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "ChargeClass": None,
    "ChargeFrequency": "Usage-Based",
    "PricingCategory": "Standard",
    "ResourceType": "API key",
    "ServiceCategory": "AI and Machine Learning",
    "ServiceSubcategory": "Generative AI",
}
_OF_UPSTREAM = ("BillingAccountId", "BillingAccountName", "InvoiceIssuerName", "ProviderName", "PublisherName")
_COUNTED = ("x_Requests", "x_UnpricedRequests")
_GROUP = ("api_key_id", "team_id", "owner_id", "upstream", "upstream_model", "price_factor")


def focus_table(question: Question, *, query: Mapping[str, str]) -> ExportTable:
    """Return the charges of the requests that a question counts, day by day. Two queries a day."""
    return ExportTable(name="focus", query=query, columns=COLUMNS, rows=_rows(question))


def _rows(question: Question) -> Iterator[tuple[Any, ...]]:
    subjects = Subjects(teams=question.teams)
    for day in _days(question.interval):
        settled = records.matching(question).filter(
            ~Q(status=UsageRecord.Status.REJECTED),
            settled_at__isnull=False,
            created_at__gte=day.begin,
            created_at__lt=day.end,
        )
        for group in _sums(settled):
            for i, charge in enumerate(_charges(group)):
                # The requests of the group, in its first row only, so that both columns add up.
                counted = (group["requests"], group["unpriced"]) if i == 0 else (0, 0)
                found = _of_charge(charge) | _of_group(group, subjects) | _of_day(day)
                found |= _named(charge, group) | dict(zip(_COUNTED, counted, strict=True))
                yield tuple(found[column.name] for column in COLUMNS)


def _days(interval: Interval) -> Iterator[Interval]:
    """Yield the days of the reporting time zone, those at both ends as far as they are in the interval."""
    begin = interval.begin
    while begin < interval.end:
        end = min(interval.end, midnight(local(begin).date() + timedelta(days=1)))
        if end > begin:
            yield Interval(begin=begin, end=end)
        begin = end


def _sums(settled: Any) -> Any:
    sums: dict[str, Any] = {
        "requests": Count("pk"),
        "unpriced": Count("pk", filter=Q(cost_usd_picos=None)),
    }
    for meter in METERS:
        for name in meter.quantities:
            sums[f"sum_{name}"] = Sum(name, default=0)
        for part, expression in parts_of(meter.cost).items():
            sums[f"sum_{part}"] = Sum(expression, default=0)
    return settled.values(*_GROUP).annotate(**sums).order_by(*(F(name) for name in _GROUP))


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """What requests used of a meter, and its cost with and without the factor negotiated with the upstream."""

    meter: Meter
    quantity: int
    picos: int
    list_picos: int


def _charges(group: Mapping[str, Any]) -> list[Charge]:
    """Return the meters that were used. A group without any has one row, so that its requests are counted."""
    found = []
    for meter in METERS:
        quantity = sum(group[f"sum_{name}"] for name in meter.quantities)
        micros, rest = (group[f"sum_{part}"] for part in parts_of(meter.cost))
        picos = money.join(micros, rest)
        if quantity or picos:
            list_picos = _list_picos(picos, group["price_factor"])
            found.append(Charge(meter=meter, quantity=quantity, picos=picos, list_picos=list_picos))
    return found or [Charge(meter=METERS[0], quantity=0, picos=0, list_picos=0)]


def _of_charge(charge: Charge) -> dict[str, Any]:
    return {
        "BilledCost": charge.picos,
        "ConsumedQuantity": charge.quantity,
        "ConsumedUnit": charge.meter.unit,
        "ContractedCost": charge.picos,
        "ContractedUnitPrice": _unit_price(charge.picos, charge.quantity),
        "EffectiveCost": charge.picos,
        "ListCost": charge.list_picos,
        "ListUnitPrice": _unit_price(charge.list_picos, charge.quantity),
        "PricingQuantity": charge.quantity,
        "PricingUnit": charge.meter.unit,
        "SkuMeter": charge.meter.name,
        **_CONSTANTS,
    }


def _of_day(day: Interval) -> dict[str, Any]:
    month = periods.begin_of("month", day.begin)
    return {
        "BillingPeriodEnd": _utc(periods.end_of("month", month)),
        "BillingPeriodStart": _utc(month),
        "ChargePeriodEnd": _utc(day.end),
        "ChargePeriodStart": _utc(day.begin),
    }


def _of_group(group: Mapping[str, Any], subjects: Subjects) -> dict[str, Any]:
    public_id, key_name, team, owner = subjects.names(group["api_key_id"], group["team_id"], group["owner_id"])
    return {
        **dict.fromkeys(_OF_UPSTREAM, group["upstream"] or NO_UPSTREAM),
        "ResourceId": public_id,
        "ResourceName": key_name,
        "SubAccountId": str(group["team_id"]) if group["team_id"] else None,
        "SubAccountName": team or None,
        "Tags": json.dumps(subjects.all_metadata(group["api_key_id"]), ensure_ascii=False, sort_keys=True),
        "x_Owner": owner or None,
    }


def _named(charge: Charge, group: Mapping[str, Any]) -> dict[str, Any]:
    model = group["upstream_model"] or group["upstream"] or NO_UPSTREAM
    return {
        "ChargeDescription": f"{charge.meter.name} of {model}",
        "ServiceName": model,
        "SkuId": f"{model}/{charge.meter.name.lower().replace(' ', '_')}",
    }


def _list_picos(picos: int, factor: Decimal | None) -> int:
    """Return the cost without the factor negotiated with the upstream."""
    if not factor:
        return picos
    numerator, denominator = factor.as_integer_ratio()
    return picos * denominator // numerator


def _unit_price(picos: int, quantity: int) -> int | None:
    """Return the price of one unit if it is exact; else None: several prices applied."""
    return picos // quantity if quantity and picos % quantity == 0 else None


def _utc(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
