"""Form that edits an API key. Secrets and state have their own pages."""

from typing import Any

from django import forms
from django.utils import timezone

from keys.forms.access_policy import KeyForm
from keys.forms.fields import check_year, covers_all_ips


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
        owner = api_key.team or api_key.owner
        initial = {"owner_choice": owner, "allow_any_ip": covers_all_ips(api_key.allowed_ips)}
        super().__init__(*args, current_owner=owner, initial=initial, **kwargs)
        zone = timezone.get_default_timezone_name()
        self._had_no_reason = api_key.expires_at is None and not api_key.no_expiry_reason
        self.fields["expires_at"].help_text = f"Time zone: {zone}. Empty: the key never expires."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        never_expires = "expires_at" in cleaned and cleaned["expires_at"] is None
        # Keys issued before a reason was required stay editable without one.
        if not (never_expires and self._had_no_reason):
            self._check_no_expiry_reason(cleaned, never_expires=never_expires)
        return cleaned
