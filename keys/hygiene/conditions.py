"""
What keys are: active, expired, idle … Each condition once, as the database tells it.

The chips of the list, its filters with their counts, and the findings of hygiene are all made of these.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import (
    BigIntegerField,
    BooleanField,
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)
from django.utils import timezone

from keys.models import APIKey, Budget, BudgetPeriod, KeySecret, Team
from lib import periods

SOON = timedelta(days=14)
LONG_AGO = timedelta(days=90)
LATELY = timedelta(days=7)
"""For how long a call with what is over is told of."""
ENDS_SOON = timedelta(days=3)
"""How near the end of an old secret is when whoever still uses it should be told."""


@dataclass(frozen=True, kw_only=True)
class QueryContext:
    """When it is asked, and about which keys: none for all of them, or a few."""

    now: datetime
    ids: Sequence[int] | None = None

    def has_secret(self, *kinds: Any, **that: Any) -> Q:
        """Which keys have a secret of that kind."""
        secrets = KeySecret.objects.order_by().filter(*kinds, **that)
        return Q(pk__in=self._among(secrets).values("api_key_id"))

    def has_budget(self) -> Q:
        """Which keys are charged to a budget: their own or their team's."""
        budgets = Budget.objects.order_by()
        own, of_teams = self._among(budgets.filter(team=None)), budgets.filter(api_key=None)
        return Q(pk__in=own.values("api_key_id")) | Q(team__in=of_teams.values("team_id"))

    def has_budget_that(self, *, is_spent: bool) -> Q:
        """The same of budgets that are spent in their current period, or past their warning and not spent."""
        found = [row for row in self._warned if (row["spent"] >= row["limit"]) == is_spent]
        keys = {row["budget__api_key_id"] for row in found} - {None}
        teams = {row["budget__team_id"] for row in found} - {None}
        return Q(pk__in=keys) | Q(team__in=teams)

    @cached_property
    def _warned(self) -> list[dict[str, Any]]:
        """The budgets that are past their warning or spent. Two queries: two conditions want them, and they are few."""
        current = Q()
        for period in Budget.Period.values:
            current |= Q(budget__period=period, starts_at=periods.begin_of(period, self.now))
        rows = BudgetPeriod.objects.order_by().filter(current).annotate(limit=_limit_at(self.now))
        rows = rows.annotate(warns=F("limit") * F("budget__alert_threshold_percent"), percent=F("spent") * 100)
        rows = rows.filter(Q(spent__gte=F("limit")) | Q(percent__gte=F("warns")))
        if self.ids is not None:
            rows = rows.filter(Q(budget__api_key__in=self.ids) | Q(budget__api_key=None))
        found = [dict(row) for row in rows.values("budget__api_key_id", "budget__team_id", "spent", "limit")]
        return [*found, *self._empty()]

    def _empty(self) -> Iterator[dict[str, Any]]:
        """The budgets of nothing, which are spent before a call has begun their period."""
        budgets = Budget.objects.order_by().filter(amount=0)
        budgets = budgets.filter(
            Q(temporary_increase=0) | Q(temporary_increase_until=None) | Q(temporary_increase_until__lte=self.now)
        )
        if self.ids is not None:
            budgets = budgets.filter(Q(api_key__in=self.ids) | Q(api_key=None))
        for api_key_id, team_id in budgets.values_list("api_key_id", "team_id"):
            yield {"budget__api_key_id": api_key_id, "budget__team_id": team_id, "spent": 0, "limit": 0}

    def _among(self, rows: Any) -> Any:
        # For a page of keys a database would otherwise gather those of all keys first.
        return rows if self.ids is None else rows.filter(api_key__in=self.ids)


def _limit_at(now: datetime) -> Any:
    """What a budget allows at a moment: `Budget.limit_at`, as the database tells it."""
    temporary_increase = Case(
        When(budget__temporary_increase_until__gt=now, then=F("budget__temporary_increase")), default=Value(0)
    )
    return ExpressionWrapper(F("budget__amount") + temporary_increase, output_field=BigIntegerField())


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """Something that may be true of a key."""

    name: str
    chip: str
    """The words beside the key."""
    label: str
    """The words of a filter."""
    kind: str
    """How it is marked: good, warn, bad or quiet."""
    matches: Callable[[QueryContext], Q]
    """For which keys; a trait, for which of the active ones."""


