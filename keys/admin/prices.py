"""ModelAdmin of prices: versions with a start time. A price that was applied to requests is read-only."""

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

PRICES = tuple(f"{kind}_price" for kind in (*KINDS,)[:5])
STATES = {"active": "good", "scheduled": "quiet", "superseded": "warn"}


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
            "valid_from": "A request is priced with the price valid when it starts; past requests are not re-priced.",
        }

    def clean_valid_from(self) -> datetime:
        valid_from: datetime = self.cleaned_data["valid_from"]
        check_year(valid_from)
        return valid_from


class PriceStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "active":
                return queryset.filter(valid_from__lte=timezone.now(), is_superseded=False)
            case "scheduled":
                return queryset.filter(valid_from__gt=timezone.now())
            case "superseded":
                return queryset.filter(is_superseded=True)
        return queryset


@admin.register(ModelPrice)
class ModelPriceAdmin(GatewayModelAdmin):
    actions = None  # a new version supersedes a price; prices are not deleted in bulk
    fieldsets = [
        (None, {"fields": ["model_pattern", "upstream", "valid_from"]}),
        (
            "US dollars per million tokens",
            {
                "fields": [PRICES[:2], PRICES[2:], "is_free"],
                "description": "Enter 0 for token types that cost nothing. Mark a model as free if it costs nothing "
                "at all. Requests for models without a price are unpriced; their cost is unknown, not 0.",
            },
        ),
        ("Details", {"fields": ["max_output_tokens", "source"]}),
    ]
    form = PriceForm
    list_display = [
        "model_pattern",
        "for_upstream",
        "state",
        "start",
        "input_per_million",
        "output_per_million",
        "cache_per_million",
        "source",
        "new_version",
    ]
    list_filter = [PriceStateFilter]
    search_fields = ["model_pattern", "upstream", "source"]

    @admin.display(description="upstream", ordering="upstream")
    def for_upstream(self, price: ModelPrice) -> str:
        return price.upstream or "any"

    @admin.display(description="state")
    def state(self, price: Any) -> SafeString:
        now = timezone.now()
        state = "scheduled" if price.valid_from > now else "superseded" if price.is_superseded else "active"
        return cells.badge(state, kind=STATES[state])

    @admin.display(description="valid from", ordering="valid_from")
    def start(self, price: ModelPrice) -> SafeString | str:
        return cells.exact(price.valid_from)

    @admin.display(description="input", ordering="input_price")
    def input_per_million(self, price: ModelPrice) -> str:
        return "free" if price.is_free else money.dollars(price.input_price)

    @admin.display(description="output", ordering="output_price")
    def output_per_million(self, price: ModelPrice) -> str:
        return "free" if price.is_free else money.dollars(price.output_price)

    @admin.display(description="cache read, write 5 min, write 1 h")
    def cache_per_million(self, price: ModelPrice) -> str:
        amounts = (price.cache_read_price, price.cache_write_5m_price, price.cache_write_1h_price)
        return "free" if price.is_free else " · ".join(map(money.dollars, amounts))

    @admin.display(description="new version")
    def new_version(self, price: ModelPrice) -> SafeString:
        return format_html(
            '<a href="{}" aria-label="New version of {}">New version …</a>', copy_url(price), price.model_pattern
        )

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = {"unpriced": unpriced_models()}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_changeform_initial_data(self, request: HttpRequest) -> Any:
        """Return the values of the query string, or those of the price to copy except its start time."""
        price = self.get_object(request, request.GET.get("copy", ""))
        if price is None:
            return super().get_changeform_initial_data(request)
        names = ["model_pattern", "upstream", *PRICES, "is_free", "max_output_tokens", "source"]
        return {name: getattr(price, name) for name in names}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if price := context["original"]:
            context |= {"is_applied": is_applied(price), "copy_url": copy_url(price)}
        return super().render_change_form(request, context, *args, **kwargs)

    # ---- Queries and permissions

    def get_queryset(self, request: HttpRequest) -> Any:
        same = ModelPrice.objects.filter(model_pattern=OuterRef("model_pattern"), upstream=OuterRef("upstream"))
        later = same.filter(valid_from__gt=OuterRef("valid_from"), valid_from__lte=timezone.now())
        return super().get_queryset(request).annotate(is_superseded=Exists(later))

    def has_change_permission(self, request: HttpRequest, obj: ModelPrice | None = None) -> bool:
        """A price that was applied to requests is read-only: it explains their cost."""
        may_change = super().has_change_permission(request, obj)
        return may_change and (obj is None or not is_applied(obj))

    def has_delete_permission(self, request: HttpRequest, obj: ModelPrice | None = None) -> bool:
        may_delete = super().has_delete_permission(request, obj)
        return may_delete and (obj is None or not is_applied(obj))


def is_applied(price: Any) -> bool:
    """Return whether the price was applied to any request. Cached on the object: the admin asks repeatedly."""
    if not hasattr(price, "_is_applied"):
        price._is_applied = UsageRecord.objects.filter(price=price).exists()
    return bool(price._is_applied)


def copy_url(price: ModelPrice) -> str:
    return reverse("admin:keys_modelprice_add", query={"copy": price.pk})
