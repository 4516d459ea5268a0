"""Form that rotates an API key."""

import secrets
from datetime import timedelta

from django import forms

OVERLAPS = {
    "0": ("now", timedelta()),
    "1h": ("in 1 hour", timedelta(hours=1)),
    "24h": ("in 24 hours", timedelta(hours=24)),
    "7d": ("in 7 days", timedelta(days=7)),
}


class RotateForm(forms.Form):
    """Expiry of the previous secret. The token is the idempotency key: a form that is sent twice issues one secret."""

    overlap = forms.ChoiceField(
        label="Previous secret expires",
        choices=[(name, label) for name, (label, _) in OVERLAPS.items()],
        initial="24h",
        widget=forms.RadioSelect,
        help_text="Both secrets are valid until then.",
    )
    token = forms.CharField(min_length=20, max_length=64, widget=forms.HiddenInput, initial=secrets.token_urlsafe)

    @property
    def chosen_overlap(self) -> timedelta:
        return OVERLAPS[self.cleaned_data["overlap"]][1]

    @property
    def chosen_overlap_label(self) -> str:
        return OVERLAPS[self.cleaned_data["overlap"]][0]
