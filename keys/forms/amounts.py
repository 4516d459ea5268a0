"""Form field for amounts of money: dollars in the form, micro-dollars in the database."""

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError

from lib import money


class AmountInput(AdminTextInputWidget):
    """A short text input for a number. `<input type=number>` would show large numbers in the browser's locale."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        short = {"inputmode": "decimal", "class": "amount", "autocomplete": "off", "size": 12}
        super().__init__({**short, **(attrs or {})})


class MoneyField(forms.CharField):
    """Dollars in the form, micro-dollars in Python. Empty means `empty` if the field is not required."""

    widget = AmountInput

    def __init__(self, *, largest: int = money.LARGEST, empty: int | None = 0, **options: Any) -> None:
        super().__init__(**options)
        self._largest = largest
        self._empty = empty

    def prepare_value(self, value: Any) -> Any:
        return money.plain(value) if isinstance(value, int) else value

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        try:
            micros = money.parse(text) if text else self._empty
        except ValueError as error:
            raise ValidationError(str(error)) from error
        if micros is not None and micros > self._largest:
            raise ValidationError(f"Enter at most {money.dollars(self._largest)}.")
        return micros

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return (self._empty if initial is None else initial) != (money.parse(data) if data else self._empty)
        except ValueError:
            return True