def _is_open(asked: QueryContext) -> Q:
    return Q(revoked_at=None, disabled_at=None) & (Q(expires_at=None) | Q(expires_at__gt=asked.now))


def _is_ownerless() -> Q:
    return Q(owner__in=get_user_model().objects.filter(is_active=False).values("pk"))


def _is_of_disabled_team() -> Q:
    return Q(team__in=Team.objects.order_by().filter(disabled_at__isnull=False).values("pk"))


def _is_active(asked: QueryContext) -> Q:
    """Its calls are let in. Whoever answers for it is there."""
    return _is_open(asked) & ~_is_ownerless() & ~_is_of_disabled_team()


def _has_limit() -> Q:
    """Limits that only count hold nobody up, so they are none here."""
    limited = Q()
    for scope in ("", "team__"):
        own = Q()
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent_requests"):
            own |= Q(**{f"{scope}{name}__isnull": False})
        limited |= own & Q(**{f"{scope}shadow_mode": False})
    return limited


def _used_after_its_successor() -> Exists:
    """Of secrets: whether one was used after a newer one of its key was issued."""
    newer = KeySecret.objects.order_by().filter(
        api_key=OuterRef("api_key"), created_at__gt=OuterRef("created_at"), created_at__lt=OuterRef("last_used_at")
    )
    return Exists(newer)


STATES = [
    Condition(name="active", chip="Active", label="Active", kind="good", matches=_is_active),
    Condition(
        name="expired",
        chip="Expired",
        label="Expired",
        kind="warn",
        matches=lambda asked: Q(expires_at__lte=asked.now, disabled_at=None, revoked_at=None),
    ),
    Condition(
        name="disabled",
        chip="Disabled",
        label="Disabled",
        kind="warn",
        matches=lambda asked: Q(disabled_at__isnull=False, revoked_at=None),
    ),
    Condition(
        name="revoked",
        chip="Revoked",
        label="Revoked",
        kind="bad",
        matches=lambda asked: Q(revoked_at__isnull=False),
    ),
    Condition(
        name="ownerless",
        chip="Owner inactive",
        label="Owner inactive",
        kind="bad",
        matches=lambda asked: _is_open(asked) & _is_ownerless(),
    ),
    Condition(
        name="team-disabled",
        chip="Team disabled",
        label="Team disabled",
        kind="bad",
        matches=lambda asked: _is_open(asked) & _is_of_disabled_team(),
    ),
]
"""Exactly one of them holds for each key."""

INACTIVE_FLAGS = [
    Condition(
        name="tried",
        chip="Still tried",
        label=f"Not active, tried in the last {LATELY.days} days",
        kind="warn",
        matches=lambda asked: ~_is_active(asked) & asked.has_secret(last_rejected_at__gt=asked.now - LATELY),
    ),
]
"""What may be true besides of a key that is not active."""

