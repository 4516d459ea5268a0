"""Forms of upstreams and routes. A credential is written and never shown."""

import json
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils import timezone

from lib import model_patterns
from lib.admin.lines_field import LinesField
from messages_api.errors import RequestError
from messages_api.intake import strict_json
from messages_api.models import Upstream

MAX_OVERRIDES_LENGTH = 10_000
MAX_MODEL_LENGTH = 256


class JSONObjectField(forms.CharField):
    """A JSON object, as text in the form. Django's field fails for deep nesting and long integers."""

    widget = AdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        """Return the object. Raise ValidationError for any other text."""
        text = super().to_python(value) or ""
        if len(text) > MAX_OVERRIDES_LENGTH:
            raise ValidationError(f"Enter at most {MAX_OVERRIDES_LENGTH:,} characters.")
        try:
            return strict_json.read_object(text.encode()) if text else {}
        except (RequestError, UnicodeEncodeError) as error:
            raise ValidationError("Enter one JSON object, with each name once.") from error

    def run_validators(self, value: Any) -> None:
        """Skip the validators of CharField, which expect a string."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(data) != initial)
        except ValidationError:
            return True


class ModelListField(LinesField):
    """A list of model names, one per line, without patterns."""

    placeholder = "claude-3-opus-20240229"

    def validate(self, value: list[str]) -> None:
        super().validate(value)
        for name in value:
            if len(name) > MAX_MODEL_LENGTH or not name.isprintable() or " " in name or model_patterns.is_prefix(name):
                raise ValidationError("Enter one model name per line, without spaces and *.")


class UpstreamForm(forms.ModelForm):
    model_names = ModelListField(label="Models", help_text=Upstream._meta.get_field("model_names").help_text)
    credential = forms.CharField(
        required=False,
        max_length=4096,
        strip=True,
        validators=[RegexValidator(r"^[\x21-\x7e]+$", "Printable characters without spaces only.")],
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
    )
    clear_credential = forms.BooleanField(required=False, label="Clear the stored credential")
    profile_overrides = JSONObjectField(
        required=False, help_text='Overrides of the preset as JSON, such as {"max_stop": 4}.'
    )

    lost_credential = False
    """Set by `save`: the base URL changed, which cleared the stored credential."""

    class Meta:
        model = Upstream
        fields = [
            "name",
            "dialect",
            "base_url",
            "enabled",
            "profile_preset",
            "profile_overrides",
            "model_names",
            "connect_timeout_s",
            "first_byte_timeout_s",
            "idle_timeout_s",
            "request_timeout_s",
            "retry_on_timeout",
            "continue_after_disconnect_s",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "credential" in self.fields:  # a read-only page has no fields
            self.fields["credential"].help_text = _credential_status(self.instance)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("credential") and cleaned.get("clear_credential"):
            raise ValidationError({"clear_credential": "Clear the credential or enter a new one, not both."})
        return cleaned

    def save(self, commit: bool = True) -> Upstream:
        """Bind a new credential to the base URL that is saved with it."""
        credential, is_moved = self.cleaned_data["credential"], "base_url" in self.changed_data
        self.lost_credential = is_moved and not credential and bool(self.instance.credential_ciphertext)
        if credential or is_moved or self.cleaned_data["clear_credential"]:
            self.instance.set_credential(credential)
        saved: Upstream = super().save(commit)
        return saved


def _credential_status(upstream: Upstream) -> str:
    if not upstream.credential_ciphertext or upstream.credential_set_at is None:
        return "Not set: none is sent. It is stored encrypted and cannot be shown again."
    since = f"{timezone.localtime(upstream.credential_set_at):%Y-%m-%d %H:%M}"
    if not upstream.has_usable_credential():
        return f"Set since {since}, but unreadable because the encryption keys changed. Enter it again."
    return f"Set since {since}. Leave empty to keep it. Changing the base URL clears it."


class RoutePreviewForm(forms.Form):
    """A requested model, and optionally the API key of the request."""

    model = forms.CharField(
        max_length=256, widget=forms.TextInput(attrs={"placeholder": "claude-3-opus-20240229", "spellcheck": "false"})
    )
    key = forms.CharField(
        required=False,
        max_length=40,
        widget=forms.TextInput(attrs={"placeholder": "any key, or key_…", "spellcheck": "false"}),
    )


class ConnectionForm(forms.Form):
    """The model of a connection test."""

    model = forms.CharField(max_length=256, help_text="Name of the model at this upstream.")
