"""The pages of the second factor. Who is led to them, and when, is the site's matter."""

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
from staff import login, second_factor
from staff.forms import WRONG, CodeForm
from staff.models import Authenticator, RecoveryCode

View = Callable[[HttpRequest], HttpResponse]


def _for_staff(view: View) -> View:
    """
    Pages on the way in: for staff who have given their password, whether or not anything else is open to them.
    `never_cache` keeps what they show out of every store, that of the browser too.
    """

    @wraps(view)
    def inner(request: HttpRequest) -> HttpResponse:
        if not (request.user.is_active and request.user.is_staff):
            return redirect_to_login(request.get_full_path(), reverse("admin:login"))
        if not second_factor.is_offered():
            raise Http404
        return view(request)

    return never_cache(csrf_protect(inner))


@_for_staff
def verify(request: HttpRequest) -> HttpResponse:
    """Ask for the code after the password. A wrong one counts as a wrong password."""
    if second_factor.missing_step(request.user) != "verify":
        return HttpResponseRedirect(_next(request))
    username = request.user.get_username()
    if request.method == "POST" and login.is_locked_out(request, username=username):
        return _locked_out(request)
    form = _code_form(request, partial(second_factor.verify, request))
    if form.is_valid():
        login.succeeded(request, username=username)
        return HttpResponseRedirect(_next(request))
    if form.has_error("code", WRONG):
        login.failed(request, username=username)
        if login.is_locked_out(request):
            return _locked_out(request)
    context = {"title": "Second factor", "form": form, REDIRECT_FIELD_NAME: _next(request)}
    return admin_page(request, "staff/verify.html", context)


@_for_staff
def manage(request: HttpRequest) -> HttpResponse:
    """One's own second factor: set it up, get new recovery codes, remove it."""
    if second_factor.missing_step(request.user) == "verify":
        return HttpResponseRedirect(reverse("admin:second_factor_verify"))
    authenticator = second_factor.of(request.user)
    is_confirmed = authenticator is not None and authenticator.confirmed
    do = request.POST.get("do")
    if do == "start" and not is_confirmed:
        with suppress(IntegrityError):  # sent twice at once: one of them counts
            Authenticator.start(request.user)
        return HttpResponseRedirect(reverse("admin:second_factor"))
    form = CodeForm()
    if do in _WITH_CODE:
        form = _code_form(request, partial(_WITH_CODE[do], request))
        if form.is_valid():
            return _done(request, form.result)
    context = {
        "title": "Second factor",
        "form": form,
        "do": do,
        "authenticator": authenticator,
        "setup_key": _setup_key(authenticator),
        "codes_left": RecoveryCode.objects.filter(authenticator=authenticator).count() if is_confirmed else 0,
        "is_required": second_factor.is_required(),
    }
    return admin_page(request, "staff/second_factor.html", context)


@_for_staff
@require_GET
def image(request: HttpRequest) -> HttpResponse:
    """The QR code of what is being set up. Afterwards it is shown to nobody."""
    authenticator = second_factor.of(request.user)
    if authenticator is None or authenticator.confirmed:
        raise Http404
    return HttpResponse(second_factor.qr_code(authenticator), content_type="image/svg+xml")


_WITH_CODE: dict[str | None, Callable[[HttpRequest, str], Any]] = {
    "confirm": second_factor.confirm,
    "renew": lambda request, code: second_factor.renew_recovery_codes(request.user, code),
    "remove": lambda request, code: second_factor.remove(request.user, code),
}


def _done(request: HttpRequest, result: list[str] | bool) -> HttpResponse:
    """Recovery codes are shown in the answer to the POST, and nowhere else."""
    if isinstance(result, list):
        codes = [f"{code[:5]}-{code[5:]}" for code in result]
        return admin_page(request, "staff/recovery_codes.html", {"title": "Recovery codes", "codes": codes})
    messages.success(request, "The second factor was removed.")
    return HttpResponseRedirect(reverse("admin:second_factor"))


def _code_form(request: HttpRequest, accept: Callable[[str], Any]) -> CodeForm:
    return CodeForm(request.POST or None, authenticator=second_factor.of(request.user), accept=accept)


def _setup_key(authenticator: Authenticator | None) -> str:
    if authenticator is None or authenticator.confirmed:
        return ""
    with suppress(CredentialUnreadable):  # the encryption keys changed in between: one starts again
        return second_factor.setup_key(authenticator)
    return ""


def _locked_out(request: HttpRequest) -> HttpResponse:
    return login.locked_out(request)


def _next(request: HttpRequest) -> str:
    """Where somebody was going, if that is here."""
    address = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME) or ""
    is_here = url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=request.is_secure())
    return address if is_here else reverse("admin:index")
