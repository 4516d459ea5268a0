"""What may be changed of a key. Its secrets and its state are no fields."""

from typing import Any

from django import forms
from django.utils import timezone

from keys.forms.access_policy import KeyForm
from keys.forms.fields import check_year, reach_everybody


class EditForm(KeyForm):
    expires_at = forms.DateTimeField(
        label="Expires at",
        required=False,
        validators=[check_year],
        widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M:%S", attrs={"type": "datetime-local", "step": 1}),
    )

    class Meta(KeyForm.Meta):
        fields = [*KeyForm.Meta.fields, "expires_at"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        api_key = kwargs["instance"]
        owner_choice = api_key.team or api_key.owner
        confirmed = reach_everybody(api_key.allowed_ips)
        super().__init__(
            *args, owner_choice=owner_choice, initial={"owner_choice": owner_choice, "any_address": confirmed}, **kwargs
        )
        zone = timezone.get_default_timezone_name()
        self._was_unexplained = api_key.expires_at is None and not api_key.no_expiry_reason
        self.fields["expires_at"].help_text = f"Time zone: {zone}. Empty: the key does not expire."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        is_endless = "expires_at" in cleaned and cleaned["expires_at"] is None
        if not (is_endless and self._was_unexplained):  # what was issued before anybody asked is no mistake of now
            self._settle_reason(cleaned, is_endless=is_endless)
        return cleaned
