"""Audit log: entries for changes of audited models, by pages, commands and the shell, and their history.

`staff/audit_registry.py` registers the models. Signals report the saving and deletion of rows. `QuerySet.update()` and
`bulk_create()` send none, so audited models must not be changed with them.
"""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from auditlog.context import auditlog_disabled
from auditlog.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.db.models.signals import pre_save
from django.dispatch import receiver
from django.http import HttpRequest

from audit import sentences

ANONYMOUS = "not signed in"
ACTIONS = {
    LogEntry.Action.CREATE: "created",
    LogEntry.Action.UPDATE: "changed",
    LogEntry.Action.DELETE: "deleted",
    LogEntry.Action.ACCESS: "exported",
}
_request: ContextVar[tuple[HttpRequest, str | None] | None] = ContextVar("_request", default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An entry of the audit log, prepared for display."""

    time: datetime
    actor: str
    action: str
    subject: str
    changes: list[str]
    client_ip: str | None


# ---- Actors.


@contextmanager
def attributed_to(http_request: HttpRequest, *, client_ip: str | None) -> Iterator[None]:
    """Attribute the changes in the block to the signed-in user and the client IP address."""
    token = _request.set((http_request, client_ip))
    try:
        yield
    finally:
        _request.reset(token)


def command_line() -> str:
    """Return the actor without a request: the user of the operating system, not a variable that anyone can set."""
    try:
        return f"command line ({pwd.getpwuid(os.getuid()).pw_name})"
    except KeyError:  # containers run with user IDs that have no name
        return f"command line (user {os.getuid()})"


@receiver(pre_save, sender=LogEntry, dispatch_uid="audit.log")
def _complete(instance: LogEntry, **kwargs: Any) -> None:
    """Add the actor, the IP address and the object whose history includes the entry.

    The actor's name is stored too, because it must outlive the user.
    """
    if not instance._state.adding:
        return
    extra = instance.additional_data or {}
    instance.cid = extra.pop("part_of", None) or _label(instance.content_type.model_class(), instance.object_pk)
    request = _request.get()
    name = command_line()
    if request is not None:
        http_request, instance.remote_addr = request
        name = http_request.user.get_username() or ANONYMOUS
        instance.actor = http_request.user if http_request.user.is_authenticated else None
    instance.additional_data = extra | {"actor": name}


# ---- Entries besides field changes.


def record(instance: Model, changes: dict[str, Any], *, action: int = LogEntry.Action.UPDATE) -> None:
    """Add an entry for a change outside the fields of the row, such as `{"recovery codes": ["set", "set"]}`."""
    LogEntry.objects.log_create(instance, action=action, changes=changes, force_log=True)


def record_export(model: type[Model], description: str) -> None:
    """Add an entry for an export of rows as a file, with a description of the rows."""
    content_type = ContentType.objects.get_for_model(model)
    LogEntry.objects.create(
        content_type=content_type, object_pk="", object_repr=description, action=LogEntry.Action.ACCESS, changes={}
    )


def record_members(
    action: str, instance: Any, reverse: bool, model: Any, pk_set: set[int] | None, **kwargs: Any
) -> None:
    """Receive m2m_changed: add an entry for the row that defines the relation, with the added or removed members."""
    if auditlog_disabled.get() or action not in ("post_add", "post_remove", "pre_clear"):
        return
    field = _relation(kwargs["sender"], model if reverse else type(instance))
    if reverse:
        rows = model.objects.filter(**({field.name: instance} if pk_set is None else {"pk__in": pk_set}))
        pairs = [(row, [str(instance)]) for row in rows]
    else:
        members = getattr(instance, field.name).all() if pk_set is None else model.objects.filter(pk__in=pk_set)
        pairs = [(instance, [str(member) for member in members])]
    operation = "add" if action == "post_add" else "delete"
    for row, names in pairs:
        if names:
            record(row, {field.name: {"type": "m2m", "operation": operation, "objects": names}})


def _relation(through: Any, model: type[Model]) -> Any:
    return next(field for field in model._meta.many_to_many if field.remote_field.through is through)


# ---- History.


def history_of(instance: Model, *, limit: int = 100) -> list[Entry]:
    """Return the latest changes of a row and of its parts (such as a key's secrets and budgets), newest first."""
    found = LogEntry.objects.filter(cid=_label(instance._meta.concrete_model, instance.pk))
    return [
        entry_of(row) for row in found.select_related("actor", "content_type").order_by("-timestamp", "-pk")[:limit]
    ]


def entry_of(row: LogEntry) -> Entry:
    """Return a stored entry as text."""
    model = row.content_type.model_class()
    return Entry(
        time=row.timestamp,
        actor=actor_of(row),
        action=ACTIONS[row.action],
        subject=f"{model._meta.verbose_name if model else row.content_type.model} {row.object_repr}",
        changes=sentences.change_sentences(model, row.changes or {}),
        client_ip=row.remote_addr,
    )


def actor_of(row: LogEntry) -> str:
    """Return the name of the user or process that made the change."""
    return (row.additional_data or {}).get("actor") or (row.actor.get_username() if row.actor else ANONYMOUS)


def _label(model: type[Model] | None, pk: object) -> str:
    return f"{model._meta.label_lower if model else ''}/{pk}"
