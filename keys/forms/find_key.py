"""Finding the key that a raw key belongs to."""

from django import forms

from keys.domain.raw_key import shown_hint


class FindForm(forms.Form):
    """A raw key, in the body of a POST: it is in no URL, no history and no access log."""

    raw_key = forms.CharField(
        max_length=200,
        widget=forms.PasswordInput(
            attrs={
                "autocomplete": "off",
                "placeholder": shown_hint(""),
                "spellcheck": "false",
                "aria-label": "Full API key",
            }
        ),
    )
