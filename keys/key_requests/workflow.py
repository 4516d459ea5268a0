"""State changes of key requests. Each locks the request, so that of two at the same time one is a conflict."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from keys.access.team_scope import teams_of
from keys.domain import team_ceilings
from keys.domain.amounts import BudgetSpec
from keys.domain.limits import LIMITS
from keys.key_requests import notices
from keys.models import APIKey, Budget, KeyRequest, Team

MAX_PENDING = 5
"""Requests of one user that wait for a decision."""
MAX_PER_DAY = 20
"""Requests of one user in 24 hours: each sends an e-mail to administrators."""
REVEAL_WITHIN = timedelta(days=7)
State = KeyRequest.RequestState


class Conflict(Exception):
    """The request is in another state, or what it is about has changed. The message says so to the user."""


@transaction.atomic
def ask(key_request: KeyRequest) -> None:
    """Store a request and notify administrators. Raise Conflict beyond the limits of the user, IntegrityError twice."""
    user_id = key_request.requested_by_id
    # Of two concurrent ones, one counts the other.
    get_user_model().objects.select_for_update(no_key=True).get(pk=user_id or 0)
    own = KeyRequest.objects.filter(requested_by=user_id)
    if own.filter(state=State.PENDING).count() >= MAX_PENDING:
        raise Conflict(f"{MAX_PENDING} of your requests wait for a decision. Withdraw one, or wait.")
    if own.filter(created_at__gt=timezone.now() - timedelta(days=1)).count() >= MAX_PER_DAY:
        raise Conflict(f"You asked {MAX_PER_DAY} times in 24 hours. Try again tomorrow.")
    key_request.save()
    notices.asked(key_request)


@transaction.atomic
def withdraw(pk: int) -> KeyRequest:
    key_request = _locked(pk, state=State.PENDING)
    return _close(key_request, State.WITHDRAWN)


@transaction.atomic
def decline(pk: int, *, by: Any, note: str) -> KeyRequest:
    key_request = _locked(pk, state=State.PENDING)
    key_request.note = note
    _close(key_request, State.DECLINED, by=by)
    notices.decided(key_request)
    return key_request


@transaction.atomic
def approve(pk: int, *, by: Any, values: Mapping[str, Any], note: str) -> KeyRequest:
    """Approve a request with its adjusted values. An increase takes effect; a key is issued when it is revealed.

    Raise Conflict, or ValidationError for values that the team does not allow.
    """
    key_request = _locked(pk, state=State.PENDING)
    for name, value in values.items():
        setattr(key_request, name, value)
    key_request.note = note
    if key_request.kind == KeyRequest.RequestKind.KEY:
        check_new_key(key_request, _usable_team(key_request))
        key_request.reveal_before = timezone.now() + REVEAL_WITHIN
    else:
        _apply_increase(key_request)
    _close(key_request, State.APPROVED, by=by)
    notices.decided(key_request)
    return key_request


@transaction.atomic
def reveal(pk: int, *, by: Any) -> tuple[APIKey, str]:
    """Issue the approved key and return it with its raw key, which is stored nowhere. Raise Conflict."""
    key_request = _locked(pk)
    if key_request.state == State.REVEALED:
        raise Conflict("The key was shown. It cannot be shown again; ask an administrator to rotate it.")
    if not key_request.awaits_reveal or key_request.requested_by_id != by.pk:
        raise Conflict("There is no key to show.")
    if key_request.is_expired:
        raise Conflict("The approval has expired. Request the key again.")
    team = _usable_team(key_request)
    scope = teams_of(by)
    if scope is not None and team.pk not in scope:
        raise Conflict(f"You are no longer a member of the team {team}.")
    try:
        check_new_key(key_request, team)
    except ValidationError as error:
        raise Conflict(f"The team does not allow this key any more: {' '.join(error.messages)}") from error
    api_key, raw = APIKey.objects.issue(
        idempotency_key=f"key-request-{key_request.pk}",
        created_by=key_request.decided_by,
        expires_at=timezone.now() + timedelta(days=key_request.expires_in_days or 1),
        **_key_fields(key_request, team),
    )
    if key_request.budget_amount is not None:
        Budget.objects.create(api_key=api_key, amount=key_request.budget_amount)
    key_request.api_key, key_request.revealed_at = api_key, timezone.now()
    key_request.state = State.REVEALED
    key_request.save(update_fields=["api_key", "revealed_at", "state"])
    return api_key, raw


def check_new_key(key_request: KeyRequest, team: Team) -> None:
    """Raise ValidationError, by the fields of the request, unless its key and budget are within the team's policy."""
    api_key = APIKey(**_key_fields(key_request, team))
    errors: dict[str, Any] = {}
    try:
        api_key.clean()
    except ValidationError as error:
        errors = error.update_error_dict({})
    if key_request.budget_amount is not None:
        spec = BudgetSpec(unit="usd", period="month", amount=key_request.budget_amount)
        if excess := _excess_of_budget(spec, team):
            errors["budget_amount"] = [excess]
    if errors:
        raise ValidationError(errors)