ACTIVE_FLAGS = [
    Condition(
        name="expiring",
        chip="Expires soon",
        label=f"Expires within {SOON.days} days",
        kind="warn",
        matches=lambda asked: Q(expires_at__lte=asked.now + SOON),
    ),
    Condition(
        name="rotating",
        chip="Rotating",
        label="Rotating: an old secret still works",
        kind="quiet",
        matches=lambda asked: asked.has_secret(expires_at__gt=asked.now),
    ),
    Condition(
        name="old-secret",
        chip="Old secret in use",
        label=f"An old secret that ends within {ENDS_SOON.days} days is still used",
        kind="warn",
        matches=lambda asked: asked.has_secret(
            _used_after_its_successor(),
            expires_at__gt=asked.now,
            expires_at__lte=asked.now + ENDS_SOON,
            last_used_at__gt=asked.now - timedelta(days=1),
        ),
    ),
    Condition(
        name="old-secret-tried",
        chip="Old secret tried",
        label=f"A secret that has ended was tried in the last {LATELY.days} days",
        kind="warn",
        matches=lambda asked: asked.has_secret(
            expires_at__lte=asked.now, last_rejected_at__gt=asked.now - LATELY, last_rejected_at__gte=F("expires_at")
        ),
    ),
    Condition(
        name="budget-spent",
        chip="Budget spent",
        label="Its budget is spent",
        kind="bad",
        matches=lambda asked: asked.has_budget_that(is_spent=True),
    ),
    Condition(
        name="budget-near",
        chip="Budget nearly spent",
        label="Its budget is past its warning",
        kind="warn",
        matches=lambda asked: asked.has_budget_that(is_spent=False),
    ),
    Condition(
        name="unused",
        chip="Never used",
        label="Never used",
        kind="quiet",
        matches=lambda asked: ~asked.has_secret(last_used_at__isnull=False),
    ),
    Condition(
        name="idle",
        chip="Idle",
        label=f"Unused for {LONG_AGO.days} days",
        kind="warn",
        matches=lambda asked: (
            Q(created_at__lte=asked.now - LONG_AGO) & ~asked.has_secret(last_used_at__gt=asked.now - LONG_AGO)
        ),
    ),
    Condition(
        name="unlimited",
        chip="No limit",
        label="No limit and no budget",
        kind="quiet",
        matches=lambda asked: ~(_has_limit() | asked.has_budget()),
    ),
    Condition(
        name="endless",
        chip="No expiry",
        label="Never expires, and nobody said why",
        kind="quiet",
        matches=lambda asked: Q(expires_at=None, no_expiry_reason=""),
    ),
    Condition(
        name="meant-endless",
        chip="No expiry",
        label="Never expires, for a reason",
        kind="quiet",
        matches=lambda asked: Q(expires_at=None) & ~Q(no_expiry_reason=""),
    ),
]
"""What may be true besides of a key that is active."""

NAMED = {condition.name: condition for condition in [*STATES, *INACTIVE_FLAGS, *ACTIVE_FLAGS]}


def keys_that_are(name: str, among: QuerySet[APIKey] | None = None) -> QuerySet[APIKey]:
    """The keys for which the condition of that name holds now."""
    asked = QueryContext(now=timezone.now())
    possible = _possible(NAMED[name], APIKey.objects.all() if among is None else among, asked)
    return possible.filter(NAMED[name].matches(asked))


def of_each(ids: Iterable[int]) -> dict[int, list[Condition]]:
    """What some keys are. One query."""
    asked = QueryContext(now=timezone.now(), ids=list(ids))
    told = {
        _column(each): ExpressionWrapper(each.matches(asked), output_field=BooleanField()) for each in NAMED.values()
    }
    rows = APIKey.objects.order_by().filter(pk__in=asked.ids or []).annotate(**told).values("pk", *told)
    return {row["pk"]: [each for each in NAMED.values() if _is_so(each, row)] for row in rows}


def counts(among: QuerySet[Any], conditions: Sequence[Condition]) -> dict[str, int]:
    """How many keys are so, by the name of the condition: all of them traits, or none. One query."""
    asked = QueryContext(now=timezone.now())
    counted = {_column(each): Count("pk", filter=each.matches(asked)) for each in conditions}
    found = _possible(conditions[0], among, asked).order_by().aggregate(**counted)
    return {each.name: found[_column(each)] for each in conditions}


def _possible(condition: Condition, among: QuerySet[APIKey], asked: QueryContext) -> QuerySet[APIKey]:
    return among.filter(_is_active(asked)) if condition in ACTIVE_FLAGS else among


def _is_so(condition: Condition, row: dict[str, Any]) -> bool:
    return bool(row[_column(condition)] and (condition not in ACTIVE_FLAGS or row[_column(NAMED["active"])]))


def _column(condition: Condition) -> str:
    return f"is_{condition.name.replace('-', '_')}"
