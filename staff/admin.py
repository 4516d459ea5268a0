"""Admin pages of access: users, groups, the audit log, logins and failed logins."""

from typing import Any

from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from audit import log
from lib.admin import cells
from lib.admin.filters import TextFilter, TimeFilter
from lib.admin.keyset_list import KeysetModelAdmin
from lib.admin.model_admin import GatewayModelAdmin, ReadOnlyModelAdmin
from staff import two_factor
from staff.models import AuditEntry, Authenticator, FailedLogin, Login

admin.site.unregister(User)
admin.site.unregister(Group)
admin.site.unregister(LogEntry)  # auditlog's own page counts and sorts a table that grows without limit


@admin.register(User)
class StaffAdmin(GatewayModelAdmin, UserAdmin):
    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        confirmed = Authenticator.objects.filter(user=OuterRef("pk"), confirmed=True)
        return super().get_queryset(request).annotate(has_two_factor=Exists(confirmed))

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        offered = ["two_factor"] if two_factor.is_offered() else []
        return [*super().get_list_display(request), *offered]

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Hide the password hash, of which Django shows the beginning, from users who can only view."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        return [
            (title, {**options, "fields": [field for field in options["fields"] if field != "password"]})
            for title, options in fieldsets
        ]

    @admin.display(description="2FA", boolean=True)
    def two_factor(self, user: Any) -> bool:
        return bool(user.has_two_factor)


@admin.register(Group)
class StaffGroupAdmin(GatewayModelAdmin, GroupAdmin):
    pass


# ---- Audit log.


class ChangeTimeFilter(TimeFilter):
    time_field = "timestamp"
    DEFAULT = "month"


class ActorFilter(TextFilter):
    title = "actor"
    parameter_name = "actor"
    placeholder = "user name or command line"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(additional_data__actor__startswith=self.value()) if self.value() else queryset


class ObjectFilter(TextFilter):
    """Filter by part of a name, or by the object of a history, such as `keys.apikey/12`."""

    title = "object"
    parameter_name = "object"
    placeholder = "part of the name"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = self.value()
        if not text:
            return queryset
        return queryset.filter(cid=text) if "/" in text else queryset.filter(object_repr__icontains=text)


class ObjectTypeFilter(admin.SimpleListFilter):
    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = {model._meta.label_lower: str(model._meta.verbose_name) for model in auditlog.get_models()}
        return sorted(names.items(), key=lambda name: name[1].lower())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for model in auditlog.get_models():
            if model._meta.label_lower == self.value():
                return queryset.filter(content_type=ContentType.objects.get_for_model(model))
        return queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(KeysetModelAdmin):
    fieldsets = [
        ("Change", {"fields": ["time", "actor_name", "action_name", "subject", "client_ip"]}),
        (
            "Changes",
            {"fields": ["changes_list"], "description": "Values of passwords and credentials are not recorded."},
        ),
    ]
    list_display = ["time", "actor_name", "action_name", "subject", "changes_summary", "client_ip"]
    list_filter = [ChangeTimeFilter, ActorFilter, ObjectFilter, ObjectTypeFilter, "action"]
    list_select_related = ["actor", "content_type"]
    time_field = "timestamp"

    @admin.display(description="time")
    def time(self, row: AuditEntry) -> SafeString | str:
        return cells.exact(row.timestamp)

    @admin.display(description="actor")
    def actor_name(self, row: AuditEntry) -> str:
        return log.actor_of(row)

    @admin.display(description="action")
    def action_name(self, row: AuditEntry) -> str:
        return log.ACTIONS[row.action]

    @admin.display(description="object")
    def subject(self, row: AuditEntry) -> SafeString | str:
        text = log.entry_of(row).subject
        url = _page_url(row)
        return format_html('<a href="{}">{}</a>', url, text) if url else text

    @admin.display(description="changes")
    def changes_summary(self, row: AuditEntry) -> str:
        return "; ".join(log.entry_of(row).changes)[:200]

    @admin.display(description="changes")
    def changes_list(self, row: AuditEntry) -> SafeString | str:
        lines = log.entry_of(row).changes
        items = format_html_join("", "<li>{}</li>", ((line,) for line in lines))
        return format_html('<ul class="attempts">{}</ul>', items) if lines else cells.NONE

    @admin.display(description="client IP")
    def client_ip(self, row: AuditEntry) -> str:
        return row.remote_addr or cells.NONE

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Audit log", **(extra_context or {})})


def _page_url(row: LogEntry) -> str | None:
    """Return the URL of the object's page; None if it was deleted or has no page of its own."""
    if row.action == LogEntry.Action.DELETE:
        return None
    content_type = row.content_type
    try:
        return reverse(f"admin:{content_type.app_label}_{content_type.model}_change", args=[row.object_pk])
    except NoReverseMatch:
        return None


# ---- Logins.


class LoginTimeFilter(TimeFilter):
    time_field = "attempt_time"
    DEFAULT = "month"


class UsernameFilter(TextFilter):
    title = "user"
    parameter_name = "user"
    placeholder = "user name"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(username=self.value()) if self.value() else queryset


@admin.register(Login)
class LoginAdmin(KeysetModelAdmin):
    fields = ["time", "username", "ip_address", "user_agent", "logged_out"]
    list_display = ["time", "username", "ip_address", "user_agent", "logged_out"]
    list_filter = [LoginTimeFilter, UsernameFilter]
    time_field = "attempt_time"

    @admin.display(description="time")
    def time(self, row: Login) -> SafeString | str:
        return cells.exact(row.attempt_time)

    @admin.display(description="logged out")
    def logged_out(self, row: Login) -> SafeString | str:
        return cells.exact(row.logout_time)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Logins", **(extra_context or {})})


@admin.register(FailedLogin)
class FailedLoginAdmin(ReadOnlyModelAdmin):
    """Failed logins that count towards a lockout, one row per user name and IP address."""

    actions = ["unlock_selected"]
    fields = ["latest", "username", "ip_address", "failed", "state"]
    list_display = ["latest", "username", "ip_address", "failed", "state"]
    ordering = ["-attempt_time"]
    search_fields = ["username", "ip_address"]

    @admin.display(description="latest")
    def latest(self, row: FailedLogin) -> SafeString | str:
        return cells.exact(row.attempt_time)

    @admin.display(description="failures")
    def failed(self, row: Any) -> int:
        return int(row.failures_since_start)

    @admin.display(description="state")
    def state(self, row: Any) -> SafeString:
        end = row.attempt_time + settings.AXES_COOLOFF_TIME
        if end <= timezone.now():
            return cells.badge("Expired", kind="quiet")
        if row.failures_since_start < settings.AXES_FAILURE_LIMIT:
            return cells.badge("Recorded", kind="warn")
        return cells.badge(f"Locked until {timezone.localtime(end):%H:%M}", kind="bad")

    @admin.action(description="Unlock selected logins", permissions=["unlock"])
    def unlock_selected(self, request: HttpRequest, queryset: QuerySet[FailedLogin]) -> None:
        """Delete the failures of these user names from these IP addresses."""
        for row in queryset:  # type: Any
            log.record(row, {"failures": [row.failures_since_start, 0]})
            row.delete()
        messages.success(request, "Unlocked. These users can log in again.")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Failed logins", **(extra_context or {})})

    def has_unlock_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("staff.unlock_login")

    def get_queryset(self, request: HttpRequest) -> QuerySet[FailedLogin]:
        """Exclude users whose password was right and whose code is pending."""
        return super().get_queryset(request).filter(failures_since_start__gt=0)
