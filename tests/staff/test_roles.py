"""Roles as groups: releases grant permissions once, and changes by admins persist."""

from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType

from keys.models import APIKey
from staff import roles
from staff.models import Role

pytestmark = pytest.mark.django_db


def permissions_of(name: str) -> set[str]:
    found = Group.objects.get(name=name).permissions.values_list("content_type__app_label", "codename")
    return {f"{app_label}.{codename}" for app_label, codename in found}


def new_permission(codename: str = "admire_apikey") -> Permission:
    """A permission of a later release."""
    kind = ContentType.objects.get_for_model(APIKey)
    return Permission.objects.create(content_type=kind, codename=codename, name="Can admire an API key")


def test_a_new_installation_has_the_roles() -> None:
    everything = {
        f"{app_label}.{codename}"
        for app_label, codename in Permission.objects.values_list("content_type__app_label", "codename")
    }

    assert permissions_of("Administrator") == everything
    assert permissions_of("Auditor") == {label for label in everything if ".view_" in label}
    assert permissions_of("Analyst") == {
        "keys.view_usagerecord",
        "keys.export_usage",
        "keys.view_team",
        "keys.view_modelprice",
        "keys.view_negotiatedfactor",
        "keys.view_bill",
    }
    assert permissions_of("Key manager") == {
        *(f"keys.{verb}_apikey" for verb in ("view", "issue", "change", "rotate", "disable", "revoke", "export")),
        *(f"keys.{verb}_budget" for verb in ("view", "add", "change", "delete")),
        "keys.view_team",
        "keys.view_modelprice",
        "keys.view_negotiatedfactor",
        "keys.view_usagerecord",
    }


@pytest.mark.parametrize("pattern", [pattern for patterns in roles.ROLES.values() for pattern in patterns])
def test_every_pattern_matches_a_permission(pattern: str) -> None:
    name = next(name for name, patterns in roles.ROLES.items() if pattern in patterns)

    assert any(roles.fnmatchcase(label, pattern) for label in permissions_of(name))


def test_only_administrators_can_change_users_and_groups() -> None:
    for name in (roles.KEY_MANAGER, roles.ANALYST, roles.AUDITOR):
        for label in permissions_of(name):
            assert not label.startswith(("auth.", "staff.", "axes.", "auditlog.")) or ".view_" in label


def test_a_second_run_changes_nothing(django_assert_num_queries: Any) -> None:
    before = {name: permissions_of(name) for name in roles.ROLES}

    with django_assert_num_queries(10):  # permissions, roles, and a savepoint around each role
        roles.ensure()

    assert {name: permissions_of(name) for name in roles.ROLES} == before
    assert not LogEntry.objects.exists()


def test_a_permission_of_a_later_release_is_granted_to_existing_groups() -> None:
    new_permission("view_beauty")

    roles.ensure()

    assert "keys.view_beauty" in permissions_of("Administrator") & permissions_of("Auditor")
    assert "keys.view_beauty" not in permissions_of("Key manager")
    entry = LogEntry.objects.get(object_repr="Auditor")
    assert entry.changes["permissions"]["operation"] == "add"


def test_a_permission_removed_by_an_admin_is_not_granted_again() -> None:
    group = Group.objects.get(name="Key manager")
    group.permissions.remove(Permission.objects.get(codename="revoke_apikey"))

    roles.ensure()

    assert "keys.revoke_apikey" not in permissions_of("Key manager")


def test_an_additional_permission_is_kept() -> None:
    Group.objects.get(name="Analyst").permissions.add(Permission.objects.get(codename="view_apikey"))

    roles.ensure()

    assert "keys.view_apikey" in permissions_of("Analyst")


def test_a_renamed_group_keeps_its_role() -> None:
    Group.objects.filter(name="Auditor").update(name="Revision")
    new_permission("view_beauty")

    roles.ensure()

    assert "keys.view_beauty" in permissions_of("Revision")
    assert not Group.objects.filter(name="Auditor").exists()


def test_a_deleted_group_is_not_created_again() -> None:
    Group.objects.get(name="Analyst").delete()

    roles.ensure()

    assert not Group.objects.filter(name="Analyst").exists()


def test_an_existing_group_with_the_name_of_a_role_is_not_changed() -> None:
    Role.objects.all().delete()
    Group.objects.all().delete()
    Group.objects.create(name="Administrator")

    roles.ensure()
    roles.ensure()

    assert permissions_of("Administrator") == set()
    assert permissions_of("Analyst")
