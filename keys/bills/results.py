"""Results of reconciliations as JSON, which bills keep, and the figures of months that are signed off."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from django.utils import timezone

from keys.bills.causes import LABELS, MAX_ITEMS, Item, described
from keys.bills.reconciliation import DayFigures, Reconciliation, reconcile
from keys.models import Bill, SignedOffMonth
from lib import money
from lib.pace import Pace, no_pace

MONTH_FIGURES = ("recorded", "billed", "unexplained")


def as_json(result: Reconciliation) -> dict[str, Any]:
    """Return a reconciliation as JSON. Amounts are pico-dollars, in integers."""
    sums = result.own_sums
    return {
        "upstream": result.upstream,
        "first_day": result.first.isoformat(),
        "last_day": result.last.isoformat(),
        "requests": result.requests,
        "recorded": result.recorded,
        "billed": result.billed,
        "unexplained": result.unexplained,
        "unexplained_in_both_directions": result.unexplained_in_both_directions,
        "is_explained": result.is_explained,
        "is_priced_by_gateway": result.is_priced_by_gateway,
        "bills": [
            {"id": bill.pk, "format": bill.get_format_display(), "file": bill.file_name} for bill in result.bills
        ],
        "own_keys": result.own_keys,
        "bill_keys": result.bill_keys,
        "are_keys_assumed": result.are_keys_assumed,
        "own_sums": None if sums is None else {"agree": sums.agree, "records": sums.records, "rollups": sums.rollups},
        "days": [_day(day) for day in result.days],
        "causes": [_cause(result, cause, picos) for cause, picos in _in_order(result)],
        "unexplained_tokens": [
            {
                "day": cell.day.isoformat(),
                "model": cell.model,
                "facts": ", ".join(filter(None, cell.facts.values())),
                "tokens": described(tokens),
            }
            for cell, tokens in result.unexplained_tokens.items()
        ],
    }


def _in_order(result: Reconciliation) -> list[tuple[str, int]]:
    """Return the causes, the largest amounts first."""
    return sorted(result.causes.items(), key=lambda pair: (-abs(pair[1]), pair[0]))


def _day(day: DayFigures) -> dict[str, Any]:
    return {
        "day": day.day.isoformat(),
        "recorded": day.recorded,
        "billed": day.billed,
        "causes": day.causes,
        "explained": sum(day.causes.values()),
        "unexplained": day.unexplained,
    }


def _cause(result: Reconciliation, cause: str, picos: int) -> dict[str, Any]:
    items = [item for item in result.items if item.cause == cause]
    return {
        "cause": cause,
        "label": LABELS[cause],
        "picos": picos,
        "count": len(items),
        "items": [_item(item) for item in items[:MAX_ITEMS]],
    }


def _item(item: Item) -> dict[str, Any]:
    return {
        "text": item.text,
        "picos": item.picos,
        "days": sorted({day.isoformat() for day, _, _ in item.parts}),
        "records": item.records,
        "lines": [
            {"bill": each.bill, "file": each.file_name, "positions": each.positions, "count": each.count}
            for each in item.lines
        ],
    }


def in_dollars(value: Any) -> Any:
    """Return a result with amounts as decimal texts, for other programs."""
    if isinstance(value, list):
        return [in_dollars(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for name, each in value.items():
        is_amount = isinstance(each, int) and not isinstance(each, bool) and name in _AMOUNTS
        if name == "causes" and isinstance(each, Mapping):
            found[name] = {cause: money.decimal(picos) for cause, picos in each.items()}
        elif is_amount:
            found[_AMOUNTS[name]] = money.decimal(each)
        else:
            found[name] = in_dollars(each)
    return found


_AMOUNTS = {
    "picos": "amount",
    "cost_usd_picos": "cost_usd",
    **{name: name for name in ("recorded", "billed", "explained", "unexplained", "unexplained_in_both_directions")},
}
"""Names of amounts, and their names in dollars."""


# ---- Bills.


def reconcile_bill(bill: Bill, *, pace: Pace = no_pace) -> dict[str, Any]:
    """Reconcile the days of a bill, keep the result with it and return it."""
    assert bill.first_day is not None and bill.last_day is not None
    result = as_json(reconcile(bill.upstream, bill.first_day, bill.last_day, bill=bill, pace=pace))
    signed = SignedOffMonth.objects.filter(upstream=bill.upstream, month__in=months_of(bill))
    result["months"] = {
        month.isoformat(): month_figures(bill.upstream, month, pace=pace)
        for month in sorted(set(signed.values_list("month", flat=True)))
    }
    bill.result, bill.reconciled_at = result, timezone.now()
    bill.save(update_fields=["result", "reconciled_at"])
    return result


# ---- Months.


def months_of(bill: Bill) -> list[date]:
    """Return the first days of the months that a bill has days of."""
    months = []
    day = bill.first_day
    while day is not None and bill.last_day is not None and day <= bill.last_day:
        months.append(day.replace(day=1))
        day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return months


def month_figures(upstream: str, month: date, *, pace: Pace = no_pace) -> dict[str, Any]:
    """Return the current figures of a month, over all bills that have days of it. Amounts are pico-dollars."""
    last = (month + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    result = reconcile(upstream, month, last, pace=pace)
    return {
        "days": len(result.days),
        "requests": result.requests,
        **{name: getattr(result, name) for name in MONTH_FIGURES},
        "causes": result.causes,
        "bills": [{"id": bill.pk, "file": bill.file_name, "digest": bill.file_digest} for bill in result.bills],
    }


def sign_off(bill: Bill, month: date, *, user: Any, pace: Pace = no_pace) -> SignedOffMonth:
    """Keep the figures of a month of a bill as they are now."""
    signed = SignedOffMonth.objects.create(
        upstream=bill.upstream,
        month=month,
        figures=month_figures(bill.upstream, month, pace=pace),
        signed_off_by=user.get_username(),
        signed_off_by_user=user,
    )
    reconcile_bill(bill, pace=pace)
    return signed


def changed_figures(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return the amounts of a month that are no longer what was signed off: then and now."""
    return {name: (then[name], now[name]) for name in MONTH_FIGURES if then[name] != now[name]}
