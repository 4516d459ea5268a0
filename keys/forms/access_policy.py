"""What is entered about a key whenever it is: as it is issued, and later."""

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.utils.html import escape

from keys.display import help_texts
from keys.domain.limits import LIMITS
from keys.forms.fields import (
    AddressesField,
    Holder,
    MetadataField,
    ModelNamesField,
    OwnerField,
    check_no_raw_key,
    reach_everybody,
)
from keys.forms.partial_save import SavesItsFields
from keys.models import APIKey, Team

LIMIT_LABELS = {
    "requests_per_minute": "Requests a minute",
    "tokens_per_minute": "Tokens a minute",
    "concurrent_requests": "Calls at once",
}
NUMBERS = {"class": "vIntegerField", "inputmode": "numeric", "min": 1}


class KeyForm(SavesItsFields):
    """The rules of a key, and to whom it belongs. An empty field says what it means."""

    besides = ("owner", "team")
    owner_choice = OwnerField()
    allowed_models = ModelNamesField()
    allowed_ips = AddressesField(
        label="Allowed addresses", help_text="Addresses and networks, one a line. Empty: from everywhere."
    )
    any_address = forms.BooleanField(
        label="From everywhere, on purpose",
        required=False,
        help_text="Only where the list above allows every address there is (0.0.0.0/0 or ::/0).",
    )
    no_expiry_reason = forms.CharField(
        label="Why it never expires",
        required=False,
        max_length=200,
        validators=[check_no_raw_key],
        widget=AdminTextInputWidget,
        help_text="Needed for a key without an end: whoever looks at it in a year wants to know.",
    )
    metadata = MetadataField(label="Notes", help_text="Pairs that other programs may read: name=text, one a line.")

    class Meta:
        model = APIKey
        fields = ["name", "purpose", *LIMITS, "shadow_mode", "allowed_models", "allowed_ips", "metadata"]
        fields += ["no_expiry_reason"]
        labels = LIMIT_LABELS
        help_texts = {"shadow_mode": "Note what the limits of this key would have refused, and refuse nothing."}
        widgets = {
            "name": AdminTextInputWidget,
            "purpose": AdminTextareaWidget(attrs={"rows": 2}),
            **{field: forms.NumberInput(attrs=NUMBERS) for field in LIMITS},
        }

    def __init__(self, *args: Any, offers: list[str], owner_choice: Holder = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner_choice"].offer(besides=owner_choice)  # type: ignore[attr-defined]
        self.fields["allowed_models"].widget.offers = offers
        for name in ("name", "purpose"):
            self.fields[name].validators.append(check_no_raw_key)
        self._say_what_empty_means()

    @property
    def chosen_owner(self) -> Holder:
        """Whom the form names now, valid or not."""
        field: Any = self.fields["owner_choice"]
        initial = self.get_initial_for_field(field, "owner_choice")
        value = self.data.get(self.add_prefix("owner_choice")) if self.is_bound else initial
        return field.holders.get(field.prepare_value(value))

    @property
    def inherited(self) -> dict[str, dict[str, str]]:
        """For the page's script: by holder, by field, what it means to leave it empty. "" stands for any person."""
        teams = self.fields["owner_choice"].teams  # type: ignore[attr-defined]
        return {"": help_texts.FOR_USER} | {value: help_texts.for_team(team) for value, team in teams.items()}

    @property
    def meaning(self) -> dict[str, str]:
        """By field, what it means to leave it empty for the holder that the form names now."""
        owner_choice = self.chosen_owner
        if owner_choice is None:
            return help_texts.WITHOUT_OWNER
        return help_texts.for_team(owner_choice) if isinstance(owner_choice, Team) else help_texts.FOR_USER

    def _say_what_empty_means(self) -> None:
        for name, text in self.meaning.items():
            if name in self.fields:
                self.fields[name].help_text = escape(text)  # Django puts help texts into the page as they are

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        owner_choice = cleaned.get("owner_choice")
        is_team = isinstance(owner_choice, Team)
        self.instance.team, self.instance.owner = (owner_choice, None) if is_team else (None, owner_choice)
        if reach_everybody(cleaned.get("allowed_ips", [])) and not cleaned.get("any_address"):
            self.add_error(
                "allowed_ips",
                "These are all addresses there are. Leave the list empty, or confirm that this is what you want.",
            )
        return cleaned

    def _settle_reason(self, cleaned: dict[str, Any], *, is_endless: bool) -> None:
        """A key without an end has a reason, and only such a one."""
        if not is_endless:
            cleaned["no_expiry_reason"] = ""
            self.errors.pop("no_expiry_reason", None)
        elif not cleaned.get("no_expiry_reason") and "no_expiry_reason" not in self.errors:
            self.add_error("no_expiry_reason", "Say why this key never expires.")

    def _update_errors(self, errors: ValidationError) -> None:
        """What the model says of owner and team is said of the field that stands for both."""
        for name in ("owner", "team"):
            said = errors.error_dict.pop(name, None)
            if said and "owner_choice" not in self.errors:
                errors.error_dict["owner_choice"] = said
        super()._update_errors(errors)  # type: ignore[misc]
