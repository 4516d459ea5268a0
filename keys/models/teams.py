"""Team: owner of several keys, with limits and budgets that its keys share."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from keys.models.access_policy import AccessPolicy

Teams = frozenset[int] | None
"""IDs of teams; None: all teams, and rows without a team."""


def of_teams(teams: Teams, path: str = "team_id") -> Q:
    """Return the condition of the rows of teams, with their team at a path of lookups."""
    return Q() if teams is None else Q(**{f"{path}__in": teams})


class Team(AccessPolicy):
    """Owner of keys. Its allowlist, limits and budgets apply to all its keys combined. Its members may view both."""

    class StatementFrequency(models.TextChoices):
        WEEK = "week", "Weekly"
        MONTH = "month", "Monthly"

    name = models.CharField(max_length=100, unique=True)
    email = models.EmailField(blank=True, help_text="Receives the budget alerts and the statements of the team.")
    statement = models.CharField(
        "statement by e-mail",
        max_length=8,
        choices=StatementFrequency.choices,
        blank=True,
        help_text="Usage and cost of each week or month, sent when it has ended.",
    )
    purpose = models.TextField(blank=True)
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        blank=True,
        related_name="teams",
        help_text="Users with the role Team viewer see the keys and the usage of their teams only.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    disabled_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["name"]
        permissions = [
            ("disable_team", "Can disable and enable a team"),
            ("view_all_teams", "Can view keys and usage of all teams, not only of the own ones"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if self.statement and not self.email:
            raise ValidationError({"email": "Enter the e-mail address that receives the statements."})

    @property
    def state(self) -> str:
        """`disabled` or `active`."""
        return "disabled" if self.disabled_at else "active"

    def disable(self) -> None:
        """Block all keys of the team within CONFIG_CACHE_TTL_S. `enable` reverses it."""
        self.disabled_at = timezone.now()
        self.save(update_fields=["disabled_at"])

    def enable(self) -> None:
        self.disabled_at = None
        self.save(update_fields=["disabled_at"])
