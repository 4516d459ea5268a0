"""Text form of the changes in an audit log entry, and the masking of secrets before they are stored."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import DateTimeField, Field, Model
from django.utils import timezone
from django.utils.text import capfirst

SET, NOT_SET = "set", "none"
MAX_LENGTH = 200


def masked(value: str) -> str:
    """Return what the log may store of a secret: whether it is set."""
    return NOT_SET if value in ("", "None") else SET


def change_sentences(model: type[Model] | None, changes: dict[str, Any]) -> list[str]:
    """Return one sentence per changed field, with the field's label. Fields that stay empty are omitted."""
    return sorted(_sentences(model, changes), key=str.lower)


def _sentences(model: type[Model] | None, changes: dict[str, Any]) -> Iterator[str]:
    for name, change in changes.items():
        label, field = _label(model, name)
        if isinstance(change, dict):
            verb = "added" if change["operation"] == "add" else "removed"
            yield f"{label}: {verb} {', '.join(change['objects'])}"
            continue
        before, after = (_text(value, field) for value in change)
        if change[0] == change[1] == SET:
            yield f"{label}: changed"
        elif before == NOT_SET:
            if after not in (NOT_SET, "no"):
                yield f"{label}: {after}"
        elif before != after:
            yield f"{label}: {before} → {after}"


def _label(model: type[Model] | None, name: str) -> tuple[str, Any]:
    try:
        field = model._meta.get_field(name) if model else None
    except FieldDoesNotExist:
        field = None
    if not isinstance(field, Field):
        return capfirst(name.replace("_", " ")), None
    label = str(field.verbose_name)
    if field.related_model and label == str(field.related_model._meta.verbose_name).lower():
        label = str(field.related_model._meta.verbose_name)  # API key, not Api key
    return capfirst(label), field


def _text(value: Any, field: Any) -> str:
    if value in (None, "", [], {}):
        return NOT_SET
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return _short(", ".join(map(str, value)))
    if isinstance(value, dict):
        return _short(", ".join(f"{name}={part}" for name, part in value.items()))
    if isinstance(field, DateTimeField):
        return _local_time(str(value))
    choices = dict(field.flatchoices) if field else {}
    return _short(str(choices.get(value, value)))


def _local_time(text: str) -> str:
    """Return a stored time, which is in UTC without an offset, in the reporting time zone."""
    try:
        time = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return text
    return f"{timezone.localtime(time):%Y-%m-%d %H:%M}"


def _short(text: str) -> str:
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"
