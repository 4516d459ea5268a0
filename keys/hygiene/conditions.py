"""Conditions of API keys, such as active, expired or idle: the badges, filters, counts and hygiene findings of keys."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

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

from keys.models import APIKey, Budget, BudgetPeriod, KeySecret, KeyState
from keys.models.key_state import in_state

EXPIRES_SOON = timedelta(days=14)
IDLE_AFTER = timedelta(days=90)
REJECTED_RECENTLY = timedelta(days=7)
"""How long the use of an inactive key or an expired secret is reported."""
SECRET_EXPIRES_SOON = timedelta(days=3)
"""How long before its expiry a previous secret in use is reported."""


@dataclass(frozen=True, kw_only=True)
class QueryContext:
    """The time of a query, and the keys that it is about: None for all of them."""

    now: datetime
    ids: Sequence[int] | None = None

    def has_secret(self, *conditions: Any, **lookups: Any) -> Q:
        """Match keys with a secret that meets the conditions."""
        secrets = KeySecret.objects.order_by().filter(*conditions, **lookups)
        return Q(pk__in=self._among(secrets).values("api_key_id"))

    def has_budget(self) -> Q:
        """Match keys whose requests are charged to a budget: their own or their team's."""
        budgets = Budget.objects.order_by()
        own, of_teams = self._among(budgets.filter(team=None)), budgets.filter(api_key=None)
        return Q(pk__in=own.values("api_key_id")) | Q(team__in=of_teams.values("team_id"))

    def has_budget_that(self, *, is_exhausted: bool) -> Q:
        """Match keys with a budget that is exhausted, or else above its alert threshold, in its current period."""
        found = [row for row in self._budgets_above_threshold if (row["spent"] >= row["limit"]) == is_exhausted]
        keys = {row["budget__api_key_id"] for row in found} - {None}
        teams = {row["budget__team_id"] for row in found} - {None}
        return Q(pk__in=keys) | Q(team__in=teams)

    @cached_property
    def _budgets_above_threshold(self) -> list[dict[str, Any]]:
        """The budgets that are exhausted or above their alert threshold. Two queries.

        They are read once, since two conditions need them and they are few.
        """
        current = BudgetPeriod.objects.order_by().filter(ends_at__gt=self.now, starts_at__lte=self.now)
        rows = current.annotate(limit=_limit_at(self.now))
        rows = rows.annotate(threshold=F("limit") * F("budget__alert_threshold_percent"), percent=F("spent") * 100)
        rows = rows.filter(Q(spent__gte=F("limit")) | Q(percent__gte=F("threshold")))
        if self.ids is not None:
            rows = rows.filter(Q(budget__api_key__in=self.ids) | Q(budget__api_key=None))
        found = [dict(row) for row in rows.values("budget__api_key_id", "budget__team_id", "spent", "limit")]
        return [*found, *self._zero_budgets()]

    def _zero_budgets(self) -> Iterator[dict[str, Any]]:
        """Yield the budgets of zero: they are exhausted before a request has started their period."""
        budgets = Budget.objects.order_by().filter(amount=0)
        budgets = budgets.filter(
            Q(temporary_increase=0) | Q(temporary_increase_until=None) | Q(temporary_increase_until__lte=self.now)
        )
        if self.ids is not None:
            budgets = budgets.filter(Q(api_key__in=self.ids) | Q(api_key=None))
        for api_key_id, team_id in budgets.values_list("api_key_id", "team_id"):
            yield {"budget__api_key_id": api_key_id, "budget__team_id": team_id, "spent": 0, "limit": 0}

    def _among(self, rows: Any) -> Any:
        # For a page of keys a database would otherwise collect those of all keys first.
        return rows if self.ids is None else rows.filter(api_key__in=self.ids)


