"""
The roles that ship with the gateway, as groups: what each may do is a table here.

After each `migrate`, permissions that a release has brought are added to the groups that should have them. What admins
changed since stays: a permission is given once, so one that was taken away stays away; a renamed group keeps its role;
a deleted one does not come back; and a group that had the name of a role before the gateway did is left alone.
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
        "keys.view_usagerecord",
    ],
    ANALYST: ["keys.view_usagerecord", "keys.export_usage", "keys.view_team", "keys.view_modelprice"],
    AUDITOR: ["*.view_*"],
}


@receiver(post_migrate, sender=apps.get_app_config("staff"), dispatch_uid="staff.roles")
def ensure(using: str = "default", apps: Apps = apps, **kwargs: Any) -> None:
    """Give each role what it should have and was not given before."""
    if using != "default" or ("staff", "role") not in _tables(apps):
        return  # on the way back, before there were roles
    permissions = {
        f"{app_label}.{codename}": pk
        for pk, app_label, codename in Permission.objects.values_list("pk", "content_type__app_label", "codename")
    }
    known = {role.name: role for role in Role.objects.select_related("group")}
    for name, patterns in ROLES.items():
        wanted = {label for label in permissions if any(fnmatchcase(label, pattern) for pattern in patterns)}
        with transaction.atomic():
            if name in known:
                _give(known[name], wanted, permissions)
            else:
                with disable_auditlog():  # part of the installation, no change of it
                    _give(_create(name), wanted, permissions)


def _tables(apps: Apps) -> set[tuple[str, str]]:
    return {(model._meta.app_label, model._meta.model_name or "") for model in apps.get_models()}


def _create(name: str) -> Role:
    """A role with its group, or without one if the name was taken."""
    is_taken = Group.objects.filter(name=name).exists()
    return Role.objects.create(name=name, group=None if is_taken else Group.objects.create(name=name))


def _give(role: Role, wanted: set[str], permissions: dict[str, int]) -> None:
    labels = sorted(wanted - set(role.granted_permissions))
    if not labels:
        return
    if role.group is not None:
        role.group.permissions.add(*(permissions[label] for label in labels))
    role.granted_permissions = sorted([*role.granted_permissions, *labels])
    role.save(update_fields=["granted_permissions"])
