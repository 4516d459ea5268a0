"""Who may enter, who has entered, who could not, and what was changed. All but users and groups is only looked at."""

from typing import Any

from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db.models import Exists, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
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
from staff import second_factor
from staff.models import AuditEntry, Authenticator, FailedLogin, Login

admin.site.unregister(User)
admin.site.unregister(Group)
admin.site.unregister(LogEntry)  # auditlog's own page, which counts and sorts a table that grows for ever


@admin.register(User)
class StaffAdmin(GatewayModelAdmin, UserAdmin):
    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        confirmed = Authenticator.objects.filter(user=OuterRef("pk"), confirmed=True)
        return super().get_queryset(request).annotate(has_second_factor=Exists(confirmed))

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        offered = ["second_factor"] if second_factor.is_offered() else []
        return [*super().get_list_display(request), *offered]

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Without the beginning of the password's hash for those who only look."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        return [
            (title, {**options, "fields": [field for field in options["fields"] if field != "password"]})
            for title, options in fieldsets
        ]

    @admin.display(description="second factor", boolean=True)
    def second_factor(self, user: Any) -> bool:
        return bool(user.has_second_factor)


@admin.register(Group)
class StaffGroupAdmin(GatewayModelAdmin, GroupAdmin):
    pass


# ---- changes


class ChangeTimeFilter(TimeFilter):
    time_field = "timestamp"
    DEFAULT = "month"


class ActorFilter(TextFilter):
    title = "who"
    parameter_name = "who"
    placeholder = "user name or command line"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(additional_data__actor__startswith=self.value()) if self.value() else queryset


class ObjectFilter(TextFilter):
    """A part of a name, or an object as `history_of` knows it, such as `keys.apikey/12`."""

    title = "what"
    parameter_name = "what"
    placeholder = "a part of its name"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = self.value()
        if not text:
            return queryset
        return queryset.filter(cid=text) if "/" in text else queryset.filter(object_repr__icontains=text)


class TableFilter(admin.SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kinds = {model._meta.label_lower: str(model._meta.verbose_name) for model in auditlog.get_models()}
        return sorted(kinds.items(), key=lambda kind: kind[1].lower())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for model in auditlog.get_models():
            if model._meta.label_lower == self.value():
                return queryset.filter(content_type=ContentType.objects.get_for_model(model))
        return queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(KeysetModelAdmin):
    fieldsets = [
        ("Change", {"fields": ["moment", "who", "done", "subject", "address"]}),
        (
            "What changed",
            {"fields": ["changed"], "description": "Of passwords and credentials only that they changed."},
        ),
    ]
    list_display = ["moment", "who", "done", "subject", "in_short", "address"]
    list_filter = [ChangeTimeFilter, ActorFilter, ObjectFilter, TableFilter, "action"]
    list_select_related = ["actor", "content_type"]
    time_field = "timestamp"

    @admin.display(description="time")
    def moment(self, row: AuditEntry) -> SafeString | str:
        return cells.exact(row.timestamp)

    @admin.display(description="who")
    def who(self, row: AuditEntry) -> str:
        return log.actor_of(row)

    @admin.display(description="did")
    def done(self, row: AuditEntry) -> str:
        return log.ACTIONS[row.action]

    @admin.display(description="what")
    def subject(self, row: AuditEntry) -> SafeString | str:
        text = log.entry_of(row).subject
        address = _page_of(row)
        return format_html('<a href="{}">{}</a>', address, text) if address else text

    @admin.display(description="changes")
    def in_short(self, row: AuditEntry) -> str:
        return "; ".join(log.entry_of(row).changes)[:200]

    @admin.display(description="changes")
    def changed(self, row: AuditEntry) -> SafeString | str:
        lines = log.entry_of(row).changes
        items = format_html_join("", "<li>{}</li>", ((line,) for line in lines))
        return format_html('<ul class="attempts">{}</ul>', items) if lines else cells.NONE

    @admin.display(description="from")
    def address(self, row: AuditEntry) -> str:
        return row.remote_addr or cells.NONE

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Audit log", **(extra_context or {})})


def _page_of(row: LogEntry) -> str | None:
    """Where the object is to be seen, if it has a page of its own and is still there."""
    if row.action == LogEntry.Action.DELETE:
        return None
    kind = row.content_type
    try:
        return reverse(f"admin:{kind.app_label}_{kind.model}_change", args=[row.object_pk])
    except NoReverseMatch:
        return None


# ---- logins


class LoginTimeFilter(TimeFilter):
    time_field = "attempt_time"
    DEFAULT = "month"


class UsernameFilter(TextFilter):
    title = "user"
    parameter_name = "who"
    placeholder = "user name"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(username=self.value()) if self.value() else queryset


@admin.register(Login)
class LoginAdmin(KeysetModelAdmin):
    fields = ["moment", "username", "ip_address", "user_agent", "logged_out"]
    list_display = ["moment", "username", "ip_address", "user_agent", "logged_out"]
    list_filter = [LoginTimeFilter, UsernameFilter]
    time_field = "attempt_time"

    @admin.display(description="time")
    def moment(self, row: Login) -> SafeString | str:
        return cells.exact(row.attempt_time)

    @admin.display(description="logged out")
    def logged_out(self, row: Login) -> SafeString | str:
        return cells.exact(row.logout_time)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Logins", **(extra_context or {})})


@admin.register(FailedLogin)
class FailedLoginAdmin(ReadOnlyModelAdmin):
    """What is counted now: rows older than the lock lasts go away by themselves."""

    actions = ["unlock_selected"]
    fields = ["moment", "username", "ip_address", "user_agent", "failed", "state"]
    list_display = ["moment", "username", "ip_address", "failed", "state"]
    ordering = ["-attempt_time"]
    search_fields = ["username", "ip_address"]

    @admin.display(description="latest")
    def moment(self, row: FailedLogin) -> SafeString | str:
        return cells.exact(row.attempt_time)

    @admin.display(description="failures")
    def failed(self, row: Any) -> int:
        return int(row.failures)

    @admin.display(description="state")
    def state(self, row: Any) -> SafeString:
        end = row.attempt_time + settings.AXES_COOLOFF_TIME
        if end <= timezone.now():
            return cells.badge("Over", kind="quiet")
        if row.failures < settings.AXES_FAILURE_LIMIT:
            return cells.badge("Counting", kind="warn")
        return cells.badge(f"Locked until {timezone.localtime(end):%H:%M}", kind="bad")

    @admin.action(description="Unlock selected logins", permissions=["unlock"])
    def unlock_selected(self, request: HttpRequest, queryset: QuerySet[FailedLogin]) -> None:
        """Forget the failures of these names from these addresses, whatever they were made with."""
        for row in queryset:  # type: Any
            log.note(row, {"failures": [row.failures, 0]})
            FailedLogin.objects.filter(username=row.username, ip_address=row.ip_address).delete()
        messages.success(request, "Unlocked. They can log in again.")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Failed logins", **(extra_context or {})})

    def has_unlock_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("staff.unlock_login")

    def get_queryset(self, request: HttpRequest) -> QuerySet[FailedLogin]:
        """With all failures of the name from the address: each browser that was used has a row."""
        same = FailedLogin.objects.filter(username=OuterRef("username"), ip_address=OuterRef("ip_address"))
        added_up = same.order_by().values("username").annotate(sum=Sum("failures_since_start")).values("sum")
        failures = Coalesce(Subquery(added_up), "failures_since_start")
        return super().get_queryset(request).annotate(failures=failures)
