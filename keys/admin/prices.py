"""ModelAdmin of prices: versions with a start time. A price that was applied to requests is read-only."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keys.admin.versions import StateFilter, Versions
from keys.domain.price_modifiers import MAX_MODIFIERS
from keys.forms.prices import COPIED, COPIED_MODIFIER, ModifierForm, ModifierFormSet, PriceForm
from keys.models import ModelPrice, PriceModifier, UsageRecord
from keys.pricing.unpriced import unpriced_models
from lib import money
from lib.admin import cells
from lib.admin.model_admin import GatewayModelAdmin, GatewayTabularInline

MAX_ID_DIGITS = 19
"""Digits of the largest ID: larger numbers are none of the database."""


class ModifierInline(GatewayTabularInline):
    """The modifiers of a price. They are part of it: its permissions apply, and they change while it may change."""

    form = ModifierForm
    formset = ModifierFormSet
    max_num = MAX_MODIFIERS
    model = PriceModifier
    verbose_name = "modifier"
    verbose_name_plural = "modifiers"

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        return len(copied_modifiers(request)) if obj is None else 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("keys.view_modelprice") or self.has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is None:
            return request.user.has_perm("keys.add_modelprice")
        return request.user.has_perm("keys.change_modelprice") and not is_applied(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)


@admin.register(ModelPrice)
class ModelPriceAdmin(Versions, GatewayModelAdmin):
    actions = None  # a new version supersedes a price; prices are not deleted in bulk
    fieldsets = [
        (None, {"fields": ["model_pattern", "upstream", "valid_from"]}),
        (
            "US dollars per million tokens",
            {
                "fields": [
                    ("input_price", "output_price"),
                    ("cache_read_price", "cache_write_5m_price", "cache_write_1h_price"),
                    ("audio_input_price", "audio_output_price"),
                    "is_free",
                ],
                "description": "A cache price that is empty is the input price, an audio price that is empty the price "
                "of its direction. Mark a model as free if it costs nothing. Requests for models without a price are "
                "unpriced; their cost is unknown, not 0.",
            },
        ),
        (
            "US dollars each",
            {"fields": ["web_search_price"], "description": "Empty: requests with web searches are unpriced."},
        ),
        ("Details", {"fields": ["writes_cache_implicitly", "max_output_tokens", "source"]}),
    ]
    form = PriceForm
    inlines = [ModifierInline]
    list_display = [
        "model_pattern",
        "for_upstream",
        "state",
        "start",
        "input_per_million",
        "output_per_million",
        "cache_per_million",
        "factors",
        "source",
        "new_version",
    ]
    list_filter = [StateFilter]
    version_of = ("model_pattern", "upstream")
    search_fields = ["model_pattern", "upstream", "source"]

    @admin.display(description="upstream", ordering="upstream")
    def for_upstream(self, price: ModelPrice) -> str:
        return price.upstream or "any"

    @admin.display(description="input", ordering="input_price")
    def input_per_million(self, price: ModelPrice) -> str:
        return "free" if price.is_free else money.dollars(price.input_price)

    @admin.display(description="output", ordering="output_price")
    def output_per_million(self, price: ModelPrice) -> str:
        return "free" if price.is_free else money.dollars(price.output_price)

    @admin.display(description="cache read, write 5 min, write 1 h")
    def cache_per_million(self, price: ModelPrice) -> str:
        if price.is_free:
            return "free"
        amounts = (price.cache_read_price, price.cache_write_5m_price, price.cache_write_1h_price)
        return " · ".join("as input" if amount is None else money.dollars(amount) for amount in amounts)

    @admin.display(description="modifiers")
    def factors(self, price: ModelPrice) -> str:
        return ", ".join(str(modifier) for modifier in price.modifiers.all()) or cells.NONE

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
        return {name: getattr(price, name) for name in COPIED}

    def get_formset_kwargs(self, request: HttpRequest, obj: Any, inline: Any, prefix: str) -> dict[str, Any]:
        """Fill in the modifiers of the price to copy. Not when the form is sent: unchanged rows are not saved."""
        found: dict[str, Any] = super().get_formset_kwargs(request, obj, inline, prefix)
        if request.method != "POST" and (modifiers := copied_modifiers(request)):
            found["initial"] = [{name: getattr(each, name) for name in COPIED_MODIFIER} for each in modifiers]
        return found

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if price := context["original"]:
            context |= {"is_applied": is_applied(price), "copy_url": copy_url(price)}
        return super().render_change_form(request, context, *args, **kwargs)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("modifiers")

    # ---- Permissions

    def has_change_permission(self, request: HttpRequest, obj: ModelPrice | None = None) -> bool:
        """A price that was applied to requests is read-only: it explains their cost."""
        may_change = super().has_change_permission(request, obj)
        return may_change and (obj is None or not is_applied(obj))

    def has_delete_permission(self, request: HttpRequest, obj: ModelPrice | None = None) -> bool:
        may_delete = super().has_delete_permission(request, obj)
        return may_delete and (obj is None or not is_applied(obj))


def copied_modifiers(request: HttpRequest) -> list[PriceModifier]:
    """Return the modifiers of the price that the query string names to be copied."""
    price_id = request.GET.get("copy", "")
    is_id = price_id.isascii() and price_id.isdecimal() and len(price_id) < MAX_ID_DIGITS
    return list(PriceModifier.objects.filter(price_id=int(price_id))) if is_id else []


def is_applied(price: Any) -> bool:
    """Return whether any request was rated with the price. Cached on the object: the admin asks repeatedly."""
    if not hasattr(price, "_is_applied"):
        price._is_applied = UsageRecord.objects.filter(price=price).exists() or is_named(price)
    return bool(price._is_applied)


def is_named(price: ModelPrice) -> bool:
    """Return whether a record names the price of a part by another model. An index has such records alone."""
    # The database compares the text of the JSON: only a few records have other prices, and each has a few.
    named = Q(prices_text__contains=f": {price.pk},") | Q(prices_text__contains=f": {price.pk}}}")
    others = UsageRecord.objects.filter(other_prices__isnull=False).order_by()
    return others.annotate(prices_text=Cast("other_prices", TextField())).filter(named).exists()


def copy_url(price: ModelPrice) -> str:
    return reverse("admin:keys_modelprice_add", query={"copy": price.pk})
