"""Admin of alert rules, with a test alert, and the history of incidents."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from lib.admin import cells
from lib.admin.filters import TimeFilter
from lib.admin.keyset_list import KeysetModelAdmin
from lib.admin.lines_field import LinesField
from lib.admin.model_admin import GatewayModelAdmin
from messages_api.alerts import messages as alert_messages
from messages_api.models import AlertRule, Incident

NO_RECEIVER = "No recipient or webhook receives this rule's alerts. Enter recipients, or set ALERT_EMAILS."


class RecipientsField(LinesField):
    placeholder = "ops@example.org"


class AlertRuleForm(forms.ModelForm):
    recipients = RecipientsField(help_text="One e-mail address per line. Empty: ALERT_EMAILS.")

    class Meta:
        model = AlertRule
        fields = [
            *("name", "kind", "threshold", "window_minutes", "min_requests", "upstream", "team", "recipients"),
            *("is_for_webhook", "quiet_from", "quiet_until", "ends_after_minutes", "enabled"),
        ]


@admin.register(AlertRule)
class AlertRuleAdmin(GatewayModelAdmin):
    change_form_template = "admin/messages_api/alertrule/change_form.html"
    fieldsets = [
        (None, {"fields": ["name", "kind", "enabled"]}),
        (
            "Condition",
            {
                "fields": ["threshold", ("window_minutes", "min_requests"), "ends_after_minutes"],
                "description": "Threshold, window and minimum requests are those of error rates and latencies.",
            },
        ),
        ("Scope", {"fields": ["upstream", "team"]}),
        ("Delivery", {"fields": ["recipients", "is_for_webhook", ("quiet_from", "quiet_until")]}),
    ]
    form = AlertRuleForm
    list_display = ["name", "kind", "condition", "scope", "receivers", "incidents_open", "enabled"]
    list_filter = ["kind", "enabled"]
    list_select_related = ["upstream", "team"]
    search_fields = ["name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        rules = super().get_queryset(request)
        return rules.annotate(open_count=Count("incidents", filter=Q(incidents__ended_at=None)))

    @admin.display(description="condition")
    def condition(self, rule: AlertRule) -> str:
        if not rule.unit or rule.threshold is None:
            return cells.NONE
        return f"over {rule.threshold.normalize():f} {rule.unit} in {rule.get_window_minutes_display()}"

    @admin.display(description="scope")
    def scope(self, rule: AlertRule) -> str:
        parts = [str(part) for part in (rule.upstream, rule.team and f"team {rule.team}") if part]
        return ", ".join(parts) or "all"

    @admin.display(description="receivers")
    def receivers(self, rule: AlertRule) -> str:
        parts = list(rule.recipients) or (["ALERT_EMAILS"] if settings.ALERT_EMAILS else [])
        shown = [*parts[:2], *([f"{len(parts) - 2} more"] if len(parts) > 2 else [])]
        is_posted = rule.is_for_webhook and settings.ALERT_WEBHOOK_URL
        return ", ".join([*shown, *(["webhook"] if is_posted else [])]) or "none"

    @admin.display(description="open incidents")
    def incidents_open(self, rule: AlertRule) -> SafeString | str:
        count: int = rule.open_count  # type: ignore[attr-defined]
        if not count:
            return "0"
        query = f"rule__id__exact={rule.pk}&state=open&time=all"
        return format_html('<a href="{}?{}">{}</a>', reverse("admin:messages_api_incident_changelist"), query, count)

    def save_model(self, request: HttpRequest, obj: AlertRule, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if obj.enabled and not alert_messages.has_receivers(obj):
            messages.warning(request, NO_RECEIVER)

    def get_urls(self) -> list[URLPattern]:
        test = path(
            "<path:object_id>/test/", self.admin_site.admin_view(self.test_view), name="messages_api_alertrule_test"
        )
        return [test, *super().get_urls()]

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Queue a test alert to the receivers of a rule."""
        rule: AlertRule | None = self.get_object(request, unquote(object_id))
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if rule is None:
            raise Http404
        if not self.has_change_permission(request, rule):
            raise PermissionDenied
        if alert_messages.queue_test(rule):
            messages.success(request, "The test alert is sent within a few seconds.")
            self.log_change(request, rule, "Test alert sent")
        else:
            messages.warning(request, NO_RECEIVER)
        return HttpResponseRedirect(reverse("admin:messages_api_alertrule_change", args=[rule.pk]))


class IncidentState(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("ended", "Ended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        states = {"open": queryset.filter(ended_at=None), "ended": queryset.filter(ended_at__isnull=False)}
        return states.get(self.value() or "", queryset)


class IncidentTime(TimeFilter):
    time_field = "began_at"
    DEFAULT = "month"


@admin.register(Incident)
class IncidentAdmin(KeysetModelAdmin):
    time_field = "began_at"
    fieldsets = [
        ("Incident", {"fields": ["title", "state", "rule", "kind", "detail", "cause"]}),
        ("Course", {"fields": ["began", "ended", "duration", "highest", "occurrences"]}),
        ("Alerts", {"fields": ["sent", "end_sent"]}),
    ]
    readonly_fields = [
        *("began", "cause", "detail", "duration", "end_sent", "ended", "highest", "kind", "occurrences", "rule"),
        *("sent", "state", "title"),
    ]
    list_display = ["title", "state", "began", "duration", "highest", "occurrences", "rule_name", "sent"]
    list_filter = [IncidentTime, IncidentState, "kind", ("rule", admin.RelatedOnlyFieldListFilter)]

    @admin.display(description="state")
    def state(self, incident: Incident) -> SafeString:
        return cells.badge("Open", kind="bad") if incident.ended_at is None else cells.badge("Ended", kind="quiet")

    @admin.display(description="began")
    def began(self, incident: Incident) -> SafeString | str:
        return cells.exact(incident.began_at)

    @admin.display(description="ended")
    def ended(self, incident: Incident) -> SafeString | str:
        return cells.exact(incident.ended_at)

    @admin.display(description="duration")
    def duration(self, incident: Incident) -> str:
        return cells.NONE if incident.seconds is None else alert_messages.duration_text(incident.seconds)

    @admin.display(description="peak")
    def highest(self, incident: Incident) -> str:
        return alert_messages.peak_text(incident) or cells.NONE

    @admin.display(description="alert sent")
    def sent(self, incident: Incident) -> SafeString | str:
        return cells.exact(incident.announced_at, none="not yet")

    @admin.display(description="end sent")
    def end_sent(self, incident: Incident) -> SafeString | str:
        return cells.exact(incident.end_announced_at)

    @admin.display(description="cause")
    def cause(self, incident: Incident) -> SafeString | str:
        return format_html('<a href="{}">Show the cause</a>', incident.path) if incident.path else cells.NONE
