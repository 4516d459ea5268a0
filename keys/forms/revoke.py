"""Forms that ask for the reason of a revocation."""

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError

from keys.forms.fields import check_no_raw_key
from keys.models import APIKey

RevocationReason = APIKey.RevocationReason


class RevokeForm(forms.Form):
    """Reason and note for the revocation of several keys."""

    reason = forms.ChoiceField(
        label="Reason",
        choices=RevocationReason.choices,
        initial=RevocationReason.OTHER,
        required=False,
        help_text="In-flight streams of compromised keys are terminated.",
    )
    note = forms.CharField(
        label="Details",
        max_length=200,
        validators=[check_no_raw_key],
        widget=AdminTextInputWidget(attrs={"placeholder": "Such as: found in a public repository"}),
        help_text="Shown on the key's page.",
    )

    def clean_reason(self) -> str:
        return self.cleaned_data["reason"] or RevocationReason.OTHER

    @property
    def revocation(self) -> dict[str, str]:
        """The arguments of `APIKey.revoke`."""
        return {name: self.cleaned_data[name] for name in ("reason", "note")}


class RevokeOneForm(RevokeForm):
    """Reason and note for one key, and its name as confirmation."""

    typed_name = forms.CharField(
        label="Key name",
        max_length=100,
        strip=True,
        widget=AdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, api_key: APIKey, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._api_key = api_key
        reason: Any = self.fields["reason"]
        reason.required, reason.widget = True, forms.RadioSelect(choices=RevocationReason.choices)
        reason.initial = RevocationReason.UNUSED
        self.fields["note"].required = False

    def clean_typed_name(self) -> str:
        typed: str = self.cleaned_data["typed_name"]
        if typed not in (self._api_key.name.strip(), self._api_key.public_id):
            raise ValidationError("This is not the name of the key.")
        return typed

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("reason") == RevocationReason.OTHER and not cleaned.get("note") and "note" not in self.errors:
            self.add_error("note", "Enter the reason.")
        return cleaned
