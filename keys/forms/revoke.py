"""What is asked before the state of keys is changed."""

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError

from keys.forms.fields import check_no_raw_key
from keys.models import APIKey

RevocationReason = APIKey.RevocationReason


class RevokeForm(forms.Form):
    """Why keys are revoked: whoever finds them later wants to know."""

    kind = forms.ChoiceField(
        label="Why",
        choices=RevocationReason.choices,
        initial=RevocationReason.OTHER,
        required=False,
        help_text="Compromised keys lose their running streams too.",
    )
    reason = forms.CharField(
        max_length=200,
        validators=[check_no_raw_key],
        widget=AdminTextInputWidget(attrs={"placeholder": "Such as: found in a public repository"}),
        help_text="Stays with the key.",
    )

    def clean_kind(self) -> str:
        return self.cleaned_data["kind"] or RevocationReason.OTHER

    @property
    def why(self) -> dict[str, str]:
        """The arguments of `APIKey.revoke`."""
        return {"reason": self.cleaned_data["kind"], "note": self.cleaned_data["reason"]}


class RevokeOneForm(RevokeForm):
    """Besides, the name of the key, typed: a click alone ends nothing for good."""

    typed_name = forms.CharField(
        label="Name of the key",
        max_length=100,
        strip=True,
        widget=AdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, api_key: APIKey, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._api_key = api_key
        kind: Any = self.fields["kind"]
        kind.required, kind.widget = True, forms.RadioSelect(choices=RevocationReason.choices)
        self.fields["kind"].initial = RevocationReason.UNUSED
        self.fields["reason"].required = False

    def clean_typed_name(self) -> str:
        typed: str = self.cleaned_data["typed_name"]
        if typed not in (self._api_key.name.strip(), self._api_key.public_id):
            raise ValidationError("This is not the name of this key.")
        return typed

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("kind") == RevocationReason.OTHER and not cleaned.get("reason") and "reason" not in self.errors:
            self.add_error("reason", "Say the reason in a few words.")
        return cleaned
