"""Protection of pages from forged forms and URLs, and from concurrent changes: no server error, no unlimited work."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, FieldDoesNotExist, ValidationError
from django.db import IntegrityError
from django.db.models import CharField, QuerySet, TextField, UniqueConstraint
from django.forms.formsets import INITIAL_FORM_COUNT, TOTAL_FORM_COUNT
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import cached_property

SAVE_AS_NEW = "_saveasnew"
P = ParamSpec("P")


class FormGuard:
    """Mixin for a ModelAdmin: reject parameters that no page of the gateway sends and that Django does not check."""

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        """Allow the primary key alone: every foreign key refers to it, and Django fails for reverse relations."""
        return bool(to_field == self.opts.pk.name)  # type: ignore[attr-defined]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row, or None. Django checks no empty `_to_field`, and fails for it."""
        return super().get_object(request, object_id, from_field or None)  # type: ignore[misc]

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any) -> Any:
        """Run the action, unless a selected value cannot be the primary key of a row."""
        if not all(map(self._can_be_key, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            messages.error(request, "The selection is invalid. Select the rows again.")
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset, *args)  # type: ignore[misc]

    def _can_be_key(self, value: str) -> bool:
        try:
            self.opts.pk.clean(value.replace("\0", ""), None)  # type: ignore[attr-defined]
        except ValidationError:
            return False
        return "\0" not in value

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Reject "Save as new" where it is not offered: Django would fail to show the invalid form again."""
        if SAVE_AS_NEW in request.POST and not self.save_as:  # type: ignore[attr-defined]
            raise BadRequest("This form has no “Save as new”.")
        return show_conflict(super().changeform_view)(request, *args, **kwargs)  # type: ignore[misc]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return the texts of the query string. The widgets of other fields fail for values of a wrong type."""
        return {name: value for name, value in request.GET.items() if self._is_text(name)}

    def _is_text(self, name: str) -> bool:
        try:
            return isinstance(self.opts.get_field(name), CharField | TextField)  # type: ignore[attr-defined]
        except FieldDoesNotExist:
            return False


class FormSetGuard:
    """Mixin for a formset: check the numbers of forms, and show the errors of hidden fields."""

    @cached_property
    def management_form(self) -> Any:
        form = super().management_form  # type: ignore[misc]
        if not self.is_bound or not form.is_valid():  # type: ignore[attr-defined]
            return form
        initial, total = form.cleaned_data[INITIAL_FORM_COUNT], form.cleaned_data[TOTAL_FORM_COUNT]
        if not 0 <= initial <= total <= self.absolute_max:  # type: ignore[attr-defined]
            form.add_error(None, "The numbers of forms are invalid.")
            form.cleaned_data |= {INITIAL_FORM_COUNT: 0, TOTAL_FORM_COUNT: 0}
        return form

    def full_clean(self) -> None:
        """Name rows that were removed, and rows that were added, after the page was opened."""
        super().full_clean()  # type: ignore[misc]
        for form in self.forms if self.is_bound else ():  # type: ignore[attr-defined]
            if any(field.errors for field in form.hidden_fields()):
                # Not in the row: Django's inline does not render it.
                self._non_form_errors.append("A row no longer exists. Reload the page.")  # type: ignore[attr-defined]
            elif form.has_changed() and form.is_valid() and not self._should_delete_form(form):  # type: ignore[attr-defined]
                _check_is_unique(form)


def _check_is_unique(form: Any) -> None:
    """Compare a row with those in the database. Django leaves out constraints that contain the parent of the row."""
    for constraint in form.instance._meta.constraints:
        if isinstance(constraint, UniqueConstraint):
            try:
                constraint.validate(type(form.instance), form.instance)
            except ValidationError as error:
                form.add_error(None, error)


def show_conflict(view: Callable[P, HttpResponse]) -> Callable[P, HttpResponse]:
    """Decorate a view: call it again after an IntegrityError.

    A concurrent request has just saved the same, for example that of a double click. The second call reports it.
    """

    @wraps(view)
    def repeated(*args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        try:
            return view(*args, **kwargs)
        except IntegrityError:
            return view(*args, **kwargs)

    return repeated
