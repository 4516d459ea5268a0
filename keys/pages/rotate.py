"""Rotating a key: a new secret, shown once, and an end for the old one."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from keys.display.secret_status import secret_statuses
from keys.display.state_changes import propagation_s
from keys.forms.rotate import RotateForm
from keys.models import APIKey, KeyRevoked, KeySecret
from keys.pages.raw_key import show_already_issued, show_once
from lib.admin.render import admin_page


def rotate(request: HttpRequest, model_admin: Any, api_key: APIKey) -> HttpResponse:
    if not model_admin.has_rotate_permission(request):
        raise PermissionDenied
    form = RotateForm(request.POST or None)
    if not form.is_valid() or api_key.revoked_at is not None:
        return _ask(request, api_key, form)
    token = form.cleaned_data["token"]
    try:
        with transaction.atomic():
            secret, raw = api_key.rotate(overlap=form.chosen_overlap, idempotency_key=token)
            model_admin.log_change(request, api_key, f"Rotated: the old secret ends {_ending(form)}")
    except KeyRevoked:  # a moment ago
        return _ask(request, model_admin.get_queryset(request).get(pk=api_key.pk), form)
    except IntegrityError:
        if not KeySecret.objects.filter(idempotency_key=token).exists():
            raise
        return show_already_issued(request, model_admin, api_key)
    old = KeySecret.objects.filter(api_key=api_key, expires_at__gt=timezone.now()).exclude(pk=secret.pk).first()
    return show_once(request, model_admin, api_key, raw, title="Key rotated", is_rotated=True, old=old)


def _ask(request: HttpRequest, api_key: APIKey, form: RotateForm) -> HttpResponse:
    live = [each for each in secret_statuses(list(api_key.secrets.all())) if each.state != "expired"]
    context = {
        "title": f"Rotate {api_key.name}",
        "api_key": api_key,
        "form": form,
        "live": live,
        "propagation_s": propagation_s(),
    }
    return admin_page(
        request, "keys/key/rotate.html", context, status=409 if request.method == "POST" and api_key.revoked_at else 200
    )


def _ending(form: RotateForm) -> str:
    return dict(form.fields["overlap"].choices)[form.cleaned_data["overlap"]]  # type: ignore[attr-defined]
