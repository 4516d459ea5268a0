"""Causes of differences between a bill and the usage records, with their evidence."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from keys.bills.lines import Kind
from keys.models import Bill

FOREIGN_KEY = "foreign_key"
WRITE_LIFETIME = "write_lifetime"
SPEED = "speed"
INFERENCE_GEO = "inference_geo"
SERVICE_TIER = "service_tier"
MISSING_RECORD = "missing_record"
DAY_BOUNDARY = "day_boundary"
LATE_DATA = "late_data"
REFUSAL = "refusal"
ESTIMATED = "estimated_usage"
FAILED_ATTEMPT = "failed_attempt"
OTHER_MODEL = "other_model"
ALIAS = "alias"
UNPRICED = "unpriced"
PRICE = "price"
PROMPT_LENGTH = "prompt_length"
WEB_SEARCH = "web_search"
FEE = "fee"
DISCOUNT = "discount"
BYOK = "byok"
ROUNDING = "rounding"

LABELS = {
    FOREIGN_KEY: "Key used outside the gateway",
    WRITE_LIFETIME: "1-hour cache write counted as 5 minutes",
    SPEED: "Fast mode",
    INFERENCE_GEO: "Inference geography",
    SERVICE_TIER: "Service tier",
    MISSING_RECORD: "Missing record",
    DAY_BOUNDARY: "Billed on another day",
    LATE_DATA: "Late data",
    REFUSAL: "Model declined before output",
    ESTIMATED: "Estimated usage",
    FAILED_ATTEMPT: "Failed attempt",
    OTHER_MODEL: "Model of an iteration",
    ALIAS: "Model alias",
    UNPRICED: "Missing price",
    PRICE: "Price late or wrong",
    PROMPT_LENGTH: "Prompt length",
    WEB_SEARCH: "Web searches",
    FEE: "Fee without tokens",
    DISCOUNT: "Discount, credit or tax",
    BYOK: "Billed by another provider",
    ROUNDING: "Rounding of the bill",
}
KIND_LABELS = {
    Kind.INPUT: "input",
    Kind.OUTPUT: "output",
    Kind.CACHE_READ: "cache read",
    Kind.CACHE_WRITE_5M: "5-minute write",
    Kind.CACHE_WRITE_1H: "1-hour write",
    Kind.WEB_SEARCH: "searches",
}
ALL = "all"
"""The part of a cost that is not divided by kinds."""
MAX_EVIDENCE = 20
MAX_ITEMS = 200


@dataclass(frozen=True, slots=True)
class BillLines:
    """Lines of a bill as evidence: the first of them."""

    bill: int
    file_name: str
    positions: list[str]
    count: int


Parts = dict[tuple[date, str, str], int]
"""Amounts by day, model and part of the cost."""


@dataclass(slots=True)
class Item:
    """One occurrence of a cause, with what it adds to the bill."""

    cause: str
    text: str
    parts: Parts = field(default_factory=dict)
    records: list[str] = field(default_factory=list)
    """IDs of usage records."""
    lines: list[BillLines] = field(default_factory=list)
    if_long: int = 0
    """The amount at the price of long prompts, if that differs."""

    @property
    def picos(self) -> int:
        return sum(self.parts.values())


def evidence(bill: Bill, positions: Iterable[str], count: int) -> BillLines:
    return BillLines(bill.pk, bill.file_name, list(positions), count)


def described(tokens: dict[str, int]) -> str:
    """Return tokens as text: `3,000 input, 500 output`."""
    return ", ".join(f"{count:,} {KIND_LABELS[Kind(kind)]}" for kind, count in tokens.items()) or "no tokens"
