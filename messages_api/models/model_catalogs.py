"""Model catalogs: the models that each upstream lists, as read in the background."""

from django.db import models

from messages_api.models.upstreams import Upstream


class ModelCatalog(models.Model):
    """The model list of an upstream at one time. Not part of the upstream, whose changes are audited."""

    upstream = models.OneToOneField(Upstream, on_delete=models.CASCADE, related_name="catalog", primary_key=True)
    base_url = models.CharField(max_length=300)
    """The base URL of the list. After a change of the upstream's, the list does not count."""
    entries = models.JSONField(default=list)
    """messages_api.backend.protocol.model_list.ListedModel."""
    listed_at = models.DateTimeField(null=True)
    """When `entries` was read. None: never, or the upstream lists no models."""
    error = models.CharField(max_length=200, blank=True)
    """Why the last reading failed."""
    due_at = models.DateTimeField()
    """When the list is read next. The worker that moves it reads the list."""

    def __str__(self) -> str:
        return str(self.upstream)
