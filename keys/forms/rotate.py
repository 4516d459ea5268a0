"""How a key is rotated."""

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
    """When the old secret ends. The token makes sure that one form issues one secret."""

    overlap = forms.ChoiceField(
        label="The old secret ends",
        choices=[(name, words) for name, (words, _) in OVERLAPS.items()],
        initial="24h",
        widget=forms.RadioSelect,
        help_text="Until then both work.",
    )
    token = forms.CharField(min_length=20, max_length=64, widget=forms.HiddenInput, initial=secrets.token_urlsafe)

    @property
    def chosen_overlap(self) -> timedelta:
        return OVERLAPS[self.cleaned_data["overlap"]][1]
