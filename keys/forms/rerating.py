"""Form that chooses the requests of a re-rating."""

from datetime import date
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from keys.forms.fields import check_year

DATE = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")


class ReratingForm(forms.Form):
    """Days of the reporting time zone, both included, and optionally a model and an upstream."""

    first = forms.DateField(label="From", validators=[check_year], widget=DATE)
    last = forms.DateField(label="To", validators=[check_year], widget=DATE)
    model = forms.CharField(label="Model", required=False, max_length=256)
    upstream = forms.CharField(label="Upstream", required=False, max_length=64)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        first, last = cleaned.get("first"), cleaned.get("last")
        if isinstance(first, date) and isinstance(last, date) and last < first:
            raise ValidationError("The last day is before the first.")
        return cleaned
