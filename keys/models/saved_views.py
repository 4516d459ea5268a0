"""Saved views: questions about usage that users keep, for themselves or for all."""

from django.conf import settings
from django.db import models

LONGEST_QUERY = 4000


class SavedView(models.Model):
    """The query of the usage page under a name. Its owner deletes and shares it."""

    name = models.CharField(max_length=80)
    query = models.CharField(max_length=LONGEST_QUERY)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    is_shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "pk"]
        default_permissions = ()
        permissions = [("share_savedview", "Can share saved views")]

    def __str__(self) -> str:
        return self.name
