"""Roles of the admin, as groups, with their permissions.

After each `migrate`, permissions that are new in the release are granted to the groups of the roles. Changes by
administrators persist: a permission is granted once, so a removed one stays removed; a renamed group keeps its role; a
deleted group is not created again; an existing group with the name of a role is not changed.
"""

from fnmatch import fnmatchcase
from typing import Any

from auditlog.context import disable_auditlog
from django.apps import apps
from django.apps.registry import Apps
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models.signals import post_migrate
from django.dispatch import receiver

from staff.models import Role

ADMINISTRATOR = "Administrator"
KEY_MANAGER = "Key manager"
ANALYST = "Analyst"
AUDITOR = "Auditor"

ROLES: dict[str, list[str]] = {
    ADMINISTRATOR: ["*"],
    KEY_MANAGER: [
        "keys.view_apikey",
        "keys.issue_apikey",
        "keys.change_apikey",
        "keys.rotate_apikey",
        "keys.disable_apikey",
        "keys.revoke_apikey",
        "keys.export_apikey",
        "keys.*_budget",
        "keys.view_team",
        "keys.view_modelprice",
        "keys.view_negotiatedfactor",
        "keys.view_usagerecord",
    ],
    ANALYST: [
        "keys.view_usagerecord",
        "keys.export_usage",
        "keys.view_team",
        "keys.view_modelprice",
        "keys.view_negotiatedfactor",
        "keys.view_bill",
    ],
    AUDITOR: ["*.view_*"],
}


@receiver(post_migrate, sender=apps.get_app_config("staff"), dispatch_uid="staff.roles")
def ensure(using: str = "default", apps: Apps = apps, **kwargs: Any) -> None:
    """Create missing roles and grant each role the permissions that it was not granted before."""
    if using != "default" or ("staff", "role") not in _tables(apps):
        return  # a backward migration to a state without roles
    permissions = {
        f"{app_label}.{codename}": pk
        for pk, app_label, codename in Permission.objects.values_list("pk", "content_type__app_label", "codename")
    }
    known = {role.name: role for role in Role.objects.select_related("group")}
    for name, patterns in ROLES.items():
        wanted = {label for label in permissions if any(fnmatchcase(label, pattern) for pattern in patterns)}
        with transaction.atomic():
            if name in known:
                _grant(known[name], wanted, permissions)
            else:
                with disable_auditlog():  # part of the installation, not a change to audit
                    _grant(_create(name), wanted, permissions)


def _tables(apps: Apps) -> set[tuple[str, str]]:
    return {(model._meta.app_label, model._meta.model_name or "") for model in apps.get_models()}


def _create(name: str) -> Role:
    """Create a role with its group; without a group if the name is taken."""
    is_taken = Group.objects.filter(name=name).exists()
    return Role.objects.create(name=name, group=None if is_taken else Group.objects.create(name=name))


def _grant(role: Role, wanted: set[str], permissions: dict[str, int]) -> None:
    labels = sorted(wanted - set(role.granted_permissions))
    if not labels:
        return
    if role.group is not None:
        role.group.permissions.add(*(permissions[label] for label in labels))
    role.granted_permissions = sorted([*role.granted_permissions, *labels])
    role.save(update_fields=["granted_permissions"])
