"""Form that finds an API key by its full key."""

from django import forms

from keys.domain.raw_key import shown_hint


class FindKeyForm(forms.Form):
    """A raw key, sent in the body of a POST: it appears in no URL, browser history or access log."""

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
