"""Team: owner of several keys, with limits and budgets that its keys share."""

from django.db import models
from django.utils import timezone

from keys.models.access_policy import AccessPolicy


class Team(AccessPolicy):
    """Owner of keys. Its allowlist, limits and budgets apply to all its keys combined."""

    name = models.CharField(max_length=100, unique=True)
    email = models.EmailField(blank=True, help_text="Receives the budget alerts of the team.")
    purpose = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    disabled_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["name"]
        permissions = [("disable_team", "Can disable and enable a team")]

    def __str__(self) -> str:
        return self.name

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
