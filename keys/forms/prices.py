"""Forms of prices, their modifiers and negotiated factors."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError

from keys.domain import factors, price_kinds
from keys.domain.price_modifiers import DIMENSIONS
from keys.forms.amounts import AmountInput, MoneyField
from keys.forms.fields import check_year
from keys.models import ModelPrice, NegotiatedFactor, PriceModifier
from keys.models.prices import MAX_PRICE
from lib.admin.field_labels import LabeledInlineFormSet

PRICES = tuple(f"{kind}_price" for kind in price_kinds.LABELS)
COPIED = ("model_pattern", "upstream", *PRICES, "writes_cache_implicitly", "is_free", "max_output_tokens", "source")
"""Fields of a price that a new version takes over: all but its start."""
COPIED_MODIFIER = ("dimension", "value", "weekdays", "input_factor", "output_factor")


class FactorField(forms.CharField):
    """An exact factor with at most four decimals: 1.1."""

    widget = AmountInput

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, error_messages={"required": factors.EXAMPLE})

    def prepare_value(self, value: Any) -> Any:
        return factors.text(factors.from_decimal(value)) if isinstance(value, Decimal) else value

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        try:
            return factors.to_decimal(factors.from_decimal(text))
        except ValueError as error:
            raise ValidationError(str(error)) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return initial is None or Decimal(initial) != Decimal(data or "")
        except ArithmeticError:
            return bool(data)


def _amount(kind: str) -> MoneyField:
    """Return the field of a price. Input and output are required, others may be unknown."""
    empty = 0 if kind in (price_kinds.INPUT, price_kinds.OUTPUT) else None
    return MoneyField(label=price_kinds.LABELS[kind], required=False, largest=MAX_PRICE, empty=empty)


class PriceForm(forms.ModelForm):
    """A price in dollars per million tokens."""

    input_price = _amount(price_kinds.INPUT)
    output_price = _amount(price_kinds.OUTPUT)
    cache_read_price = _amount(price_kinds.CACHE_READ)
    cache_write_5m_price = _amount(price_kinds.CACHE_WRITE_5M)
    cache_write_1h_price = _amount(price_kinds.CACHE_WRITE_1H)
    audio_input_price = _amount(price_kinds.AUDIO_INPUT)
    audio_output_price = _amount(price_kinds.AUDIO_OUTPUT)
    web_search_price = _amount(price_kinds.WEB_SEARCH)

    class Meta:
        model = ModelPrice
        fields = ["valid_from", *COPIED]
        widgets = dict.fromkeys(("model_pattern", "upstream", "source"), AdminTextInputWidget)
        help_texts = {
            "valid_from": "Requests that start earlier keep their cost until they are re-rated.",
        }

    def clean_valid_from(self) -> datetime:
        valid_from: datetime = self.cleaned_data["valid_from"]
        check_year(valid_from)
        return valid_from


class ModifierForm(forms.ModelForm):
    """A row of the table of modifiers."""

    input_factor = FactorField()
    output_factor = FactorField()

    class Meta:
        model = PriceModifier
        fields = COPIED_MODIFIER
        widgets = {"value": AdminTextInputWidget({"size": 24}), "weekdays": AmountInput({"inputmode": "numeric"})}
        error_messages = {"dimension": {"invalid_choice": f"Enter one of {', '.join(DIMENSIONS)}."}}


class ModifierFormSet(LabeledInlineFormSet):
    """All modifiers of a price: valid alone, together, and with the price of the same form."""

    def clean(self) -> None:
        super().clean()
        rows = [form for form in self.forms if form.has_changed() or form.instance.pk]
        rows = [form for form in rows if not self._should_delete_form(form)]  # type: ignore[attr-defined]
        if not self.instance.is_complete or not all(form.is_valid() for form in rows):
            return  # reported already
        modifiers = [form.instance for form in rows]
        for problem in self.instance.problems(modifiers):
            if problem.modifier is None:
                raise ValidationError(problem.message)
            rows[modifiers.index(problem.modifier)].add_error(problem.field, problem.message)


class NegotiatedFactorForm(forms.ModelForm):
    """The factor on all prices of an upstream."""

    factor = FactorField(help_text="0.93 for a discount of 7 %.")

    class Meta:
        model = NegotiatedFactor
        fields = ["upstream", "factor", "valid_from"]
        widgets = {"upstream": AdminTextInputWidget}
        help_texts = {"valid_from": "Requests that start from this time on cost the factor times their price."}

    def clean_valid_from(self) -> datetime:
        valid_from: datetime = self.cleaned_data["valid_from"]
        check_year(valid_from)
        return valid_from
