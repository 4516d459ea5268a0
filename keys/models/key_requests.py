"""Requests of team members for an API key, or for an increase of the limits of one, which administrators decide."""

from datetime import datetime

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from keys.domain.amounts import MAX_AMOUNT
from keys.models.access_policy import AccessPolicy
from keys.models.budgets import Budget
from keys.models.keys import APIKey
from keys.models.teams import Team


class KeyRequest(AccessPolicy):
    """A request for a key or an increase. Its policy holds the asked values; after the approval, the approved ones."""

    class RequestKind(models.TextChoices):
        KEY = "key", "API key"
        INCREASE = "increase", "Increase"

    class RequestState(models.TextChoices):
        PENDING = "pending", "Pending"
        APPROVED = "approved", "Approved"
        DECLINED = "declined", "Declined"
        WITHDRAWN = "withdrawn", "Withdrawn"
        REVEALED = "revealed", "Key shown"

    kind = models.CharField(max_length=8, choices=RequestKind.choices)
    state = models.CharField(max_length=12, choices=RequestState.choices, default=RequestState.PENDING, editable=False)
    team = models.ForeignKey(Team, on_delete=models.SET_NULL, null=True, related_name="key_requests")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", editable=False
    )
    reason = models.CharField(max_length=500, help_text="What it is for. Administrators read it.")
    # Of an increase, the key to change; of a new key, the issued one.
    api_key = models.ForeignKey(APIKey, on_delete=models.SET_NULL, null=True, editable=False, related_name="requests")
    name = models.CharField(max_length=100, blank=True, help_text="Client or system that will use the key.")
    expires_in_days = models.PositiveSmallIntegerField(
        "expires in", null=True, validators=[MinValueValidator(1), MaxValueValidator(3650)]
    )
    # Of an increase, the budget to change; a new key gets a monthly one in micro-dollars.
    budget = models.ForeignKey(Budget, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    budget_amount = models.BigIntegerField(
        "budget", null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(MAX_AMOUNT)]
    )
    created_at = models.DateTimeField(auto_now_add=True)
    decided_at = models.DateTimeField(null=True, editable=False)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", editable=False
    )
    note = models.CharField(max_length=500, blank=True, help_text="Sent to the user who asked.")
    reveal_before = models.DateTimeField(null=True, editable=False)
    revealed_at = models.DateTimeField(null=True, editable=False)
    # Of the form: sending the same form twice asks once.
    token = models.CharField(max_length=64, unique=True, editable=False)

    class Meta:
        verbose_name = "key request"
        ordering = ["-created_at"]
        default_permissions = ("add", "view")
        indexes = [
            models.Index(fields=["created_at"], name="key_requests_open", condition=Q(state="pending")),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.name}"

    @property
    def is_pending(self) -> bool:
        return self.state == self.RequestState.PENDING

    @property
    def is_expired(self) -> bool:
        """Whether an approved key was not shown in time: it is not issued any more."""
        return self.awaits_reveal and self.reveal_before is not None and self.reveal_before <= timezone.now()

    @property
    def awaits_reveal(self) -> bool:
        """Whether it approves a key that was not issued yet."""
        return self.kind == self.RequestKind.KEY and self.state == self.RequestState.APPROVED

    @property
    def state_label(self) -> str:
        return "Expired" if self.is_expired else self.get_state_display()

    @staticmethod
    def to_reveal(now: datetime) -> Q:
        """Return the condition of approved requests whose key can be shown."""
        return Q(kind="key", state="approved", reveal_before__gt=now)
