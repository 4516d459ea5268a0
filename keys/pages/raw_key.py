"""Page that shows a raw key once, in the response to the POST that issued it. The raw key is stored nowhere."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from keys.display.snippets import EXAMPLE_MODEL, SOME_MODEL, snippets
from keys.models import APIKey
from keys.pages import permissions
from lib import model_patterns
from lib.admin.render import NO_STORE_NO_REFERRER, admin_page


def show_once(request: HttpRequest, model_admin: Any, api_key: APIKey, raw: str, **context: Any) -> HttpResponse:
    """Show the raw key of an issued or rotated key, with code snippets that use it."""
    model = example_model(api_key, model_admin.admin_site.model_names())
    origin = f"{request.scheme}://{request.get_host()}"
    context = {
        "title": "Key issued",
        "api_key": api_key,
        "raw": raw,
        "snippets": snippets(raw, origin=origin, model=model or SOME_MODEL),
        "model": model,
        **context,
    }
    return admin_page(request, "keys/issue/raw_key.html", context, headers=NO_STORE_NO_REFERRER)


def show_already_issued(request: HttpRequest, api_key: APIKey) -> HttpResponse:
    """Respond with 409 to a form that was sent a second time."""
    context = {
        "title": "Already issued",
        "api_key": api_key,
        "may": permissions.permitted_actions(request.user, api_key),
        "may_issue": request.user.has_perm(permissions.ISSUE),
    }
    return admin_page(request, "keys/issue/already_issued.html", context, status=409, headers=NO_STORE_NO_REFERRER)


def example_model(api_key: APIKey, names: list[str]) -> str:
    """Return the name of a model that the key may use; empty if none is known."""
    of_team = api_key.team.allowed_models if api_key.team else []
    known = model_patterns.names([*api_key.allowed_models, *of_team, *names, EXAMPLE_MODEL])
    allowlists = (api_key.allowed_models, of_team)
    allowed = [name for name in known if all(model_patterns.allows(each, name) for each in allowlists)]
    return next(iter(allowed), "")
