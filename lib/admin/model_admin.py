"""Base classes of every ModelAdmin of the gateway, and of their inlines."""

from typing import Any

from django.contrib.admin import ModelAdmin, TabularInline
from django.contrib.admin.options import ShowFacets
from django.http import HttpRequest

from lib.admin import cells
from lib.admin.field_labels import FieldLabels, LabeledInlineFormSet
from lib.admin.form_guard import FormGuard
from lib.admin.lookup_guard import LookupGuard


class GatewayModelAdmin(LookupGuard, FormGuard, FieldLabels, ModelAdmin):
    """ModelAdmin with guarded URLs and forms, and labeled fields. Base of every ModelAdmin that the site registers."""

    list_per_page = 50
    show_full_result_count = False


class GatewayTabularInline(TabularInline):
    """Inline table without empty rows, with a label for each cell."""

    extra = 0
    formset = LabeledInlineFormSet
    max_num = 50

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Accept no more rows than the page offers: Django accepts 1,000 more, which took 8.6 s."""
        return super().get_formset(request, obj, **{"absolute_max": self.max_num, "validate_max": True} | kwargs)


class ReadOnlyModelAdmin(GatewayModelAdmin):
    """Admin of records that are viewed only, by superusers too. Pages show no facet counts and do not sort."""

    actions: Any = None
    change_form_template = "admin/read_only_form.html"
    empty_value_display = cells.NONE
    show_facets = ShowFacets.NEVER
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
