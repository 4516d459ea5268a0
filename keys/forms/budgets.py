"""The budgets of a key, or of a team: rows of amount, period and warning."""

from datetime import datetime
from typing import Any

from django import forms
from django.forms.models import BaseInlineFormSet

from keys.domain import amounts, team_ceilings
from keys.domain.amounts import PERIOD_LABELS
from keys.forms.amounts import AmountInput
from keys.forms.fields import check_year
from keys.forms.partial_save import SavesItsFields
from keys.models import APIKey, Budget, Team

MOST = len(Budget.Period) * len(Budget.Unit)
"""One budget for each period and unit."""


class BudgetForm(SavesItsFields):
    """What may be spent in a period. Dollars are entered as dollars, and stored as millionths."""

    amount = forms.CharField(max_length=24, widget=AmountInput(attrs={"placeholder": "20.00"}))

    class Meta:
        model = Budget
        fields = ["amount", "unit", "period", "alert_threshold_percent"]
        labels = {"unit": "Of", "alert_threshold_percent": "Warn at %"}
        help_texts = {"alert_threshold_percent": ""}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["amount"] = amounts.to_input(self.instance.amount, unit=self.instance.unit)
            # What is spent was counted for this period, in this unit: another one is another budget.
            self.fields["unit"].disabled = self.fields["period"].disabled = True

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        self._read("amount", cleaned)
        return cleaned

    def _read(self, name: str, cleaned: dict[str, Any]) -> None:
        """Put the amount in the place of its text."""
        if name in cleaned and "unit" in cleaned:
            try:
                cleaned[name] = amounts.parse(cleaned[name], unit=cleaned["unit"])
            except ValueError as error:
                self.add_error(name, str(error))


class TeamBudgetForm(BudgetForm):
    """The same with its temporary increase. A key has a page for that."""

    temporary_increase = forms.CharField(
        required=False, max_length=24, widget=AmountInput, help_text="Added to the amount for now."
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
        self._read("temporary_increase", cleaned)
        return cleaned


class BudgetFormSet(BaseInlineFormSet):
    """All budgets of one key. One for each period and unit, none beyond the team's, and no new one without a right."""

    def __init__(self, *args: Any, team: Team | None = None, may_add: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._team, self.may_add = team, may_add
        if not may_add:
            self.extra = 0

    def clean(self) -> None:
        super().clean()
        taken: set[tuple[str, str]] = set()
        for form in self.kept:
            budget: Budget = form.instance
            place = (budget.period, budget.unit)
            if place in taken:
                form.add_error(
                    "amount",
                    f"There is a budget of {budget.get_unit_display()} {PERIOD_LABELS[budget.period]} already.",
                )
            taken.add(place)
            if not self.may_add and budget._state.adding:
                form.add_error("amount", "You may change budgets, and add none.")
            if self._team is not None and (excess := self._excess(budget)):
                form.add_error("amount", excess)

    def validate_unique(self) -> None:
        """`clean` says it in words."""

    @property
    def kept(self) -> list[Any]:
        """The rows that stand for a budget: neither empty, wrong nor marked to be removed."""
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
    APIKey, Budget, form=BudgetForm, formset=BudgetFormSet, extra=1, max_num=MOST, validate_max=True
)


def rows_of(data: Any) -> Any:
    """What a page sent about budgets: with one row more if that is what was asked for, and none if it has no rows."""
    if data is None:
        return None
    total, initial = (f"{KeyBudgets.get_default_prefix()}-{name}_FORMS" for name in ("TOTAL", "INITIAL"))
    if total not in data:
        return {**data.dict(), total: "0", initial: "0"}
    if "add_budget" in data and data[total].isascii() and data[total].isdigit() and len(data[total]) < 5:
        return {**data.dict(), total: str(int(data[total]) + 1)}
    return data
