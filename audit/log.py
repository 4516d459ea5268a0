"""
Who changed what: every change of an audited row leaves an entry, from a page, a command and the shell alike.

`staff/audited.py` names the rows. Changes are seen as rows are saved or deleted one by one, or deleted by a query;
`QuerySet.update()` and `bulk_create()` pass unseen, so nothing that is audited is changed by them.
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

NOBODY = "nobody signed in"
ACTIONS = {
    LogEntry.Action.CREATE: "created",
    LogEntry.Action.UPDATE: "changed",
    LogEntry.Action.DELETE: "deleted",
    LogEntry.Action.ACCESS: "exported",
}
_cause: ContextVar[tuple[HttpRequest, str | None] | None] = ContextVar("_cause", default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One change, as people read it."""

    moment: datetime
    actor: str
    action: str
    subject: str
    changes: list[str]
    address: str | None


# ---- who acts


@contextmanager
def on_behalf_of(http_request: HttpRequest, *, address: str | None) -> Iterator[None]:
    """What changes in here was done by whoever is signed in, from this address."""
    token = _cause.set((http_request, address))
    try:
        yield
    finally:
        _cause.reset(token)


def command_line() -> str:
    """Who acts without a request: the system's user. Not from the environment, which says whatever one likes."""
    try:
        return f"command line ({pwd.getpwuid(os.getuid()).pw_name})"
    except KeyError:  # containers run under ids without a name
        return f"command line (user {os.getuid()})"


@receiver(pre_save, sender=LogEntry, dispatch_uid="audit.log")
def _complete(instance: LogEntry, **kwargs: Any) -> None:
    """Say who, from where, and to whose history the entry belongs. The name stays when the user is deleted."""
    if not instance._state.adding:
        return
    extra = instance.additional_data or {}
    instance.cid = extra.pop("part_of", None) or _label(instance.content_type.model_class(), instance.object_pk)
    cause = _cause.get()
    name = command_line()
    if cause is not None:
        http_request, instance.remote_addr = cause
        name = http_request.user.get_username() or NOBODY
        instance.actor = http_request.user if http_request.user.is_authenticated else None
    instance.additional_data = extra | {"actor": name}


# ---- what is noted besides fields


def note(instance: Model, noted: dict[str, Any], *, action: int = LogEntry.Action.UPDATE) -> None:
    """An entry for what no field of the row says, such as `{"second factor": ["none", "set up"]}`."""
    LogEntry.objects.log_create(instance, action=action, changes=noted, force_log=True)


def note_export(model: type[Model], what: str) -> None:
    """An entry for rows that somebody took away as a file: which ones is said in words."""
    content_type = ContentType.objects.get_for_model(model)
    LogEntry.objects.create(
        content_type=content_type, object_pk="", object_repr=what, action=LogEntry.Action.ACCESS, changes={}
    )


def note_members(action: str, instance: Any, reverse: bool, model: Any, pk_set: set[int] | None, **kwargs: Any) -> None:
    """Receiver of m2m_changed: what was added or removed, on the side of the row that has the relation."""
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
            note(row, {field.name: {"type": "m2m", "operation": operation, "objects": names}})


def _relation(through: Any, model: type[Model]) -> Any:
    return next(field for field in model._meta.many_to_many if field.remote_field.through is through)


# ---- reading


def history_of(instance: Model, *, limit: int = 100) -> list[Entry]:
    """The latest changes of a row and of what belongs to it (a key's secrets and budgets), the newest first."""
    found = LogEntry.objects.filter(cid=_label(instance._meta.concrete_model, instance.pk))
    return [
        entry_of(row) for row in found.select_related("actor", "content_type").order_by("-timestamp", "-pk")[:limit]
    ]


def entry_of(row: LogEntry) -> Entry:
    model = row.content_type.model_class()
    return Entry(
        moment=row.timestamp,
        actor=actor_of(row),
        action=ACTIONS[row.action],
        subject=f"{model._meta.verbose_name if model else row.content_type.model} {row.object_repr}",
        changes=sentences.sentences(model, row.changes or {}),
        address=row.remote_addr,
    )


def actor_of(row: LogEntry) -> str:
    return (row.additional_data or {}).get("actor") or (row.actor.get_username() if row.actor else NOBODY)


def _label(model: type[Model] | None, pk: object) -> str:
    return f"{model._meta.label_lower if model else ''}/{pk}"
