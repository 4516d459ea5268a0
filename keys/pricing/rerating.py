"""Re-rating: which records a run covers, and the amounts that they have with the prices that are known now."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db.models import Q

from keys.models import Rerating, UsageRecord
from keys.pricing.part_prices import Prices
from keys.pricing.rating import Rating, rate

RATED_COLUMNS = tuple(Rating().columns)
"""The columns of a usage record that rating decides."""
Amounts = dict[str, Any]
"""Rated columns, in the form in which JSON keeps them."""


def covered(run: Rerating) -> Q:
    """Return the condition of the records that a run covers: settled, admitted, of its period, model and upstream.

    The model is matched by the name that clients request, the upstream's name or that of the served model.
    """
    found = Q(created_at__gte=run.begin, created_at__lt=run.end, settled_at__isnull=False)
    found &= ~Q(status=UsageRecord.Status.REJECTED)
    if run.model:
        found &= Q(model=run.model) | Q(upstream_model=run.model) | Q(served_model=run.model)
    return found & Q(upstream=run.upstream) if run.upstream else found


def amounts_of(row: Mapping[str, Any]) -> Amounts:
    """Return the rated columns of a record as they are."""
    return {name: _plain(row[name]) for name in RATED_COLUMNS}


def amounts_now(row: Mapping[str, Any], book: Prices) -> Amounts:
    """Return the rated columns of a record with the prices of the price book."""
    return amounts_of(rate(row, book).columns)


def columns_of(amounts: Amounts) -> dict[str, Any]:
    """Reverse `amounts_of`."""
    factor = amounts["price_factor"]
    return amounts | {"price_factor": None if factor is None else Decimal(factor)}


def _plain(value: Any) -> Any:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else value
