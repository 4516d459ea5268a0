"""Rotation page: adds a secret, shows it once and sets when the old one expires."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from keys.display.secret_status import secret_statuses
from keys.display.state_changes import propagation_s
from keys.forms.rotate import RotateForm
from keys.models import APIKey, KeyRevoked, KeySecret
from keys.pages import permissions
from keys.pages.raw_key import show_already_issued, show_once
from lib.admin.render import admin_page


def rotate(request: HttpRequest, model_admin: Any, api_key: APIKey) -> HttpResponse:
    if not request.user.has_perm(permissions.ROTATE):
        raise PermissionDenied
    form = RotateForm(request.POST or None)
    if not form.is_valid() or api_key.revoked_at is not None:
        return _show_form(request, api_key, form)
    token = form.cleaned_data["token"]
    try:
        with transaction.atomic():
            secret, raw = api_key.rotate(overlap=form.chosen_overlap, idempotency_key=token)
            model_admin.log_change(request, api_key, f"Rotated: previous secret expires {form.chosen_overlap_label}")
    except KeyRevoked:  # by a concurrent request
        return _show_form(request, model_admin.get_queryset(request).get(pk=api_key.pk), form)
    except IntegrityError:
        if not KeySecret.objects.filter(idempotency_key=token).exists():
            raise
        return show_already_issued(request, api_key)
    old = KeySecret.objects.filter(api_key=api_key, expires_at__gt=timezone.now()).exclude(pk=secret.pk).first()
    return show_once(request, model_admin, api_key, raw, title="Key rotated", is_rotated=True, old=old)


def _show_form(request: HttpRequest, api_key: APIKey, form: RotateForm) -> HttpResponse:
    """Show the form, or with 409 that the key was revoked after the form was loaded."""
    valid_secrets = [each for each in secret_statuses(list(api_key.secrets.all())) if each.state != "expired"]
    context = {
        "title": f"Rotate {api_key.name}",
        "api_key": api_key,
        "form": form,
        "valid_secrets": valid_secrets,
        "propagation_s": propagation_s(),
    }
    status = 409 if request.method == "POST" and api_key.revoked_at else 200
    return admin_page(request, "keys/key/rotate.html", context, status=status)
