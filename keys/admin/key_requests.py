"""ModelAdmin of key requests: their list, and the pages on which they are asked for, decided and revealed."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from keys.admin.team_scoped import TeamScopedAdmin
from keys.models import KeyRequest
from keys.pages import key_requests
from lib.admin import cells
from lib.admin.model_admin import ReadOnlyModelAdmin

STATE_KINDS = {"Pending": "warn", "Approved": "good", "Key shown": "good", "Declined": "bad"}


@admin.register(KeyRequest)
class KeyRequestAdmin(TeamScopedAdmin, ReadOnlyModelAdmin):
    team_scoped_views = (*TeamScopedAdmin.team_scoped_views, "add_view")
    list_display = ["subject", "state_badge", "kind", "team", "requested_by", "created"]
    list_filter = ["state", "kind"]
    list_select_related = ["team", "requested_by"]

    @admin.display(description="request")
    def subject(self, found: KeyRequest) -> str:
        return str(found)

    @admin.display(description="state")
    def state_badge(self, found: KeyRequest) -> SafeString:
        return cells.badge(found.state_label, kind=STATE_KINDS.get(found.state_label, "quiet"))

    @admin.display(description="created")
    def created(self, found: KeyRequest) -> SafeString | str:
        return cells.moment(found.created_at)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return key_requests.ask_for_key(request, self)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = self.get_object(request, unquote(object_id))
        if found is None:
            raise Http404
        return key_requests.key_request(request, self, found)

    def get_queryset(self, request: HttpRequest) -> Any:
        related = ("team", "api_key__team", "requested_by", "decided_by", "budget")
        return super().get_queryset(request).select_related(*related)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(key_requests.ASK))
