"""Form that extends the expiry of API keys by a number of days."""

from datetime import timedelta

from django import forms


class ExtendExpiryForm(forms.Form):
    by = forms.TypedChoiceField(
        label="Extend by",
        choices=[("30", "30 days"), ("90", "90 days"), ("180", "180 days"), ("365", "365 days")],
        coerce=lambda days: timedelta(days=int(days)),
        initial="90",
    )
