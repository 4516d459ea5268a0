"""ModelAdmin of negotiated factors: dated factors on all prices of an upstream."""

from django.contrib import admin

from keys.admin.versions import StateFilter, Versions
from keys.domain import factors
from keys.forms.prices import NegotiatedFactorForm
from keys.models import NegotiatedFactor
from lib.admin.model_admin import GatewayModelAdmin


@admin.register(NegotiatedFactor)
class NegotiatedFactorAdmin(Versions, GatewayModelAdmin):
    """Records keep the factor that they were rated with: a change applies to later requests, and to re-rating."""

    form = NegotiatedFactorForm
    list_display = ["upstream", "exact_factor", "state", "start"]
    list_filter = [StateFilter]
    search_fields = ["upstream"]
    version_of = ("upstream",)

    @admin.display(description="factor", ordering="factor")
    def exact_factor(self, row: NegotiatedFactor) -> str:
        return factors.text(factors.from_decimal(row.factor))
