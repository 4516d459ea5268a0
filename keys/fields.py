"""Form fields for what admins write in another unit than the database keeps."""

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError

from keys import money
from keys.models import Budget
from keys.models.budgets import LARGEST


class AmountInput(AdminTextInputWidget):
    """A short field for a number that is no `<input type=number>`: those show large numbers in the browser's way."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        short = {"inputmode": "decimal", "class": "amount", "autocomplete": "off", "size": 12}
        super().__init__({**short, **(attrs or {})})


class MoneyField(forms.CharField):
    """Dollars in the form, micro-dollars in Python. Empty is 0 where the field may be empty."""

    widget = AmountInput

    def __init__(self, *, largest: int = money.LARGEST, **options: Any) -> None:
        super().__init__(**options)
        self._largest = largest

    def prepare_value(self, value: Any) -> Any:
        return money.plain(value) if isinstance(value, int) else value

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        try:
            micros = money.parse(text) if text else 0
        except ValueError as error:
            raise ValidationError(str(error)) from error
        if micros > self._largest:
            raise ValidationError(f"Give at most {money.dollars(self._largest)}.")
        return micros

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return (initial or 0) != (money.parse(data) if data else 0)
        except ValueError:
            return True


class BudgetForm(forms.ModelForm):
    """A budget with its amounts in the unit that it is in: dollars, or tokens."""

    amount = forms.CharField(widget=AmountInput, help_text="Dollars such as 12.50, or tokens: as the unit says.")
    increase = forms.CharField(required=False, widget=AmountInput, help_text="Added to the amount for now.")

    class Meta:
        model = Budget
        fields = ["amount", "unit", "period", "warn_percent", "increase", "increase_until"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        budget = self.instance
        self.initial["increase"] = written(budget.increase, unit=budget.unit) if budget.increase else ""
        if budget.pk:
            self.initial["amount"] = written(budget.amount, unit=budget.unit)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in ("amount", "increase"):
            try:
                cleaned[name] = read(cleaned.get(name, ""), unit=cleaned.get("unit", Budget.Unit.MONEY)) or 0
            except ValueError as error:
                self.add_error(name, str(error))
        return cleaned


def read(text: str, *, unit: str) -> int | None:
    """The amount of a budget as somebody wrote it; None for nothing. Raise ValueError with a sentence."""
    text = text.strip()
    if not text:
        return None
    if unit != Budget.Unit.TOKENS:
        return money.parse(text)
    digits = text.replace(",", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20 and int(digits) <= LARGEST):
        raise ValueError("Give a whole number of tokens.")
    return int(digits)


def written(amount: int, *, unit: str) -> str:
    """The reverse: as it stands in a field."""
    return str(amount) if unit == Budget.Unit.TOKENS else money.plain(amount)
