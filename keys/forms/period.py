"""Form that selects the period of a usage report."""

from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from keys.forms.fields import check_year
from keys.reports.date_range import DateRange

MAX_PERIOD_DAYS = 366


class PeriodForm(forms.Form):
    """The days of a report, as given in its URL: a preset or a first and a last day."""

    CUSTOM = "custom"
    PRESETS = {
        "today": "Today",
        "7d": "7 days",
        "30d": "30 days",
        "month": "This month",
        "last-month": "Last month",
    }
    DEFAULT = "7d"

    period = forms.ChoiceField(choices=[*PRESETS.items(), (CUSTOM, "Custom period")], required=False)
    start = forms.DateField(required=False, validators=[check_year])
    end = forms.DateField(required=False, validators=[check_year])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("period") == self.CUSTOM and not self.errors:
            self._check_days(cleaned["start"], cleaned["end"])
        return cleaned

    def _check_days(self, start: date | None, end: date | None) -> None:
        if start is None or end is None:
            raise ValidationError("Enter the first and the last day.")
        if end < start:
            raise ValidationError("The last day is before the first.")
        if (end - start).days >= MAX_PERIOD_DAYS:
            raise ValidationError(f"A report covers at most {MAX_PERIOD_DAYS} days.")

    def chosen(self) -> str:
        """Return the name of the choice; the default if the form is invalid."""
        return self.cleaned_data.get("period") or self.DEFAULT if self.is_valid() else self.DEFAULT

    def query(self) -> str:
        """Return the choice as a query string."""
        chosen = {"period": self.chosen()}
        if chosen["period"] == self.CUSTOM:
            chosen |= {name: self.cleaned_data[name].isoformat() for name in ("start", "end")}
        return urlencode(chosen)

    def chosen_period(self) -> DateRange:
        today = timezone.localdate()
        chosen = self.chosen()
        if chosen == self.CUSTOM:
            return DateRange(first=self.cleaned_data["start"], last=self.cleaned_data["end"])
        if chosen == "last-month":
            last = today.replace(day=1) - timedelta(days=1)
            return DateRange(first=last.replace(day=1), last=last)
        first = {
            "today": today,
            "7d": today - timedelta(days=6),
            "30d": today - timedelta(days=29),
            "month": today.replace(day=1),
        }[chosen]
        return DateRange(first=first, last=today)