def _limit_at(now: datetime) -> Any:
    """Return `Budget.limit_at` as an expression over budget periods."""
    temporary_increase = Case(
        When(budget__temporary_increase_until__gt=now, then=F("budget__temporary_increase")), default=Value(0)
    )
    return ExpressionWrapper(F("budget__amount") + temporary_increase, output_field=BigIntegerField())


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A condition that a key may meet."""

    name: str
    badge: str
    """The text of the badge of such keys."""
    label: str
    """The text of the filter."""
    kind: str
    """The style of the badge: good, warn, bad or quiet."""
    matches: Callable[[QueryContext], Q]
    """Return the query for such keys; for an active flag, such keys among the active ones."""


def _is_active(context: QueryContext) -> Q:
    return in_state(KeyState.ACTIVE, now=context.now)


def _has_limit() -> Q:
    """Match keys with an enforced limit. Limits in shadow mode reject nothing, so they do not count."""
    limited = Q()
    for scope in ("", "team__"):
        own = Q()
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent_requests"):
            own |= Q(**{f"{scope}{name}__isnull": False})
        limited |= own & Q(**{f"{scope}shadow_mode": False})
    return limited


def _used_after_its_successor() -> Exists:
    """Match secrets that were used after a newer secret of their key was issued."""
    newer = KeySecret.objects.order_by().filter(
        api_key=OuterRef("api_key"), created_at__gt=OuterRef("created_at"), created_at__lt=OuterRef("last_used_at")
    )
    return Exists(newer)


def _state(state: KeyState, *, kind: str) -> Condition:
    label = str(state.label)
    return Condition(
        name=state.value,
        badge=label,
        label=label,
        kind=kind,
        matches=lambda context: in_state(state, now=context.now),
    )


STATES = [
    _state(KeyState.ACTIVE, kind="good"),
    _state(KeyState.EXPIRED, kind="warn"),
    _state(KeyState.DISABLED, kind="warn"),
    _state(KeyState.REVOKED, kind="bad"),
    _state(KeyState.OWNER_INACTIVE, kind="bad"),
    _state(KeyState.TEAM_DISABLED, kind="bad"),
]
"""A key meets exactly one of them."""

INACTIVE_FLAGS = [
    Condition(
        name="used-after-deactivation",
        badge="Used after deactivation",
        label=f"Inactive, but used in the last {REJECTED_RECENTLY.days} days",
        kind="warn",
        matches=lambda context: (
            ~_is_active(context) & context.has_secret(last_rejected_at__gt=context.now - REJECTED_RECENTLY)
        ),
    ),
]
"""Conditions of keys that are not active."""

ACTIVE_FLAGS = [
    Condition(
        name="expiring",
        badge="Expires soon",
        label=f"Expires within {EXPIRES_SOON.days} days",
        kind="warn",
        matches=lambda context: Q(expires_at__lte=context.now + EXPIRES_SOON),
    ),
    Condition(
        name="rotating",
        badge="Rotating",
        label="Rotating: previous secret still valid",
        kind="quiet",
        matches=lambda context: context.has_secret(expires_at__gt=context.now),
    ),
    Condition(
        name="old-secret-in-use",
        badge="Previous secret in use",
        label=f"Previous secret in use that expires within {SECRET_EXPIRES_SOON.days} days",
        kind="warn",
        matches=lambda context: context.has_secret(
            _used_after_its_successor(),
            expires_at__gt=context.now,
            expires_at__lte=context.now + SECRET_EXPIRES_SOON,
            last_used_at__gt=context.now - timedelta(days=1),
        ),
    ),
    Condition(
        name="expired-secret-used",
        badge="Expired secret used",
        label=f"Expired secret used in the last {REJECTED_RECENTLY.days} days",
        kind="warn",
        matches=lambda context: context.has_secret(
            expires_at__lte=context.now,
            last_rejected_at__gt=context.now - REJECTED_RECENTLY,
            last_rejected_at__gte=F("expires_at"),
        ),
    ),
    Condition(
        name="budget-exhausted",
        badge="Budget exhausted",
        label="Budget exhausted",
        kind="bad",
        matches=lambda context: context.has_budget_that(is_exhausted=True),
    ),
    Condition(
        name="budget-near-limit",
        badge="Near budget limit",
        label="Budget above alert threshold",
        kind="warn",
        matches=lambda context: context.has_budget_that(is_exhausted=False),
    ),
    Condition(
        name="never-used",
        badge="Never used",
        label="Never used",
        kind="quiet",
        matches=lambda context: ~context.has_secret(last_used_at__isnull=False),
    ),
    Condition(
        name="idle",
        badge="Idle",
        label=f"Unused for {IDLE_AFTER.days} days",
        kind="warn",
        matches=lambda context: (
            Q(created_at__lte=context.now - IDLE_AFTER) & ~context.has_secret(last_used_at__gt=context.now - IDLE_AFTER)
        ),
    ),
    Condition(
        name="unlimited",
        badge="No limit",
        label="No limit and no budget",
        kind="quiet",
        matches=lambda context: ~(_has_limit() | context.has_budget()),
    ),
    Condition(
        name="no-expiry",
        badge="No expiry",
        label="No expiry, no reason given",
        kind="quiet",
        matches=lambda context: Q(expires_at=None, no_expiry_reason=""),
    ),
    Condition(
        name="no-expiry-with-reason",
        badge="No expiry",
        label="No expiry, reason given",
        kind="quiet",
        matches=lambda context: Q(expires_at=None) & ~Q(no_expiry_reason=""),
    ),
]
"""Conditions of keys that are active."""

NAMED = {condition.name: condition for condition in [*STATES, *INACTIVE_FLAGS, *ACTIVE_FLAGS]}


def keys_with(name: str, among: QuerySet[APIKey] | None = None) -> QuerySet[APIKey]:
    """Return the keys that meet the condition of that name now."""
    context = QueryContext(now=timezone.now())
    possible = _possible(NAMED[name], APIKey.objects.all() if among is None else among, context)
    return possible.filter(NAMED[name].matches(context))


def conditions_of(ids: Collection[int]) -> dict[int, list[Condition]]:
    """Return the conditions of keys by their ids. One query, and two for budgets."""
    context = QueryContext(now=timezone.now(), ids=list(ids))
    columns = {
        _column(each): ExpressionWrapper(each.matches(context), output_field=BooleanField()) for each in NAMED.values()
    }
    rows = APIKey.objects.order_by().filter(pk__in=context.ids or []).annotate(**columns).values("pk", *columns)
    return {row["pk"]: [each for each in NAMED.values() if _is_met(each, row)] for row in rows}


def counts(among: QuerySet[Any], conditions: Sequence[Condition]) -> dict[str, int]:
    """Count keys by condition: either all of the conditions are active flags, or none is. One query."""
    context = QueryContext(now=timezone.now())
    counted = {_column(each): Count("pk", filter=each.matches(context)) for each in conditions}
    found = _possible(conditions[0], among, context).order_by().aggregate(**counted)
    return {each.name: found[_column(each)] for each in conditions}


def _possible(condition: Condition, among: QuerySet[APIKey], context: QueryContext) -> QuerySet[APIKey]:
    return among.filter(_is_active(context)) if condition in ACTIVE_FLAGS else among


def _is_met(condition: Condition, row: dict[str, Any]) -> bool:
    return bool(row[_column(condition)] and (condition not in ACTIVE_FLAGS or row[_column(NAMED["active"])]))


def _column(condition: Condition) -> str:
    return f"is_{condition.name.replace('-', '_')}"
