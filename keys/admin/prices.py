"""The prices: dated rows. One that calls were rated with stays as it is; the next one ends it."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminTextInputWidget
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keys.forms.amounts import MoneyField
from keys.forms.fields import check_year
from keys.models import ModelPrice, UsageRecord
from keys.models.prices import MAX_PRICE
from keys.pricing.breakdown import KINDS
from keys.pricing.unpriced import unpriced_models
from lib import money
from lib.admin import cells
from lib.admin.model_admin import GatewayModelAdmin

PRICES = tuple(f"{kind}_price" for kind in KINDS)
STATES = {"current": "good", "coming": "quiet", "past": "warn"}


def _amount(label: str) -> MoneyField:
    return MoneyField(label=label, required=False, largest=MAX_PRICE)


class PriceForm(forms.ModelForm):
    """A price in dollars per million tokens."""

    input_price = _amount(KINDS["input"])
    output_price = _amount(KINDS["output"])
    cache_read_price = _amount(KINDS["cache_read"])
    cache_write_5m_price = _amount(KINDS["cache_write_5m"])
    cache_write_1h_price = _amount(KINDS["cache_write_1h"])

    class Meta:
        model = ModelPrice
        fields = ["model_pattern", "upstream", "valid_from", *PRICES, "is_free", "max_output_tokens", "source"]
        widgets = dict.fromkeys(("model_pattern", "upstream", "source"), AdminTextInputWidget)
        help_texts = {
            "valid_from": "Calls are rated by the price that stands when they begin. Those that ended keep theirs.",
        }

    def clean_valid_from(self) -> datetime:
        valid_from: datetime = self.cleaned_data["valid_from"]
        check_year(valid_from)
        return valid_from


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "current":
                return queryset.filter(valid_from__lte=timezone.now(), is_superseded=False)
            case "coming":
                return queryset.filter(valid_from__gt=timezone.now())
            case "past":
                return queryset.filter(is_superseded=True)
        return queryset


@admin.register(ModelPrice)
class ModelPriceAdmin(GatewayModelAdmin):
    actions = None  # a price is ended by the next one, not deleted in bulk
    fieldsets = [
        (None, {"fields": ["model_pattern", "upstream", "valid_from"]}),
        (
            "Dollars per million tokens",
            {
                "fields": [PRICES[:2], PRICES[2:], "is_free"],
                "description": "0 for a kind of token that costs nothing. A model that costs nothing at all is marked "
                "as free; one without a price is unpriced, never 0.",
            },
        ),
        ("More", {"fields": ["max_output_tokens", "source"]}),
    ]
    form = PriceForm
    list_display = [
        "model_pattern",
        "at",
        "state",
        "begins",
        "of_input",
        "of_output",
        "of_cache",
        "source",
        "next_price",
    ]
    list_filter = [StateFilter]
    search_fields = ["model_pattern", "upstream", "source"]

    @admin.display(description="upstream", ordering="upstream")
    def at(self, price: ModelPrice) -> str:
        return price.upstream or "any"

    @admin.display(description="state")
    def state(self, price: Any) -> SafeString:
        word = "coming" if price.valid_from > timezone.now() else "past" if price.is_superseded else "current"
        return cells.badge(word, kind=STATES[word])

    @admin.display(description="from", ordering="valid_from")
    def begins(self, price: ModelPrice) -> SafeString | str:
        return cells.exact(price.valid_from)

    @admin.display(description="input", ordering="input_price")
    def of_input(self, price: ModelPrice) -> str:
        return "free" if price.is_free else money.dollars(price.input_price)

    @admin.display(description="output", ordering="output_price")
    def of_output(self, price: ModelPrice) -> str:
        return "free" if price.is_free else money.dollars(price.output_price)

    @admin.display(description="cache read, write 5 min, 1 h")
    def of_cache(self, price: ModelPrice) -> str:
        amounts = (price.cache_read_price, price.cache_write_5m_price, price.cache_write_1h_price)
        return "free" if price.is_free else " · ".join(map(money.dollars, amounts))

    @admin.display(description="next")
    def next_price(self, price: ModelPrice) -> SafeString:
        return format_html(
            '<a href="{}" aria-label="New price for {}">New price …</a>', address_of_copy(price), price.model_pattern
        )

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = {"unpriced": unpriced_models()}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_changeform_initial_data(self, request: HttpRequest) -> Any:
        """What the address says; of a copy all but the date, which is now."""
        copied = request.GET.get("copy", "")
        price = ModelPrice.objects.filter(pk=copied).first() if copied.isascii() and copied.isdigit() else None
        if price is None:
            return super().get_changeform_initial_data(request)
        names = ["model_pattern", "upstream", *PRICES, "is_free", "max_output_tokens", "source"]
        return {name: getattr(price, name) for name in names}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if price := context["original"]:
            context |= {"has_rated": has_rated(price), "copy": address_of_copy(price)}
        return super().render_change_form(request, context, *args, **kwargs)

    # ---- what is read, and who may

    def get_queryset(self, request: HttpRequest) -> Any:
        same = ModelPrice.objects.filter(model_pattern=OuterRef("model_pattern"), upstream=OuterRef("upstream"))
        later = same.filter(valid_from__gt=OuterRef("valid_from"), valid_from__lte=timezone.now())
        return super().get_queryset(request).annotate(is_superseded=Exists(later))

    def has_change_permission(self, request: HttpRequest, obj: ModelPrice | None = None) -> bool:
        """One that calls were rated with is read: it is the reason of what stands in their rows."""
        may_change = super().has_change_permission(request, obj)
        return may_change and (obj is None or not has_rated(obj))

    def has_delete_permission(self, request: HttpRequest, obj: ModelPrice | None = None) -> bool:
        may_delete = super().has_delete_permission(request, obj)
        return may_delete and (obj is None or not has_rated(obj))


def has_rated(price: Any) -> bool:
    """Whether any call was rated with a price. Asked once for each object: the admin asks again and again."""
    if not hasattr(price, "_has_rated"):
        price._has_rated = UsageRecord.objects.filter(price=price).exists()
    return bool(price._has_rated)


def address_of_copy(price: ModelPrice) -> str:
    return reverse("admin:keys_modelprice_add", query={"copy": price.pk})
