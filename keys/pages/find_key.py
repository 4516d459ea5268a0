"""Find an API key by its full key, which the browser sends in the body of a POST."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

from keys.forms.find_key import FindKeyForm
from lib.redaction import find_raw_key


def find_key(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Redirect to the row of the key with this raw key. The raw key never appears in a URL."""
    if not model_admin.has_view_or_change_permission(request):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    form = FindKeyForm(request.POST)
    pasted = form.cleaned_data["raw_key"] if form.is_valid() else ""
    return model_admin.redirect_to_row(request, find_raw_key(pasted) or "")
