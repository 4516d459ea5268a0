"""
Export for finance in the FOCUS 1.2 format (FinOps Open Cost and Usage Specification).

One row for each day of the reporting time zone, API key, model of an upstream, and kind of token that has a price.
`ConsumedQuantity` times `ContractedUnitPrice` is exactly the cost wherever one price applied to the whole row; elsewhere
the unit price is empty. Days whose records are purged have one row for all kinds, from the hourly rollups.
Requests without a price cost 0 here and are counted in `x_UnpricedRequests`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Q, Sum

from keys.explore import records
from keys.explore.intervals import Interval, local, midnight
from keys.explore.question import Question
from keys.exports.subjects import Subjects
from keys.exports.tables import Column, ExportTable, Kind, texts
from keys.models import UsageRecord
from keys.models.usage import parts_of
from lib import money, periods

SERVICE_CATEGORY = "AI and Machine Learning"
SERVICE_SUBCATEGORY = "Generative AI"


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
    Column(name="BilledCost", kind=Kind.USD),
    *texts("BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart"),
    *texts("ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd"),
    *texts("ChargePeriodStart"),
    Column(name="ConsumedQuantity", kind=Kind.COUNT),
    *texts("ConsumedUnit"),
    Column(name="ContractedCost", kind=Kind.USD),
    Column(name="ContractedUnitPrice", kind=Kind.USD),
    Column(name="EffectiveCost", kind=Kind.USD),
    *texts("InvoiceIssuerName"),
    Column(name="ListCost", kind=Kind.USD),
    Column(name="ListUnitPrice", kind=Kind.USD),
    *texts("PricingCategory"),
    Column(name="PricingQuantity", kind=Kind.COUNT),
    *texts("PricingUnit", "ProviderName", "PublisherName", "ResourceId", "ResourceName", "ResourceType"),
    *texts("ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SubAccountId"),
    *texts("SubAccountName", "Tags", "x_Owner"),
    Column(name="x_Requests", kind=Kind.COUNT),
    Column(name="x_UnpricedRequests", kind=Kind.COUNT),
)
NO_UPSTREAM = "No upstream"
_GROUP = ("api_key_id", "team_id", "owner_id", "upstream", "upstream_model", "price_factor")


def focus_table(question: Question, *, query: Mapping[str, str]) -> ExportTable:
    """Return the charges of the requests that a question counts, day by day. Two queries a day."""
    return ExportTable(name="focus", query=query, columns=COLUMNS, rows=_rows(question))


def _rows(question: Question) -> Iterator[tuple[Any, ...]]:
    subjects = Subjects()
    for day in _days(question.interval):
        settled = records.matching(question).filter(
            ~Q(status=UsageRecord.Status.REJECTED),
            settled_at__isnull=False,
            created_at__gte=day.begin,
            created_at__lt=day.end,
        )
        for group in _sums(settled):
            for charge in _charges(group):
                found = _columns(charge, group, day, subjects)
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
    meter: Meter
    quantity: int
    picos: int


def _charges(group: Mapping[str, Any]) -> Iterator[Charge]:
    """Yield the meters that were used. A group without any has one row, so that its requests are counted."""
    found = []
    for meter in METERS:
        quantity = sum(group[f"sum_{name}"] for name in meter.quantities)
        micros, rest = (group[f"sum_{part}"] for part in parts_of(meter.cost))
        picos = money.join(micros, rest)
        if quantity or picos:
            found.append(Charge(meter=meter, quantity=quantity, picos=picos))
    yield from found or [Charge(meter=METERS[0], quantity=0, picos=0)]


def _columns(charge: Charge, group: Mapping[str, Any], day: Interval, subjects: Subjects) -> dict[str, Any]:
    key_id, team_id = group["api_key_id"], group["team_id"]
    public_id, key_name, team, owner = subjects.names(key_id, team_id, group["owner_id"])
    upstream = group["upstream"] or NO_UPSTREAM
    model = group["upstream_model"] or upstream
    is_first = charge.meter is next(_charges(group)).meter
    month = [periods.begin_of("month", day.begin), periods.end_of("month", periods.begin_of("month", day.begin))]
    list_picos = _list_picos(charge.picos, group["price_factor"])
    return {
        "BilledCost": charge.picos,
        "BillingAccountId": upstream,
        "BillingAccountName": upstream,
        "BillingCurrency": "USD",
        "BillingPeriodEnd": _utc(month[1]),
        "BillingPeriodStart": _utc(month[0]),
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": f"{charge.meter.name} of {model}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": _utc(day.end),
        "ChargePeriodStart": _utc(day.begin),
        "ConsumedQuantity": charge.quantity,
        "ConsumedUnit": charge.meter.unit,
        "ContractedCost": charge.picos,
        "ContractedUnitPrice": _unit_price(charge.picos, charge.quantity),
        "EffectiveCost": charge.picos,
        "InvoiceIssuerName": upstream,
        "ListCost": list_picos,
        "ListUnitPrice": _unit_price(list_picos, charge.quantity),
        "PricingCategory": "Standard",
        "PricingQuantity": charge.quantity,
        "PricingUnit": charge.meter.unit,
        "ProviderName": upstream,
        "PublisherName": upstream,
        "ResourceId": public_id,
        "ResourceName": key_name,
        "ResourceType": "API key",
        "ServiceCategory": SERVICE_CATEGORY,
        "ServiceName": model,
        "ServiceSubcategory": SERVICE_SUBCATEGORY,
        "SkuId": f"{model}/{charge.meter.name.lower().replace(' ', '_')}",
        "SkuMeter": charge.meter.name,
        "SubAccountId": str(team_id) if team_id else None,
        "SubAccountName": team or None,
        "Tags": json.dumps(subjects.all_metadata(key_id), ensure_ascii=False, sort_keys=True),
        "x_Owner": owner or None,
        # Of the group, in its first row only, so that both columns add up.
        "x_Requests": group["requests"] if is_first else 0,
        "x_UnpricedRequests": group["unpriced"] if is_first else 0,
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


def columns_of(row: Sequence[Any]) -> dict[str, Any]:
    """Return a row by the names of its columns."""
    return {column.name: value for column, value in zip(COLUMNS, row, strict=True)}
