from django.db import models
from django.utils import timezone

from keys.models.rules import AccessPolicy


class Team(AccessPolicy):
    """Owns keys. Its rules hold for all of them together, and stand in where a key has none of its own."""

    name = models.CharField(max_length=100, unique=True)
    email = models.EmailField(blank=True, help_text="Gets the warnings about budgets.")
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
        return "disabled" if self.disabled_at else "active"

    def disable(self) -> None:
        """Stop all keys of the team, within the snapshot's life (5 s). `enable` brings them back."""
        self.disabled_at = timezone.now()
        self.save(update_fields=["disabled_at"])

    def enable(self) -> None:
        self.disabled_at = None
        self.save(update_fields=["disabled_at"])
