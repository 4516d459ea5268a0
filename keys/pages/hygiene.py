"""Key hygiene page: findings about API keys and unpriced models."""

from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from keys.hygiene import findings
from lib.admin.render import admin_page


@require_GET
@permission_required("keys.view_apikey", raise_exception=True)
def key_hygiene(request: HttpRequest) -> HttpResponse:
    """Show each finding with its first keys and a link to all of them."""
    return admin_page(request, "keys/hygiene/page.html", {"title": "Key hygiene", "hygiene": findings.examine()})
