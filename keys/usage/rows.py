"""Usage records as rows: what the ledger knows of a request, as columns."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any

from django.utils import timezone

from keys.budgets.reservations import Reservation, ReservationRequest
from keys.domain.limits import BudgetStanding, LimitExceeded, budget_headers
from keys.models import UsageRecord
from keys.models.usage import AMOUNT_COLUMNS, BILLED_TOKEN_COLUMNS, TOKEN_COLUMNS
from keys.pricing.price_book import PriceBook
from keys.pricing.rating import rate
from keys.usage import column_values, figures_checksum
from keys.usage.column_values import UnfitRecord
from lib import money

Status = UsageRecord.Status
UsageSource = UsageRecord.UsageSource
Row = dict[str, Any]
"""A usage record by column."""

LONGEST_LEASE_S = 10.0**9  # a timeout of an upstream may be any number


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """What is known of a request before the upstream is contacted."""

    id: str
    """The request ID."""
    api_key_id: int
    secret_id: int
    api_format: str
    model: str
    streamed: bool
    estimated_input_tokens: int | None
    team_id: int | None = None
    """The team of the key now: the record keeps it when the key moves."""
    owner_id: int | None = None
    lease_s: float
    """How long the record may stay open before it is orphaned."""
    upstream: str = ""
    upstream_model: str = ""
    """The first target. An interrupted request is priced with it."""
    speed: str = ""
    """What the request asks the first target for: speed, service tier, geography, and the region of its base URL."""
    service_tier: str = ""
    inference_geo: str = ""
    region: str = ""
    client_ip: str | None = None
    client_request_id: str = ""
    user_agent: str = ""
    session_id: str = ""
    agent_id: str = ""
    parent_agent_id: str = ""
    request_class: str = ""
    tags: dict[str, str] | None = None
    limit_exceeded: LimitExceeded | None = None
    """The limit that rejects the request, or would outside shadow mode."""
    created_at: datetime = field(default_factory=timezone.now)
    reservation_requests: Sequence[ReservationRequest] = ()
    """What the request must reserve of each budget. It is rejected if one lacks the amount."""
    reservations: list[Reservation] = field(default_factory=list, compare=False)
    """What it has reserved, once it is admitted."""
    standings: list[BudgetStanding] = field(default_factory=list, compare=False)
    """How much of its budgets was spent when it was admitted."""

    @property
    def headers(self) -> dict[str, str]:
        """Response headers about its budgets."""
        return budget_headers(self.standings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """The outcome of a request. Token counts are None where they are unknown."""

    status: str
    http_status: int | None = None
    error_type: str = ""
    error_reason: str = ""
    """Of a failed request: lib.failure_reasons."""
    stop_reason: str = ""
    upstream: str = ""
    upstream_model: str = ""
    upstream_request_id: str = ""
    message_id: str = ""
    attempts: list[dict[str, Any]] = field(default_factory=list)
    served_model: str = ""
    """What was served: of the response, else of the request."""
    speed: str = ""
    service_tier: str = ""
    inference_geo: str = ""
    region: str = ""
    refusal_category: str = ""
    refused_before_output: bool = False
    iterations: list[dict[str, Any]] | None = None
    """The samplings of the response, which add up to its tokens."""
    usage_object: dict[str, Any] | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    thinking_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    web_searches: int | None = None
    vendor_cost_usd_picos: int | None = None
    """As the upstream reports it."""
    cost_usd_picos: int | None = None
    """None: the model has no price."""
    input_cost_usd_picos: int | None = None
    output_cost_usd_picos: int | None = None
    cache_read_cost_usd_picos: int | None = None
    cache_write_cost_usd_picos: int | None = None
    item_cost_usd_picos: int | None = None
    cache_savings_usd_picos: int | None = None
    unpriced_reason: str = ""
    """Why there is no cost: keys.pricing.rating."""
    price_id: int | None = None
    other_prices: dict[str, int] | None = None
    price_factor: Decimal | None = None
    usage_source: str = UsageSource.NONE
    is_model_known: bool = True
    """Whether the hourly rollups have the model's name."""
    ttft_ms: int | None = None
    duration_ms: int | None = None
    added_us: int | None = None

    @property
    def tokens(self) -> int:
        """All tokens that the request used. Unknown counts are 0."""
        return column_values.total_tokens([getattr(self, name) for name in BILLED_TOKEN_COLUMNS])


TIMESTAMPS = ("created_at", "settled_at", "lease_expires_at")
CLOSING = tuple(item.name for item in fields(Settlement))
"""The columns that are known at settlement, besides its time."""
_COLUMNS = [column.attname for column in UsageRecord._meta.concrete_fields]
_NOT_COLUMNS = ("lease_s", "reservation_requests", "reservations", "standings")
_OPENING = [item.name for item in fields(Admission) if item.name not in _NOT_COLUMNS]
_opening_values, _closing_values = attrgetter(*_OPENING), attrgetter(*CLOSING)
_FIGURES = (*TOKEN_COLUMNS, "web_searches", *AMOUNT_COLUMNS)
_COUNTED = ("is_model_known", "upstream", "upstream_model", "usage_source", *_FIGURES)
"""The columns of an interrupted request that rollups and budgets count, and those that explain its cost."""


