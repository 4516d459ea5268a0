"""Concurrent changes: a form saves only the fields it shows and keeps changes of other users."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db.models import Model
from django.db.models.signals import pre_save
from django.test import Client
from django.utils import timezone

from keys.models import APIKey, Budget, Team
from tests.support.largest_form import largest_form

Issue = Callable[..., tuple[APIKey, str]]


@contextmanager
def meanwhile(model: type[Model], **done: Any) -> Iterator[None]:
    """Change the row between the moments when the form reads and saves it."""

    def change(instance: Any, **kwargs: Any) -> None:
        model._default_manager.filter(pk=instance.pk).update(**done)

    pre_save.connect(change, sender=model)
    try:
        yield
    finally:
        pre_save.disconnect(change, sender=model)


def saved(browser: Client, address: str, **fields: Any) -> None:
    form = largest_form(browser.get(address).text) | fields
    assert browser.post(address, form).status_code == 302


def test_a_concurrent_revocation_is_kept(browser: Client, issue: Issue) -> None:
    api_key, _ = issue()

    with meanwhile(APIKey, revoked_at=timezone.now(), revocation_reason="compromised"):
        saved(browser, f"/admin/keys/apikey/{api_key.pk}/change/", name="renamed")

    api_key.refresh_from_db()
    assert (api_key.name, api_key.state, api_key.revocation_reason) == ("renamed", "revoked", "compromised")


def test_a_concurrently_disabled_team_stays_disabled(browser: Client) -> None:
    team = Team.objects.create(name="crew")

    with meanwhile(Team, disabled_at=timezone.now()):
        saved(browser, f"/admin/keys/team/{team.pk}/change/", name="renamed")

    team.refresh_from_db()
    assert (team.name, team.state) == ("renamed", "disabled")


def test_a_concurrent_temporary_increase_is_kept(browser: Client, issue: Issue) -> None:
    api_key, _ = issue()
    budget = Budget.objects.create(api_key=api_key, amount=5_000_000)

    with meanwhile(Budget, temporary_increase=1_000_000, temporary_increase_until=timezone.now() + timedelta(days=1)):
        saved(browser, f"/admin/keys/apikey/{api_key.pk}/change/", **{"budgets-0-amount": "7.00"})

    budget.refresh_from_db()
    assert (budget.amount, budget.temporary_increase) == (7_000_000, 1_000_000)
