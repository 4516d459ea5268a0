"""Forms and formset for the budgets of an API key or a team."""

from datetime import datetime
from typing import Any

from django import forms
from django.forms.models import BaseInlineFormSet

from keys.domain import amounts, team_ceilings
from keys.domain.amounts import PERIOD_LABELS
from keys.forms.amounts import AmountInput
from keys.forms.fields import check_year
from keys.forms.partial_save import PartialSaveForm
from keys.models import APIKey, Budget, Team
from lib.admin.form_guard import FormSetGuard

MAX_BUDGETS = len(Budget.Period) * len(Budget.Unit)
"""One budget for each period and unit."""


class BudgetForm(PartialSaveForm):
    """A budget. Dollars are entered as dollars and stored as micro-dollars."""

    amount = forms.CharField(max_length=24, widget=AmountInput(attrs={"placeholder": "20.00"}))

    class Meta:
        model = Budget
        fields = ["amount", "unit", "period", "alert_threshold_percent"]
        labels = {"unit": "Unit", "alert_threshold_percent": "Alert at %"}
        help_texts = {"alert_threshold_percent": ""}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["amount"] = amounts.to_input(self.instance.amount, unit=self.instance.unit)
            # The spent amount was counted for this period and unit: another one makes another budget.
            self.fields["unit"].disabled = self.fields["period"].disabled = True

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        self._parse_amount("amount", cleaned)
        return cleaned

    def _parse_amount(self, name: str, cleaned: dict[str, Any]) -> None:
        """Replace the text of a field by its amount."""
        if name in cleaned and "unit" in cleaned:
            try:
                cleaned[name] = amounts.parse(cleaned[name], unit=cleaned["unit"])
            except ValueError as error:
                self.add_error(name, str(error))


class TeamBudgetForm(BudgetForm):
    """A team's budget with its temporary increase. For a key's budget, a separate page sets the increase."""

    temporary_increase = forms.CharField(
        required=False, max_length=24, widget=AmountInput, help_text="Added to the amount until the given time."
    )

    class Meta(BudgetForm.Meta):
        fields = [*BudgetForm.Meta.fields, "temporary_increase", "temporary_increase_until"]

    def clean_temporary_increase_until(self) -> datetime | None:
        until: datetime | None = self.cleaned_data["temporary_increase_until"]
        if until is not None:
            check_year(until)
        return until

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        temporary_increase = self.instance.temporary_increase
        self.initial["temporary_increase"] = (
            amounts.to_input(temporary_increase, unit=self.instance.unit) if temporary_increase else ""
        )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        cleaned["temporary_increase"] = cleaned.get("temporary_increase") or "0"
        self._parse_amount("temporary_increase", cleaned)
        return cleaned


class BudgetFormSet(FormSetGuard, BaseInlineFormSet):
    """All budgets of one key: one per period and unit, and none that exceeds a budget of the key's team."""

    def __init__(self, *args: Any, team: Team | None = None, may_add: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._team, self.may_add = team, may_add
        if not may_add:
            self.extra = 0

    def clean(self) -> None:
        super().clean()
        seen: set[tuple[str, str]] = set()
        for form in self.kept:
            budget: Budget = form.instance
            identity = (budget.period, budget.unit)
            if identity in seen:
                period = PERIOD_LABELS[budget.period]
                form.add_error("amount", f"A budget in {budget.get_unit_display()} {period} already exists.")
            seen.add(identity)
            if not self.may_add and budget._state.adding:
                form.add_error("amount", "You can change budgets but not add them.")
            if self._team is not None and (excess := self._excess(budget)):
                form.add_error("amount", excess)

    def validate_unique(self) -> None:
        """Skip Django's check: `clean` reports duplicates with a clearer message."""

    @property
    def kept(self) -> list[Any]:
        """The forms of budgets that will exist after saving: not empty, not invalid and not marked for removal."""
        rows = [form for form in self.forms if form.has_changed() or form.instance.pk]
        return [form for form in rows if form.is_valid() and not form.cleaned_data.get("DELETE")]

    def _excess(self, budget: Budget) -> str | None:
        assert self._team is not None
        of_team = [each.spec for each in self._team.budgets.all()]
        return team_ceilings.exceeding_budget(budget.spec, of_team, name=self._team.name)

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        if "DELETE" in form.fields:
            form.fields["DELETE"].label = "Remove"


KeyBudgets: Any = forms.inlineformset_factory(
    APIKey,
    Budget,
    form=BudgetForm,
    formset=BudgetFormSet,
    extra=1,
    max_num=MAX_BUDGETS,
    absolute_max=2 * MAX_BUDGETS,
    validate_max=True,
)


def budget_form_data(data: Any) -> Any:
    """Return the POST data for `KeyBudgets`.

    "Add a budget" adds an empty row, up to `MAX_BUDGETS`. A request without budget rows gets a management form with
    none.
    """
    if data is None:
        return None
    total, initial = (f"{KeyBudgets.get_default_prefix()}-{name}_FORMS" for name in ("TOTAL", "INITIAL"))
    if total not in data:
        return {**data.dict(), total: "0", initial: "0"}
    if "add_budget" in data and data[total] in map(str, range(MAX_BUDGETS)):
        return {**data.dict(), total: str(int(data[total]) + 1)}
    return data
