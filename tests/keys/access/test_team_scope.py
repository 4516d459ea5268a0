"""Scope of a user: all teams with the permission, otherwise the teams of which the user is a member."""

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User

from keys.access.team_scope import in_scope, teams_of
from keys.models import APIKey, Team

pytestmark = pytest.mark.django_db


@pytest.fixture
def crew() -> Team:
    return Team.objects.create(name="crew")


def member_of(*teams: Team, group: str | None = None, **fields: Any) -> User:
    user = User.objects.create_user("ann", is_staff=True, **fields)
    user.teams.add(*teams)
    user.groups.add(*Group.objects.filter(name=group))
    return User.objects.get(pk=user.pk)


@pytest.mark.parametrize("role", ["Administrator", "Key manager", "Analyst", "Auditor"])
def test_the_roles_of_operators_view_all_teams(role: str, crew: Team) -> None:
    assert teams_of(member_of(crew, group=role)) is None


def test_a_superuser_views_all_teams() -> None:
    assert teams_of(User.objects.create_superuser("root")) is None


def test_others_view_the_teams_of_which_they_are_members(crew: Team) -> None:
    Team.objects.create(name="other")

    assert teams_of(member_of(crew)) == frozenset({crew.pk})


def test_a_user_without_a_team_an_inactive_and_an_anonymous_one_view_none(crew: Team) -> None:
    assert teams_of(User.objects.create_user("bob")) == frozenset()
    assert teams_of(member_of(crew, is_active=False)) == frozenset()
    assert teams_of(AnonymousUser()) == frozenset()


def test_the_scope_is_read_once_per_user_object(crew: Team, django_assert_max_num_queries: Any) -> None:
    user = member_of(crew)
    user.has_perm("keys.view_all_teams")  # reads the permissions of the user

    with django_assert_max_num_queries(1):
        assert teams_of(user) == teams_of(user)


def test_the_condition_of_a_scope_leaves_out_keys_of_users_and_of_other_teams(crew: Team) -> None:
    user = member_of(crew)
    own, _ = APIKey.objects.issue(name="own", team=crew)
    APIKey.objects.issue(name="other", team=Team.objects.create(name="other"))
    APIKey.objects.issue(name="of a user", owner=user)

    assert list(APIKey.objects.filter(in_scope(user, "team"))) == [own]
    assert APIKey.objects.filter(in_scope(User.objects.create_superuser("root"), "team")).count() == 3
