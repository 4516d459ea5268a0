"""What people may enter about keys, and for which days they want a report."""

import re
import secrets
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone

from keys import hashing
from keys.models import APIKey
from keys.reports import Period

LONGEST_MODEL_NAME = 256
LONGEST_PERIOD_DAYS = 366
YEARS = range(2000, 3000)
_KEY_SHAPED = re.compile(rf"{hashing.PREFIX}[0-9A-Za-z]{{{hashing.HINT_LENGTH + 1},}}")


def find_raw_key(text: str) -> str | None:
    """What looks like a raw key, or a part of one, in what somebody pasted: anything longer than a hint."""
    found = _KEY_SHAPED.search(text)
    return found[0] if found else None


def check_year(value: date) -> None:
    """Raise ValidationError for a year in which the arithmetic of days and time zones could leave the calendar."""
    if value.year not in YEARS:
        raise ValidationError(f"Give a year from {YEARS[0]} to {YEARS[-1]}.")


class ModelNamesField(forms.CharField):
    """A list of model names, one a line. A name may end in `*`."""

    widget = AdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false", "placeholder": "claude-3-opus-20240229"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        lines = (line.strip() for line in (value or "").splitlines())
        return list(dict.fromkeys(line for line in lines if line))

    def validate(self, value: list[str]) -> None:
        for name in value:
            if "*" in name[:-1]:
                raise ValidationError("A * may stand at the end of a name only.")
            if len(name) > LONGEST_MODEL_NAME or not name.isprintable() or " " in name:
                raise ValidationError("Give one model name a line, without spaces.")

    def run_validators(self, value: list[str]) -> None:
        """Those of CharField look at a text; `validate` has looked at each name."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.to_python(self.prepare_value(initial)) != self.to_python(data)


def _model_names() -> ModelNamesField:
    return ModelNamesField(
        label="Allowed models",
        required=False,
        help_text="One a line; a name may end in *. Empty: every model that has a route.",
    )


class OwnerField(forms.ModelChoiceField):
    """Who can own a key: active people, and whoever owns it already."""

    def __init__(self) -> None:
        super().__init__(
            queryset=get_user_model().objects.none(),
            help_text="Answers for the key. When the owner is deactivated, the key stops.",
        )

    def offer(self, *, besides: int | None = None) -> None:
        users = get_user_model().objects.filter(Q(is_active=True) | Q(pk=besides))
        self.queryset = users.order_by(get_user_model().USERNAME_FIELD)


class IssueForm(forms.Form):
    """What a new key is made of. Its token makes sure that one form issues one key."""

    class Expiry:
        DATE = "date"
        NEVER = "never"
        CHOICES = [
            ("30", "in 30 days"),
            ("90", "in 90 days"),
            ("180", "in 180 days"),
            ("365", "in 365 days"),
            (DATE, "on a date"),
            (NEVER, "never"),
        ]

    name = forms.CharField(
        max_length=100, widget=AdminTextInputWidget(attrs={"autofocus": True}), help_text="Who or what calls with it."
    )
    owner = OwnerField()
    expires = forms.ChoiceField(choices=Expiry.CHOICES, initial="90")
    expires_on = forms.DateField(
        label="Last day",
        required=False,
        validators=[check_year],
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        help_text="Only for “on a date”: the key works to the end of this day.",
    )
    allowed_models = _model_names()
    token = forms.CharField(min_length=20, max_length=64, widget=forms.HiddenInput, initial=secrets.token_urlsafe)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].offer()  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("expires") == self.Expiry.DATE and "expires_on" in cleaned:
            day = cleaned["expires_on"]
            if day is None:
                self.add_error("expires_on", "Choose the last day on which the key works.")
            elif day < timezone.localdate():
                self.add_error("expires_on", "This day is over.")
        return cleaned

    def key_fields(self) -> dict[str, Any]:
        """What `APIKey.objects.issue` takes besides the token."""
        cleaned = self.cleaned_data
        return {
            "name": cleaned["name"],
            "owner": cleaned["owner"],
            "expires_at": self._expires_at(cleaned["expires"]),
            "allowed_models": cleaned["allowed_models"],
        }

    def _expires_at(self, choice: str) -> datetime | None:
        if choice == self.Expiry.NEVER:
            return None
        if choice == self.Expiry.DATE:
            day_after = self.cleaned_data["expires_on"] + timedelta(days=1)
            return datetime.combine(day_after, time.min, tzinfo=timezone.get_default_timezone())
        return timezone.now() + timedelta(days=int(choice))


class APIKeyForm(forms.ModelForm):
    """The rules of a key. Its secrets and its state are no fields."""

    owner = OwnerField()
    allowed_models = _model_names()
    expires_at = forms.DateTimeField(
        label="Expires at",
        required=False,
        validators=[check_year],
        widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M:%S", attrs={"type": "datetime-local", "step": 1}),
    )

    class Meta:
        model = APIKey
        fields = ["name", "owner", "expires_at", "allowed_models"]
        widgets = {"name": AdminTextInputWidget}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "owner" not in self.fields:  # a page for reading only has no fields
            return
        self.fields["owner"].offer(besides=self.instance.owner_id)  # type: ignore[attr-defined]
        zone = timezone.get_default_timezone_name()
        self.fields["expires_at"].help_text = f"Time zone: {zone}. Empty: the key does not expire."


class RevokeForm(forms.Form):
    """Why keys are revoked: whoever finds them later wants to know."""

    reason = forms.CharField(
        max_length=200,
        widget=AdminTextInputWidget(attrs={"placeholder": "Such as: found in a public repository"}),
        help_text="Stays with the key.",
    )


class ExtendForm(forms.Form):
    """By how long the end of keys is moved."""

    by = forms.TypedChoiceField(
        label="Extend by",
        choices=[("30", "30 days"), ("90", "90 days"), ("180", "180 days"), ("365", "365 days")],
        coerce=lambda days: timedelta(days=int(days)),
        initial="90",
    )


class FindForm(forms.Form):
    """A raw key, in the body of a POST: it is in no URL, no history and no access log."""

    raw_key = forms.CharField(
        max_length=200,
        widget=forms.PasswordInput(
            attrs={"autocomplete": "off", "placeholder": "mgw_…", "spellcheck": "false", "aria-label": "Full API key"}
        ),
    )


class PeriodForm(forms.Form):
    """The days that a report is about, as they stand in its URL."""

    CUSTOM = "custom"
    PRESETS = {
        "today": "Today",
        "7d": "7 days",
        "30d": "30 days",
        "month": "This month",
        "last-month": "Last month",
    }
    DEFAULT = "7d"

    period = forms.ChoiceField(choices=[*PRESETS.items(), (CUSTOM, "From … to")], required=False)
    start = forms.DateField(required=False, validators=[check_year])
    end = forms.DateField(required=False, validators=[check_year])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("period") == self.CUSTOM and not self.errors:
            self._check_days(cleaned["start"], cleaned["end"])
        return cleaned

    def _check_days(self, start: date | None, end: date | None) -> None:
        if start is None or end is None:
            raise ValidationError("Give the first and the last day.")
        if end < start:
            raise ValidationError("The last day is before the first.")
        if (end - start).days >= LONGEST_PERIOD_DAYS:
            raise ValidationError(f"A report covers {LONGEST_PERIOD_DAYS} days at most.")

    def chosen(self) -> str:
        """The name of the choice. What is not valid counts as the default."""
        return self.cleaned_data.get("period") or self.DEFAULT if self.is_valid() else self.DEFAULT

    def query(self) -> str:
        """The choice as it stands in a URL."""
        chosen = {"period": self.chosen()}
        if chosen["period"] == self.CUSTOM:
            chosen |= {name: self.cleaned_data[name].isoformat() for name in ("start", "end")}
        return urlencode(chosen)

    def chosen_period(self) -> Period:
        today = timezone.localdate()
        chosen = self.chosen()
        if chosen == self.CUSTOM:
            return Period(first=self.cleaned_data["start"], last=self.cleaned_data["end"])
        if chosen == "last-month":
            last = today.replace(day=1) - timedelta(days=1)
            return Period(first=last.replace(day=1), last=last)
        first = {
            "today": today,
            "7d": today - timedelta(days=6),
            "30d": today - timedelta(days=29),
            "month": today.replace(day=1),
        }[chosen]
        return Period(first=first, last=today)
