"""Base form of an API key: name, owner, access policy and metadata."""

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.utils.html import escape

from keys.display import help_texts
from keys.domain.limits import LIMITS
from keys.forms.fields import (
    IPRangesField,
    MetadataField,
    ModelNamesField,
    Owner,
    OwnerField,
    check_no_raw_key,
    covers_all_ips,
)
from keys.forms.partial_save import PartialSaveForm
from keys.models import APIKey, Team

LIMIT_FIELD_LABELS = {
    "requests_per_minute": "Requests per minute (RPM)",
    "tokens_per_minute": "Tokens per minute (TPM)",
    "concurrent_requests": "Concurrent requests",
}
NUMBERS = {"class": "vIntegerField", "inputmode": "numeric", "min": 1}


class KeyForm(PartialSaveForm):
    """The fields that issuing and editing a key have in common. Help texts say what an empty field means."""

    hidden_fields_to_save = ("owner", "team")
    owner_choice = OwnerField()
    allowed_models = ModelNamesField()
    allowed_ips = IPRangesField(
        label="Allowed IP addresses", help_text="One IP address or CIDR range per line. Empty: any IP address."
    )
    allow_any_ip = forms.BooleanField(
        label="Allow any IP address",
        required=False,
        help_text="Required if the list covers all IP addresses (0.0.0.0/0 or ::/0).",
    )
    no_expiry_reason = forms.CharField(
        label="Reason for no expiry",
        required=False,
        max_length=200,
        validators=[check_no_raw_key],
        widget=AdminTextInputWidget,
        help_text="Required for keys that never expire.",
    )
    metadata = MetadataField(label="Metadata", help_text="One name=value per line, for use by other programs.")

    class Meta:
        model = APIKey
        fields = ["name", "purpose", *LIMITS, "shadow_mode", "allowed_models", "allowed_ips", "metadata"]
        fields += ["no_expiry_reason"]
        labels = {**LIMIT_FIELD_LABELS, "shadow_mode": "Shadow mode"}
        help_texts = {
            "shadow_mode": "Record which requests the limits of this key would reject, without rejecting them."
        }
        widgets = {
            "name": AdminTextInputWidget,
            "purpose": AdminTextareaWidget(attrs={"rows": 2}),
            **{field: forms.NumberInput(attrs=NUMBERS) for field in LIMITS},
        }

    def __init__(self, *args: Any, suggested_models: list[str], current_owner: Owner = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner_choice"].load_choices(current=current_owner)  # type: ignore[attr-defined]
        self.fields["allowed_models"].widget.suggestions = suggested_models
        for name in ("name", "purpose"):
            self.fields[name].validators.append(check_no_raw_key)
        for name, text in self.field_help_texts.items():
            if name in self.fields:
                self.fields[name].help_text = escape(text)  # Django does not escape help texts

    @property
    def chosen_owner(self) -> Owner:
        """The owner that the form names, whether or not the form is valid."""
        field: Any = self.fields["owner_choice"]
        initial = self.get_initial_for_field(field, "owner_choice")
        value = self.data.get(self.add_prefix("owner_choice")) if self.is_bound else initial
        return field.owners.get(field.prepare_value(value))

    @property
    def field_help_texts_by_owner(self) -> dict[str, dict[str, str]]:
        """Help texts by owner value and field; the owner value "" stands for any user. Read by key_form.js."""
        teams = self.fields["owner_choice"].teams  # type: ignore[attr-defined]
        return {"": help_texts.FOR_USER} | {value: help_texts.for_team(team) for value, team in teams.items()}

    @property
    def field_help_texts(self) -> dict[str, str]:
        """Help texts by field, for the owner that the form names."""
        owner = self.chosen_owner
        if owner is None:
            return help_texts.WITHOUT_OWNER
        return help_texts.for_team(owner) if isinstance(owner, Team) else help_texts.FOR_USER

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        owner = cleaned.get("owner_choice")
        is_team = isinstance(owner, Team)
        self.instance.team, self.instance.owner = (owner, None) if is_team else (None, owner)
        if covers_all_ips(cleaned.get("allowed_ips", [])) and not cleaned.get("allow_any_ip"):
            message = "These ranges cover all IP addresses. Leave the list empty, or select “Allow any IP address”."
            self.add_error("allowed_ips", message)
        return cleaned

    def _check_no_expiry_reason(self, cleaned: dict[str, Any], *, never_expires: bool) -> None:
        """Require a reason if the key never expires; otherwise drop it."""
        if not never_expires:
            cleaned["no_expiry_reason"] = ""
            self.errors.pop("no_expiry_reason", None)
        elif not cleaned.get("no_expiry_reason") and "no_expiry_reason" not in self.errors:
            self.add_error("no_expiry_reason", "Enter why this key never expires.")

    def _update_errors(self, errors: ValidationError) -> None:
        """Show the model's errors about owner and team at the field that stands for both."""
        for name in ("owner", "team"):
            messages = errors.error_dict.pop(name, None)
            if messages and "owner_choice" not in self.errors:
                errors.error_dict["owner_choice"] = messages
        super()._update_errors(errors)  # type: ignore[misc]
