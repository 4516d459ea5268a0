"""Filters of the explorer alone: conditions on single records, which no rollup has. Parsed without ever failing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.http import QueryDict

from keys.explore.intervals import shortened
from keys.models.usage import BILLED_TOKEN_COLUMNS
from lib import money

PARAMETERS = ("id", "http", "min_latency", "min_cost", "min_tokens", "streamed", "model_prefix")
MAX_STATUSES = 20
LONGEST_TEXT = 256
LARGEST_NUMBER = 2**31 - 1
ID_COLUMNS = ("message_id", "upstream_request_id", "client_request_id")
"""What an ID may be besides the request ID, which finds its record at any time."""
_HTTP_STATUS = re.compile(r"[1-5](?:\d\d|xx)|none", re.ASCII)
_NUMBER = re.compile(r"\d{1,10}", re.ASCII)


class NoFilter(ValueError):
    """The text of a URL is no value of its filter. The message is for users."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordFilters:
    """What a record has to match besides the question of the URL."""

    id: str = ""
    http: tuple[str, ...] = ()
    """HTTP statuses: `429`, `5xx` or `none`."""
    min_latency: int | None = None
    """Milliseconds."""
    min_cost: int | None = None
    """Micro-dollars."""
    min_tokens: int | None = None
    """Input, output and cache tokens together."""
    streamed: bool | None = None
    model_prefix: str = ""

    @property
    def is_empty(self) -> bool:
        return self == RecordFilters()

    def condition(self) -> Q:
        """Return the condition on usage records. `id` is not compared with the primary key."""
        found = Q()
        if self.id:
            found &= Q(*((column, self.id) for column in ID_COLUMNS), _connector=Q.OR)
        if self.http:
            found &= Q(*map(_has_status, self.http), _connector=Q.OR)
        if self.min_latency is not None:
            found &= Q(duration_ms__gte=self.min_latency)
        if self.min_cost is not None:
            found &= Q(cost_usd_picos__gte=money.picos(self.min_cost))
        if self.streamed is not None:
            found &= Q(streamed=self.streamed)
        if self.model_prefix:
            found &= Q(model__startswith=self.model_prefix)
        return found

    def applied(self, rows: Any) -> Any:
        """Return the rows of a query set of usage records that match."""
        rows = rows.filter(self.condition())
        if self.min_tokens is not None:
            rows = rows.alias(all_tokens=_all_tokens()).filter(all_tokens__gte=self.min_tokens)
        return rows

    def parameters(self) -> Iterator[tuple[str, str]]:
        """Yield the parameters of its URL."""
        if self.id:
            yield "id", self.id
        for status in self.http:
            yield "http", status
        for name in ("min_latency", "min_tokens"):
            if (number := getattr(self, name)) is not None:
                yield name, str(number)
        if self.min_cost is not None:
            yield "min_cost", money.plain(self.min_cost)
        if self.streamed is not None:
            yield "streamed", str(int(self.streamed))
        if self.model_prefix:
            yield "model_prefix", self.model_prefix

    def without(self, name: str, value: str) -> "RecordFilters":
        """Return the filters without one, or without one of its values."""
        if name == "http":
            return replace(self, http=tuple(status for status in self.http if status != value))
        return replace(self, **{name: getattr(RecordFilters(), name)})


def _has_status(status: str) -> Q:
    if status == "none":
        return Q(http_status=None)
    if status.endswith("xx"):
        return Q(http_status__gte=int(status[0]) * 100, http_status__lt=(int(status[0]) + 1) * 100)
    return Q(http_status=int(status))


def _all_tokens() -> Any:
    first, *others = (Coalesce(F(column), 0) for column in BILLED_TOKEN_COLUMNS)
    return sum(others, start=first)


def parse(parameters: QueryDict) -> tuple[RecordFilters, list[str]]:
    """Return the filters of a URL, and a sentence for each that is left out. Never raise."""
    found: dict[str, Any] = {}
    notes = []
    for name, read in _READERS.items():
        texts = [text.strip() for text in parameters.getlist(name) if text.strip()]
        if not texts:
            continue
        try:
            found[name] = read(texts)
        except (NoFilter, ValueError) as error:
            notes.append(f"{LABELS[name]}: “{shortened(texts[0])}” was left out. {error}")
    return RecordFilters(**found), notes


LABELS = {
    "id": "ID",
    "http": "HTTP status",
    "min_latency": "Minimum latency",
    "min_cost": "Minimum cost",
    "min_tokens": "Minimum tokens",
    "streamed": "Streamed",
    "model_prefix": "Model",
}


def _text(texts: list[str]) -> str:
    text = texts[-1]
    if len(text) > LONGEST_TEXT or not text.isprintable():
        raise NoFilter("It cannot be a value.")
    return text


def _statuses(texts: list[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(text.lower() for text in texts))[:MAX_STATUSES]
    if not all(map(_HTTP_STATUS.fullmatch, found)):
        raise NoFilter("Write a status such as 429, a class such as 5xx, or none.")
    return found


def _number(texts: list[str]) -> int:
    if not _NUMBER.fullmatch(texts[-1]) or int(texts[-1]) > LARGEST_NUMBER:
        raise NoFilter("Write a whole number.")
    return int(texts[-1])


def _amount(texts: list[str]) -> int:
    return money.parse(texts[-1])


def _truth(texts: list[str]) -> bool:
    if texts[-1] not in ("0", "1"):
        raise NoFilter("Write 1 or 0.")
    return texts[-1] == "1"


_READERS = {
    "id": _text,
    "http": _statuses,
    "min_latency": _number,
    "min_cost": _amount,
    "min_tokens": _number,
    "streamed": _truth,
    "model_prefix": _text,
}