def check_increase(key_request: KeyRequest) -> None:
    """Raise ValidationError, by the fields of the request, unless the key with it is within the team's policy."""
    api_key = key_request.api_key
    assert api_key is not None
    changed = APIKey.objects.select_related("team").get(pk=api_key.pk)
    for name in _raised(key_request):
        setattr(changed, name, getattr(key_request, name))
    errors: dict[str, Any] = {}
    try:
        changed.clean()
    except ValidationError as error:
        errors = error.update_error_dict({})
    if key_request.budget is not None and key_request.budget_amount is not None and changed.team is not None:
        spec = key_request.budget.spec._replace(amount=key_request.budget_amount)
        if excess := _excess_of_budget(spec, changed.team):
            errors["budget_amount"] = [excess]
    if errors:
        raise ValidationError(errors)


def _apply_increase(key_request: KeyRequest) -> None:
    """Set the approved limits and budget of the key. Raise Conflict if the key changed hands or was revoked."""
    found = APIKey.objects.select_for_update(no_key=True).filter(pk=key_request.api_key_id).first()
    if found is None or found.revoked_at is not None:
        raise Conflict("The key is revoked.")
    if found.team_id is None or found.team_id != key_request.team_id:
        raise Conflict("The team does not own the key any more.")
    _usable_team(key_request)
    if key_request.budget_amount is not None and (
        key_request.budget is None or key_request.budget.api_key_id != found.pk
    ):
        raise Conflict("The budget does not exist any more.")
    key_request.api_key = found
    check_increase(key_request)
    raised = _raised(key_request)
    for name in raised:
        setattr(found, name, getattr(key_request, name))
    if raised:
        found.save(update_fields=raised)
    if key_request.budget is not None and key_request.budget_amount is not None:
        key_request.budget.amount = key_request.budget_amount
        key_request.budget.save(update_fields=["amount"])


def _raised(key_request: KeyRequest) -> list[str]:
    return [name for name in LIMITS if getattr(key_request, name) is not None]


def _excess_of_budget(spec: BudgetSpec, team: Team) -> str | None:
    return team_ceilings.exceeding_budget(spec, [each.spec for each in team.budgets.all()], name=team.name)


def _key_fields(key_request: KeyRequest, team: Team) -> dict[str, Any]:
    names = ("name", "allowed_models", *LIMITS)
    return {name: getattr(key_request, name) for name in names} | {"team": team, "purpose": key_request.reason}


def _usable_team(key_request: KeyRequest) -> Team:
    team = Team.objects.filter(pk=key_request.team_id or 0).first()
    if team is None:
        raise Conflict("The team does not exist any more.")
    if team.disabled_at is not None:
        raise Conflict(f"The team {team} is disabled.")
    return team


def _locked(pk: int, *, state: str | None = None) -> KeyRequest:
    key_request = KeyRequest.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)
    if state is not None and key_request.state != state:
        by = f" by {key_request.decided_by}" if key_request.decided_by else ""
        raise Conflict(f"The request is {key_request.get_state_display().lower()}{by} already.")
    return key_request


def _close(key_request: KeyRequest, state: str, *, by: Any = None) -> KeyRequest:
    key_request.state = state
    key_request.decided_at, key_request.decided_by = timezone.now(), by
    key_request.save()
    return key_request
