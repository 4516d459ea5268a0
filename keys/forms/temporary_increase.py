"""Form that raises a budget temporarily."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.utils import timezone

from keys.domain import amounts, team_ceilings
from keys.domain.amounts import MAX_AMOUNT
from keys.forms.fields import check_year
from keys.models import Budget, Team


class TemporaryIncreaseForm(forms.Form):
    """The additional amount and the time until which it applies."""

    temporary_increase = forms.CharField(
        max_length=24,
        widget=AdminTextInputWidget(attrs={"inputmode": "decimal", "autocomplete": "off", "autofocus": True}),
    )
    until = forms.DateTimeField(
        validators=[check_year],
        widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"}),
    )

    def __init__(self, *args: Any, budget: Budget, team: Team | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._budget, self._team = budget, team
        unit = "US dollars" if budget.unit == "usd" else "tokens"
        self.fields["temporary_increase"].label = f"Additional {unit}"
        self.fields["temporary_increase"].help_text = "Added to the amount until the given time."
        self.fields["until"].help_text = f"Time zone: {timezone.get_default_timezone_name()}."

    def clean_temporary_increase(self) -> int:
        try:
            temporary_increase = amounts.parse(self.cleaned_data["temporary_increase"], unit=self._budget.unit)
        except ValueError as error:
            raise ValidationError(str(error)) from error
        if not 0 < temporary_increase <= MAX_AMOUNT:
            most = amounts.format_amount(MAX_AMOUNT, self._budget.unit)
            raise ValidationError(f"Enter an amount greater than 0 and at most {most}.")
        if self._team is not None and (excess := self._excess(temporary_increase)):
            raise ValidationError(excess)
        return temporary_increase

    def clean_until(self) -> datetime:
        until: datetime = self.cleaned_data["until"]
        if until <= timezone.now():
            raise ValidationError("Enter a time in the future.")
        return until

    def _excess(self, temporary_increase: int) -> str | None:
        """Compare with the team's budgets as they are now, including their temporary increases."""
        assert self._team is not None
        now = timezone.now()
        of_team = [each.spec._replace(amount=each.limit_at(now)) for each in self._team.budgets.all()]
        wanted = self._budget.spec._replace(amount=self._budget.amount + temporary_increase)
        return team_ceilings.exceeding_budget(wanted, of_team, name=self._team.name)