def opening(admission: Admission, *, boot_id: str) -> Row:
    """Return the columns that are known at admission."""
    row = dict(zip(_OPENING, _opening_values(admission), strict=True))
    lease_s = admission.lease_s if admission.lease_s < LONGEST_LEASE_S else LONGEST_LEASE_S
    row["lease_expires_at"] = admission.created_at + timedelta(seconds=lease_s)
    row["limit_exceeded"] = admission.limit_exceeded.to_json() if admission.limit_exceeded else None
    row["boot_id"] = boot_id
    row["status"] = Status.STARTED
    return column_values.fitted(row)


def closing(settlement: Settlement) -> Row:
    """Return the columns that are known at settlement."""
    return column_values.fitted(dict(zip(CLOSING, _closing_values(settlement), strict=True)))


def rated(settlement: Settlement, *, at: datetime, book: PriceBook) -> Settlement:
    """Return the settlement with its cost: None and a reason if it is unknown, 0 if no upstream was contacted."""
    rating = rate(closing(settlement) | {"created_at": at}, book)
    return replace(settlement, **rating.columns)


def closed(admission: Admission, settlement: Settlement, *, boot_id: str) -> Row:
    """Return all columns of a settled request."""
    opened = opening(admission, boot_id=boot_id)
    settled = {"settled_at": timezone.now(), "reservations": admission.reservations}
    return _signed(opened | settled | closing(settlement))


def settled(admission: Admission, settlement: Settlement, *, boot_id: str, book: PriceBook) -> Row:
    """Return all columns of a settled request, with its cost: `closed` of `rated`, in one go."""
    row = opening(admission, boot_id=boot_id) | closing(settlement)
    row["settled_at"], row["reservations"] = timezone.now(), admission.reservations
    row |= column_values.fitted(rate(row, book).columns)
    row["figures_checksum"] = figures_checksum.checksum(row)
    return row


def _signed(row: Row) -> Row:
    return row | {"figures_checksum": figures_checksum.checksum(row)}


def interruption(record: UsageRecord) -> Settlement:
    """Return the outcome of an orphaned record: the estimate of its input, at its first target."""
    known = record.estimated_input_tokens if record.input_tokens is None else record.input_tokens
    return Settlement(
        status=Status.INTERRUPTED,
        upstream=record.upstream,
        upstream_model=record.upstream_model,
        speed=record.speed,
        service_tier=record.service_tier,
        inference_geo=record.inference_geo,
        region=record.region,
        input_tokens=known,
        usage_source=UsageSource.ESTIMATED,
    )


def interrupted(record: UsageRecord, settlement: Settlement) -> Row:
    """Return all columns of an orphaned record that is settled, with what it is counted as until it really is."""
    row = {name: getattr(record, name) for name in _COLUMNS} | closing(settlement)
    now = timezone.now()
    counted = {name: row[name] for name in _COUNTED if row[name] is not None}
    return _signed(row | {"settled_at": now, "interruption": {"settled_at": now.isoformat(), **counted}})


def as_interrupted(row: Row, interruption: Mapping[str, Any]) -> Row:
    """Return the row as it was counted while the request was settled as interrupted."""
    unknown = dict.fromkeys((*_FIGURES, "ttft_ms", "duration_ms"))
    return row | unknown | {"error_type": ""} | dict(interruption) | {"status": Status.INTERRUPTED}


def total_tokens(row: Mapping[str, Any]) -> int:
    """Return all billed tokens of a row. Unknown counts are 0."""
    return sum(row[name] or 0 for name in BILLED_TOKEN_COLUMNS)


def _in_picos(found: dict[str, Any]) -> dict[str, Any]:
    """Return a spooled row with its cost in pico-dollars; as a text, which is dropped, if it is no whole number."""
    micros = found.get("cost_usd_micros")
    if "cost_usd_picos" in found or micros is None:
        return found
    return found | {"cost_usd_picos": money.picos(micros) if type(micros) is int else str(micros)}


def to_json(row: Row) -> bytes:
    """Return a row as one line of the spool, without a line break."""
    return json.dumps(row, default=_plain).encode()


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def from_json(line: bytes) -> Row:
    """Reverse `to_json`. Raise UnfitRecord for a line that contains no settled usage record.

    A row that an older version spooled lacks the newer columns, and has its cost in micro-dollars.
    """
    try:
        found = _in_picos(json.loads(line))
        row = {name: value for name, value in found.items() if name in _COLUMNS and name != "interruption"}
        row |= {name: datetime.fromisoformat(row[name]) for name in TIMESTAMPS}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnfitRecord(str(error)) from error
    fitted = column_values.fitted(column_values.EMPTY | {"reservations": []} | row)
    if fitted["status"] in (Status.STARTED, Status.INTERRUPTED):
        raise UnfitRecord(f"status is {fitted['status']}")
    return fitted
