"""URLs and views of the pages about one API key, and permissions of the admin of API keys."""

from typing import Any

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import prefetch_related_objects
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path

from keys.display.state_changes import DISABLE_KEY, ENABLE_KEY, REVOKE_KEY
from keys.models import APIKey
from keys.pages import change_state, find_key, issue, key_detail, permissions, rotate, temporary_increase
from lib.admin.model_admin import GatewayModelAdmin


class KeyDetailPages(GatewayModelAdmin):
    """Adds the pages about one API key. Each page checks its own permission."""

    def get_urls(self) -> list[URLPattern]:
        def page(route: str, view: Any, name: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(view), name=f"keys_apikey_{name}")

        changes = [
            page(f"<path:object_id>/{change.name}/", self._view(change_state.change_one, change=change), change.name)
            for change in (DISABLE_KEY, ENABLE_KEY, REVOKE_KEY)
        ]
        return [
            page("find/", self.find_view, "find"),
            page("add/preview/", self.preview_view, "preview"),
            page("<path:object_id>/rotate/", self._view(rotate.rotate), "rotate"),
            page(
                "<path:object_id>/budgets/<int:budget_id>/",
                self._view(temporary_increase.temporary_increase),
                "temporary_increase",
            ),
            *changes,
            *super().get_urls(),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return issue.issue(request, self)

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        return issue.preview(request, self)

    def find_view(self, request: HttpRequest) -> HttpResponse:
        return find_key.find_key(request, self)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return self._view(key_detail.key)(request, object_id)

    def _view(self, handler: Any, **options: Any) -> Any:
        """Return a view that looks up the key in its URL and calls `handler(request, self, api_key, ...)`."""

        def view(request: HttpRequest, object_id: str, **arguments: Any) -> HttpResponse:
            if not self.has_view_or_change_permission(request):
                raise PermissionDenied
            api_key: APIKey | None = self.get_object(request, unquote(object_id))
            if api_key is None:
                raise Http404
            return handler(request, self, api_key, **options, **arguments)

        return view

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> APIKey | None:
        """Return the key with the related objects that its pages read, so that they read them once."""
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            prefetch_related_objects([found], "owner", "created_by", "team__budgets")
        return found

    # ---- Permissions

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(permissions.ISSUE)

    def has_disable_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(permissions.DISABLE)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(permissions.REVOKE)

    def has_delete_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        may_delete = super().has_delete_permission(request, obj)
        return may_delete and (obj is None or permissions.is_deletable(obj))
