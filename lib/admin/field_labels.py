"""Accessible names for the form fields that Django's admin leaves without one."""

from typing import Any

from django import forms
from django.db.models import Field, ManyToManyField
from django.forms.models import BaseInlineFormSet
from django.forms.utils import pretty_name
from django.http import HttpRequest

from lib.admin.form_guard import FormSetGuard


class FieldLabels:
    """Mixin for a ModelAdmin: label date and time separately, and show many-to-many fields as checkboxes."""

    def formfield_for_dbfield(self, db_field: "Field[Any, Any]", request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if field is not None and isinstance(field.widget, forms.MultiWidget):
            _set_label(field.widget, str(field.label))
        return field

    def formfield_for_manytomany(
        self, db_field: "ManyToManyField[Any, Any]", request: HttpRequest | None = None, **kwargs: Any
    ) -> Any:
        """Use checkboxes: the two lists of Django's own widget have no name and are wider than a tablet."""
        kwargs.setdefault("widget", forms.CheckboxSelectMultiple)
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]


class LabeledInlineFormSet(FormSetGuard, BaseInlineFormSet):
    """Formset of a tabular inline. Its cells have no label elements, only a column heading that is visible."""

    def add_fields(self, form: forms.ModelForm, index: int | None) -> None:
        super().add_fields(form, index)
        for name, field in form.fields.items():
            if not field.widget.is_hidden:
                _set_label(field.widget, str(field.label or pretty_name(name)).capitalize())


def _set_label(widget: Any, label: str) -> None:
    if isinstance(widget, forms.MultiWidget):
        for part, word in zip(widget.widgets, ("date", "time"), strict=True):
            part.attrs["aria-label"] = f"{label}: {word}"
        return
    # RelatedFieldWidgetWrapper, which adds links beside a choice, does not pass its attributes on.
    getattr(widget, "widget", widget).attrs.setdefault("aria-label", label)
