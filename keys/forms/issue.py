"""Form that issues an API key."""

import secrets
from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from keys.forms.access_policy import KeyForm
from keys.forms.fields import check_year


class IssueForm(KeyForm):
    """The fields of a new key. The token is its idempotency key: a form that is sent twice issues one key."""

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

    expires = forms.ChoiceField(
        choices=Expiry.CHOICES,
        initial="90",
        help_text="Keys without expiry stay valid until revoked. Prefer an expiry date; rotation is quick.",
    )
    expires_on = forms.DateField(
        label="Last day",
        required=False,
        validators=[check_year],
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        help_text="For “on a date”: the key works until the end of this day.",
    )
    token = forms.CharField(min_length=20, max_length=64, widget=forms.HiddenInput, initial=secrets.token_urlsafe)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].widget.attrs["autofocus"] = True

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("expires") == self.Expiry.DATE and "expires_on" in cleaned:
            day = cleaned["expires_on"]
            if day is None:
                self.add_error("expires_on", "Choose the last day on which the key works.")
            elif day < timezone.localdate():
                self.add_error("expires_on", "Choose a day that is not in the past.")
        self._check_no_expiry_reason(cleaned, never_expires=cleaned.get("expires") == self.Expiry.NEVER)
        if "expires" in cleaned and not self.errors.get("expires_on"):
            self.instance.expires_at = self._expires_at(cleaned["expires"])
        return cleaned

    def key_fields(self) -> dict[str, Any]:
        """Return the arguments of `APIKey.objects.issue` except the token."""
        names = [*self._meta.fields, "owner", "team", "expires_at"]  # type: ignore[misc]
        return {name: getattr(self.instance, name) for name in names}

    def _expires_at(self, choice: str) -> datetime | None:
        if choice == self.Expiry.NEVER:
            return None
        if choice == self.Expiry.DATE:
            day_after = self.cleaned_data["expires_on"] + timedelta(days=1)
            return datetime.combine(day_after, time.min, tzinfo=timezone.get_default_timezone())
        return timezone.now() + timedelta(days=int(choice))
