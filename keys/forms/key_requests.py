"""Forms of key requests: asking for a key or an increase, and deciding with adjusted values."""

import secrets
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import ValidationError

from keys.domain import amounts
from keys.domain.limits import LIMITS
from keys.forms.access_policy import LIMIT_FIELD_LABELS, NUMBERS
from keys.forms.amounts import AmountInput, MoneyField
from keys.forms.fields import ModelNamesField, check_no_raw_key
from keys.key_requests import workflow
from keys.models import APIKey, Budget, KeyRequest, Team

EXPIRIES = [(days, f"{days} days") for days in (30, 90, 180, 365)]
LIMIT_WIDGETS: dict[str, Any] = {field: forms.NumberInput(attrs=NUMBERS) for field in LIMITS}


class KeyRequestForm(forms.ModelForm):
    """Base of both kinds. Raises no error for a request that was changed meanwhile: the workflow locks and checks."""

    reason = forms.CharField(
        max_length=500,
        validators=[check_no_raw_key],
        widget=AdminTextareaWidget(attrs={"rows": 3}),
        help_text="What it is for. Administrators read it.",
    )
    token = forms.CharField(max_length=64, widget=forms.HiddenInput, initial=secrets.token_urlsafe)

    @property
    def policy(self) -> dict[str, Any]:
        """The asked or adjusted values, which an approval stores."""
        others = ("reason", "token", "note", "team")
        return {name: value for name, value in self.cleaned_data.items() if name not in others}

    def make_decision(self) -> None:
        """Turn it into the form of a decision: a note instead of what only the asking user states."""
        for name in ("reason", "token", "team"):
            self.fields.pop(name, None)
        self.fields["note"] = forms.CharField(
            label="Note",
            required=False,
            max_length=500,
            validators=[check_no_raw_key],
            widget=AdminTextareaWidget(attrs={"rows": 2}),
            help_text="Sent to the user who asked.",
        )

    def _add_errors(self, error: ValidationError) -> None:
        for name, messages in error.update_error_dict({}).items():
            self.add_error(name if name in self.fields else None, messages)


class NewKeyForm(KeyRequestForm):
    """A new key of a team, with its policy and a monthly budget."""

    allowed_models = ModelNamesField()
    expires_in_days = forms.TypedChoiceField(label="Expires in", choices=EXPIRIES, coerce=int, initial=90)
    budget_amount = MoneyField(
        label="Budget per month (US dollars)", required=False, empty=None, help_text="Empty: no budget of its own."
    )

    class Meta:
        model = KeyRequest
        fields = ["team", "name", "expires_in_days", "allowed_models", *LIMITS]
        labels = LIMIT_FIELD_LABELS
        widgets = {"name": AdminTextInputWidget, **LIMIT_WIDGETS}

    field_order = ["team", "name", "reason", "expires_in_days", "budget_amount", "allowed_models", *LIMITS]

    def __init__(self, *args: Any, teams: Any, suggested_models: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("budget_amount", self.instance.budget_amount)
        teams_field: Any = self.fields["team"]
        teams_field.queryset = teams
        teams_field.required = self.fields["name"].required = True
        if len(teams) == 1:
            teams_field.initial = teams[0]
        self.fields["name"].validators.append(check_no_raw_key)
        self.fields["allowed_models"].help_text = "One per line; a name may end in *. Empty: every model of the team."
        self.fields["allowed_models"].widget.suggestions = suggested_models
        for name in LIMITS:
            self.fields[name].help_text = "Empty: only the limit of the team."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        team: Team | None = cleaned.get("team") or self.instance.team
        if team is not None and not self.errors:
            asked = KeyRequest(kind=KeyRequest.RequestKind.KEY, **self.policy)
            try:
                workflow.check_new_key(asked, team)
            except ValidationError as error:
                self._add_errors(error)
        return cleaned


class IncreaseForm(KeyRequestForm):
    """Higher values of those limits that the key has, and of one of its budgets."""

    budget_amount = forms.CharField(label="New amount", required=False, max_length=24, widget=AmountInput)

    class Meta:
        model = KeyRequest
        fields = [*LIMITS, "budget"]
        labels = LIMIT_FIELD_LABELS
        widgets = LIMIT_WIDGETS

    field_order = [*LIMITS, "budget", "budget_amount", "reason"]

    def __init__(self, *args: Any, api_key: APIKey, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._api_key = api_key
        for name in LIMITS:
            if (current := getattr(api_key, name)) is None:
                del self.fields[name]
            else:
                self.fields[name].help_text = f"Now {current:,}. Empty: unchanged."
        budgets = Budget.objects.filter(api_key=api_key)
        choice: Any = self.fields["budget"]
        choice.queryset = budgets
        choice.empty_label = "Unchanged"
        choice.label_from_instance = lambda each: (
            f"{amounts.format_amount(each.amount, each.unit)} {each.get_period_display()}"
        )
        if not budgets:
            del self.fields["budget"], self.fields["budget_amount"]
        elif self.instance.budget is not None and self.instance.budget_amount is not None:
            self.initial["budget_amount"] = amounts.to_input(
                self.instance.budget_amount, unit=self.instance.budget.unit
            )

    @property
    def policy(self) -> dict[str, Any]:
        """The asked or adjusted values: None for those without a field, since the key no longer has such a limit."""
        return dict.fromkeys((*LIMITS, "budget", "budget_amount")) | super().policy

    @property
    def is_empty(self) -> bool:
        """Whether the key has nothing that can be increased."""
        return not {*LIMITS, "budget"} & set(self.fields)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        self._parse_amount(cleaned)
        for name in LIMITS:
            value, current = cleaned.get(name), getattr(self._api_key, name)
            if value is not None and current is not None and value <= current:
                self.add_error(name, f"Enter more than {current:,}.")
        if not self.errors and not any(cleaned.get(name) for name in (*LIMITS, "budget_amount")):
            self.add_error(None, "Enter at least one higher value.")
        if not self.errors:
            asked = KeyRequest(kind=KeyRequest.RequestKind.INCREASE, api_key=self._api_key, **self.policy)
            try:
                workflow.check_increase(asked)
            except ValidationError as error:
                self._add_errors(error)
        return cleaned

    def _parse_amount(self, cleaned: dict[str, Any]) -> None:
        """Replace the text of the amount by the amount in the unit of the budget, and check that both are given."""
        if "budget_amount" not in self.fields:
            return
        budget, text = cleaned.get("budget"), cleaned.get("budget_amount") or ""
        cleaned["budget_amount"] = None
        if bool(budget) != bool(text):
            self.add_error("budget_amount", "Choose a budget and enter its new amount.")
        elif budget:
            try:
                amount = amounts.parse(text, unit=budget.unit)
            except ValueError as error:
                self.add_error("budget_amount", str(error))
                return
            if amount > amounts.MAX_AMOUNT:
                most = amounts.format_amount(amounts.MAX_AMOUNT, budget.unit)
                self.add_error("budget_amount", f"Enter at most {most}.")
            elif amount <= budget.amount:
                least = amounts.format_amount(budget.amount, budget.unit)
                self.add_error("budget_amount", f"Enter more than {least}.")
            else:
                cleaned["budget_amount"] = amount
