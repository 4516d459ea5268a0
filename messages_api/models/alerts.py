"""Alert rules and their incidents, and the state of their evaluation."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, validate_email
from django.db import models
from django.db.models import Q

from messages_api.models.upstreams import Upstream

MAX_RECIPIENTS = 20


class AlertKind(models.TextChoices):
    CIRCUIT = "circuit", "Circuit open"
    ERROR_RATE = "error_rate", "Error rate"
    LATENCY = "latency_p95", "Latency (p95)"
    TTFT = "ttft_p95", "Time to first token (p95)"
    UNPRICED = "unpriced", "Unpriced model"
    LEDGER = "ledger", "Ledger spooling"
    NEW_NETWORK = "new_network", "Key used from a new network"


UNITS = {AlertKind.ERROR_RATE: "%", AlertKind.LATENCY: "ms", AlertKind.TTFT: "ms"}
"""The unit of the threshold and the peak, for the kinds that have them."""
OF_UPSTREAMS = {AlertKind.CIRCUIT, AlertKind.ERROR_RATE, AlertKind.LATENCY, AlertKind.TTFT, AlertKind.UNPRICED}
OF_TEAMS = {AlertKind.ERROR_RATE, AlertKind.LATENCY, AlertKind.TTFT, AlertKind.NEW_NETWORK}


class AlertRule(models.Model):
    """A condition that opens incidents, and who receives its alerts."""

    class Window(models.IntegerChoices):
        FIVE = 5, "5 minutes"
        FIFTEEN = 15, "15 minutes"
        HOUR = 60, "1 hour"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=16, choices=AlertKind.choices)
    threshold = models.DecimalField(
        max_digits=10,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="Of an error rate in percent, of a latency in milliseconds. Other kinds have none.",
    )
    window_minutes = models.PositiveSmallIntegerField("window", choices=Window.choices, default=Window.FIVE)
    min_requests = models.PositiveIntegerField(
        "minimum requests",
        default=20,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
        help_text="Fewer requests in the window open no incident of an error rate or latency.",
    )
    upstream = models.ForeignKey(
        Upstream,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty: each upstream by itself.",
    )
    team = models.ForeignKey(
        "keys.Team",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty: requests of all teams.",
    )
    recipients = models.JSONField(
        default=list, blank=True, help_text="One e-mail address per line. Empty: ALERT_EMAILS."
    )
    is_for_webhook = models.BooleanField(
        "webhook", default=True, help_text="Whether ALERT_WEBHOOK_URL receives it too."
    )
    quiet_from = models.TimeField(null=True, blank=True, help_text="In the reporting time zone.")
    quiet_until = models.TimeField(
        null=True,
        blank=True,
        help_text="Alerts of quiet hours are sent when they end.",
    )
    ends_after_minutes = models.PositiveSmallIntegerField(
        "ends after",
        default=5,
        validators=[MaxValueValidator(1440)],
        help_text="Minutes without the condition after which an incident ends. A condition that returns earlier "
        "continues it.",
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def unit(self) -> str:
        return UNITS.get(AlertKind(self.kind), "")

    def clean(self) -> None:
        errors: dict[str, str] = {}
        if self.kind in UNITS and not self.threshold:
            errors["threshold"] = "Enter a threshold above 0."
        if self.kind == AlertKind.ERROR_RATE and self.threshold and self.threshold >= 100:
            errors["threshold"] = "Enter a percentage below 100."
        if self.kind in AlertKind.values and self.kind not in UNITS and self.threshold is not None:
            errors["threshold"] = "This kind has no threshold."
        if self.upstream_id and self.kind in AlertKind.values and self.kind not in OF_UPSTREAMS:
            errors["upstream"] = "This kind does not depend on an upstream."
        if self.team_id and self.kind in AlertKind.values and self.kind not in OF_TEAMS:
            errors["team"] = "This kind does not depend on a team."
        if (self.quiet_from is None) != (self.quiet_until is None):
            errors["quiet_until"] = "Enter both ends of the quiet hours, or none."
        elif self.quiet_from is not None and self.quiet_from == self.quiet_until:
            errors["quiet_until"] = "Enter another time than the start of the quiet hours."
        errors |= self._recipient_errors()
        if errors:
            raise ValidationError(dict(errors))

    def _recipient_errors(self) -> dict[str, str]:
        recipients: Any = self.recipients
        if not isinstance(recipients, list) or len(recipients) > MAX_RECIPIENTS:
            return {"recipients": f"Enter at most {MAX_RECIPIENTS} e-mail addresses."}
        for recipient in recipients:
            try:
                validate_email(recipient)
            except ValidationError:
                return {"recipients": "Enter one valid e-mail address per line."}
        return {}


class Incident(models.Model):
    """A condition of a rule, from its begin to its end."""

    rule = models.ForeignKey(AlertRule, on_delete=models.SET_NULL, null=True, related_name="incidents")
    rule_name = models.CharField("rule", max_length=100)
    kind = models.CharField(max_length=16, choices=AlertKind.choices)
    subject = models.CharField(max_length=400)
    title = models.CharField(max_length=300)
    detail = models.TextField(blank=True)
    path = models.CharField(max_length=600, blank=True)  # the page that shows the cause
    unit = models.CharField(max_length=8, blank=True)
    peak = models.FloatField(null=True)
    occurrences = models.PositiveIntegerField(default=1)
    began_at = models.DateTimeField("began")
    cleared_at = models.DateTimeField(null=True)  # when the condition was absent first, while the incident is open
    ended_at = models.DateTimeField("ended", null=True)
    announced_at = models.DateTimeField("alert sent", null=True)
    end_announced_at = models.DateTimeField("end sent", null=True)

    class Meta:
        ordering = ["-began_at", "-pk"]
        indexes = [
            models.Index(fields=["began_at"], name="incident_began"),
            models.Index(
                fields=["rule"], name="incident_unsent", condition=Q(announced_at=None) | Q(end_announced_at=None)
            ),
        ]
        constraints = [
            # Any number of processes open one incident.
            models.UniqueConstraint(fields=["rule", "subject"], name="one_open_incident", condition=Q(ended_at=None)),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def seconds(self) -> float | None:
        """The duration of an incident that has ended."""
        return None if self.ended_at is None else (self.ended_at - self.began_at).total_seconds()


class AlertState(models.Model):
    """The single row that gives one process the right to evaluate, and how far it is."""

    evaluator = models.CharField(max_length=80, blank=True)
    lease_until = models.DateTimeField(null=True)
    evaluated_at = models.DateTimeField(null=True)
    networks_since = models.DateTimeField(null=True)  # networks of earlier requests are learned without an incident
    networks_until = models.DateTimeField(null=True)  # requests until then are examined

    def __str__(self) -> str:
        return "Alert state"


class KnownNetwork(models.Model):
    """A network from which an API key was used: /24 of IPv4, /64 of IPv6."""

    api_key = models.ForeignKey("keys.APIKey", on_delete=models.CASCADE, related_name="+", db_index=False)
    network = models.CharField(max_length=43)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["api_key", "network"], name="one_known_network")]
        indexes = [models.Index(fields=["last_seen_at"], name="network_last_seen")]

    def __str__(self) -> str:
        return self.network


class LedgerOutage(models.Model):
    """A time in which a process could not write to the database and spooled. Written when it is over."""

    process = models.CharField(max_length=80)
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField()

    class Meta:
        ordering = ["-ended_at"]
        indexes = [models.Index(fields=["ended_at"], name="outage_ended")]

    def __str__(self) -> str:
        return self.process
