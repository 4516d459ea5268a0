"""Finding the key that a raw key belongs to."""

from django import forms


class FindForm(forms.Form):
    """A raw key, in the body of a POST: it is in no URL, no history and no access log."""

    raw_key = forms.CharField(
        max_length=200,
        widget=forms.PasswordInput(
            attrs={"autocomplete": "off", "placeholder": "mgw_…", "spellcheck": "false", "aria-label": "Full API key"}
        ),
    )
