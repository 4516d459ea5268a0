"""Pages of two-factor authentication. The site redirects users to them."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from typing import Any

from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_GET

from lib.admin.render import admin_page
from lib.encryption import CredentialUnreadable
from staff import login, two_factor
from staff.forms import INVALID_CODE, CodeForm
from staff.models import Authenticator, RecoveryCode

View = Callable[[HttpRequest], HttpResponse]


def _for_staff(view: View) -> View:
    """Restrict a page to staff users who have entered their password, even if no other page is open to them.

    `never_cache` keeps secrets and codes out of every cache, including the browser's.
    """

    @wraps(view)
    def inner(request: HttpRequest) -> HttpResponse:
        if not (request.user.is_active and request.user.is_staff):
            return redirect_to_login(request.get_full_path(), reverse("admin:login"))
        if not two_factor.is_offered():
            raise Http404
        return view(request)

    return never_cache(csrf_protect(inner))


@_for_staff
def verify(request: HttpRequest) -> HttpResponse:
    """Ask for the code after the password. An invalid code counts as a failed password."""
    if two_factor.missing_step(request.user) != "verify":
        return HttpResponseRedirect(_next_url(request))
    if request.method == "POST" and not login.start_code(request):
        return login.locked_out(request)
    form = _code_form(request, partial(two_factor.verify, request))
    if form.is_valid():
        login.succeeded(request)
        return HttpResponseRedirect(_next_url(request))
    if form.has_error("code", INVALID_CODE):
        if login.is_locked_out(request):
            return login.locked_out(request)
    elif request.method == "POST":
        login.refund_code(request)
    context = {"title": "Two-factor authentication", "form": form, REDIRECT_FIELD_NAME: _next_url(request)}
    return admin_page(request, "staff/verify.html", context)


@_for_staff
def manage(request: HttpRequest) -> HttpResponse:
    """Manage the user's own two-factor authentication: set up, renew recovery codes, disable."""
    if two_factor.missing_step(request.user) == "verify":
        return HttpResponseRedirect(reverse("admin:two_factor_verify"))
    authenticator = two_factor.authenticator_of(request.user)
    is_confirmed = authenticator is not None and authenticator.confirmed
    action = request.POST.get("action")
    if action == "start" and not is_confirmed:
        with suppress(IntegrityError):  # two concurrent submissions: the first one is used
            Authenticator.start(request.user)
        return HttpResponseRedirect(reverse("admin:two_factor"))
    errors = {}
    if action in _ACTIONS_WITH_CODE:
        form = _code_form(request, partial(_ACTIONS_WITH_CODE[action], request))
        if form.is_valid():
            return _done(request, form.result)
        errors[action] = form["code"].errors
    context = {
        "title": "Two-factor authentication",
        "errors": errors,
        "authenticator": authenticator,
        "setup_key": _setup_key(authenticator),
        "remaining_codes": RecoveryCode.objects.filter(authenticator=authenticator).count() if is_confirmed else 0,
        "is_required": two_factor.is_required(),
    }
    return admin_page(request, "staff/two_factor.html", context)


@_for_staff
@require_GET
def image(request: HttpRequest) -> HttpResponse:
    """Show the QR code during setup only."""
    authenticator = two_factor.authenticator_of(request.user)
    if authenticator is None or authenticator.confirmed:
        raise Http404
    return HttpResponse(two_factor.qr_code(authenticator), content_type="image/svg+xml")


_ACTIONS_WITH_CODE: dict[str | None, Callable[[HttpRequest, str], Any]] = {
    "confirm": two_factor.confirm,
    "renew": lambda request, code: two_factor.renew_recovery_codes(request.user, code),
    "disable": lambda request, code: two_factor.disable(request.user, code),
}


def _done(request: HttpRequest, result: list[str] | bool) -> HttpResponse:
    """Show new recovery codes in the response to the POST, and nowhere else."""
    if isinstance(result, list):
        codes = [f"{code[:5]}-{code[5:]}" for code in result]
        return admin_page(request, "staff/recovery_codes.html", {"title": "Recovery codes", "codes": codes})
    messages.success(request, "Two-factor authentication is disabled.")
    return HttpResponseRedirect(reverse("admin:two_factor"))


def _code_form(request: HttpRequest, accept: Callable[[str], Any]) -> CodeForm:
    return CodeForm(request.POST or None, authenticator=two_factor.authenticator_of(request.user), accept=accept)


def _setup_key(authenticator: Authenticator | None) -> str:
    if authenticator is None or authenticator.confirmed:
        return ""
    with suppress(CredentialUnreadable):  # the encryption keys changed meanwhile: the user starts again
        return two_factor.setup_key(authenticator)
    return ""


def _next_url(request: HttpRequest) -> str:
    """Return the URL to continue to, if it is on this site; else the overview."""
    url = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME) or ""
    is_local = url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())
    return url if is_local else reverse("admin:index")
