"""Every list of the admin has the gateway's guarded lookups and labeled fields."""

from django.contrib import admin

from lib.admin.field_labels import LabeledInlineFormSet
from lib.admin.model_admin import GatewayModelAdmin


def test_every_registered_model_admin_is_a_gateway_model_admin() -> None:
    registered = list(admin.site._registry.values())

    assert registered
    assert [each for each in registered if not isinstance(each, GatewayModelAdmin)] == []


def test_every_inline_labels_its_cells() -> None:
    inlines = [inline for each in admin.site._registry.values() for inline in each.inlines]

    assert inlines
    assert [inline for inline in inlines if not issubclass(inline.formset, LabeledInlineFormSet)] == []
