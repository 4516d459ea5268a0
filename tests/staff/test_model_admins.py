"""Every list of the admin has the gateway's guarded lookups and labeled fields."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import BinaryField, CharField, JSONField, Model, TextField
from django.test import Client, RequestFactory
from django.urls import reverse

from keys.models import APIKey
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


SECRET = {"password", "digest", "pepper_id", "idempotency_key", "credential_ciphertext", "secret_token"}


@pytest.mark.parametrize("model", list(admin.site._registry), ids=lambda model: model._meta.label_lower)
def test_a_text_that_a_list_does_not_show_cannot_be_filtered_by(model: type[Model], browser: Client) -> None:
    """A new secret column needs no entry anywhere: the list does not show it."""
    model_admin: Any = admin.site._registry[model]
    request = RequestFactory().get("/")
    request.user = User.objects.get(username="root")
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    shown = model_admin._shown(request)
    assert shown.isdisjoint(SECRET)
    for column in model._meta.concrete_fields:
        is_text = isinstance(column, CharField | TextField | JSONField | BinaryField)
        if is_text and not column.primary_key and column.name not in shown:
            assert browser.get(url, {f"{column.name}__startswith": "a"}).status_code == 400, column.name


def test_a_new_column_of_texts_is_not_filtered_by(monkeypatch: pytest.MonkeyPatch, browser: Client) -> None:
    monkeypatch.setattr(admin.site._registry[APIKey], "search_fields", ["team__name"])

    assert browser.get("/admin/keys/apikey/?name__startswith=a").status_code == 400
    assert browser.get("/admin/keys/apikey/?team__name__startswith=a").status_code != 200
