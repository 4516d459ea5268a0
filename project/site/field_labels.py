"""Names for the fields that Django's admin leaves without one, so that a screen reader can say what they are."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib.admin import ModelAdmin
from django.db.models import Field, ManyToManyField
from django.forms.utils import pretty_name
from django.http import HttpRequest


class LabelledFields:
    """Put before a ModelAdmin: moments in two fields, rows of tables, and long choices are named one by one."""

    def formfield_for_dbfield(self, db_field: "Field[Any, Any]", request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if field is not None and isinstance(field.widget, forms.MultiWidget):
            _name(field.widget, str(field.label))
        return field

    def formfield_for_manytomany(
        self, db_field: "ManyToManyField[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> Any:
        """Boxes to check: Django's two lists, between which one moves, are unnamed and wider than a tablet."""
        kwargs.setdefault("widget", forms.CheckboxSelectMultiple)
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]

    def get_formsets_with_inlines(self, request: HttpRequest, obj: Any = None) -> Iterator[Any]:
        for formset, inline in super().get_formsets_with_inlines(request, obj):  # type: ignore[misc]
            yield type(formset.__name__, (_LabelledRows, formset), {}), inline


class _LabelledRows:
    """The cells of a table have their column's heading for eyes only."""

    def add_fields(self, form: forms.ModelForm, index: int | None) -> None:
        super().add_fields(form, index)  # type: ignore[misc]
        for name, field in form.fields.items():
            if not field.widget.is_hidden:
                _name(field.widget, str(field.label or pretty_name(name)).capitalize())


def _name(widget: Any, label: str) -> None:
    if isinstance(widget, forms.MultiWidget):
        for part, word in zip(widget.widgets, ("date", "time"), strict=True):
            part.attrs["aria-label"] = f"{label}: {word}"
        return
    # What wraps a choice for the links beside it passes no attributes on.
    getattr(widget, "widget", widget).attrs.setdefault("aria-label", label)


def labelled(admin_class: type[ModelAdmin]) -> type[ModelAdmin]:
    namespace = {"__module__": admin_class.__module__}
    return type(admin_class)(admin_class.__name__, (LabelledFields, admin_class), namespace)  # type: ignore[misc]
