"""Evaluation of alert rules, by one process at a time."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils import timezone

from messages_api.alerts import circuits, incidents, ledger, messages, networks, rates, unpriced
from messages_api.alerts.condition import AlertCondition
from messages_api.models import AlertRule, AlertState, Incident
from messages_api.models.alerts import AlertKind
from messages_api.upstream_status.process_name import process_name

logger = logging.getLogger(__name__)

INTERVAL = timedelta(seconds=15)
LEASE = timedelta(seconds=60)
"""After this time without an evaluation, another process takes over."""
LONGEST_GAP = timedelta(hours=1)
"""How old an event may be that was not evaluated, such as after a shutdown."""
RATES = (AlertKind.ERROR_RATE, AlertKind.LATENCY, AlertKind.TTFT)
STATE_ID = 1

Found = Iterable[tuple[AlertRule, AlertCondition]]


def run() -> bool:
    """Evaluate all rules if it is due and the turn of this process. Return whether it did."""
    if not AlertRule.objects.filter(enabled=True).exists() and not Incident.objects.filter(ended_at=None).exists():
        return False
    now = timezone.now()
    state = _acquire(now)
    if state is None:
        return False
    evaluate(state, now=now)
    return True


def _acquire(now: datetime) -> AlertState | None:
    """Return the state if an evaluation is due and this process may do it."""
    state, _ = AlertState.objects.get_or_create(pk=STATE_ID)
    if state.evaluated_at is not None and abs(now - state.evaluated_at) < INTERVAL * 0.9:
        return None
    name = str(process_name)
    if state.evaluator != name and state.lease_until is not None and now < state.lease_until <= now + LEASE:
        return None
    same = AlertState.objects.filter(pk=STATE_ID, evaluator=state.evaluator)
    same = same.filter(Q(lease_until=state.lease_until) if state.lease_until else Q(lease_until=None))
    return state if same.update(evaluator=name, lease_until=now + LEASE) else None


def evaluate(state: AlertState, *, now: datetime) -> None:
    """Read the conditions of all rules, follow their incidents and queue their messages."""
    rules = list(AlertRule.objects.filter(enabled=True).select_related("upstream", "team"))
    by_kind: dict[str, list[AlertRule]] = defaultdict(list)
    for rule in rules:
        by_kind[rule.kind].append(rule)
    since = max(min(state.evaluated_at or now, now), now - LONGEST_GAP)
    of_rates = [rule for kind in RATES for rule in by_kind[kind]]

    _follow(by_kind[AlertKind.CIRCUIT], lambda rules: circuits.conditions(rules, since=since), now=now)
    _follow(of_rates, lambda rules: rates.conditions(rules, now=now), now=now)
    _follow(by_kind[AlertKind.UNPRICED], unpriced.conditions, now=now)
    _follow(by_kind[AlertKind.LEDGER], lambda rules: ledger.conditions(rules, since=since), now=now)
    _follow_networks(by_kind[AlertKind.NEW_NETWORK], state, now=now)
    incidents.end_without_rule(now)
    for rule in rules:
        messages.queue(rule, now=now)
    AlertState.objects.filter(pk=state.pk).update(evaluated_at=now)


def _follow(rules: list[AlertRule], read: Callable[[list[AlertRule]], Found], *, now: datetime) -> None:
    """Follow the incidents of some rules. An error of their conditions leaves them as they are, and is logged."""
    if not rules:
        return
    try:
        found = _by_rule(read(rules))
    except DatabaseError:
        raise
    except Exception:
        logger.exception("Alerts: conditions of %s failed", ", ".join(sorted({rule.kind for rule in rules})))
        return
    for rule in rules:
        incidents.follow(rule, found[rule.pk], now=now)


def _follow_networks(rules: list[AlertRule], state: AlertState, *, now: datetime) -> None:
    """Follow the incidents of new networks, in the transaction that learns them."""
    if not rules:
        networks.forget_progress(state)
        return
    uses = networks.read(state, now=now)
    with transaction.atomic():
        found = _by_rule(networks.conditions(rules, uses, state, now=now))
        for rule in rules:
            incidents.follow(rule, found[rule.pk], now=now)


def _by_rule(found: Found) -> dict[int, list[AlertCondition]]:
    by_rule: dict[int, list[AlertCondition]] = defaultdict(list)
    for rule, condition in found:
        by_rule[rule.pk].append(condition)
    return by_rule
