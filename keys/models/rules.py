"""What a key may do, and its team as a whole: models, and limits on how much at a time."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models

AT_LEAST_ONE = [MinValueValidator(1)]


class AccessPolicy(models.Model):
    """The rules that keys and teams have in common. An empty one of a key leaves its team's; of a team, none."""

    allowed_models = models.JSONField(default=list, blank=True)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True, validators=AT_LEAST_ONE)
    tokens_per_minute = models.PositiveBigIntegerField(
        null=True, blank=True, validators=AT_LEAST_ONE, help_text="Input and output together."
    )
    concurrent_requests = models.PositiveIntegerField(null=True, blank=True, validators=AT_LEAST_ONE)
    shadow_mode = models.BooleanField(
        "only count",
        default=False,
        help_text="Note what these limits would have refused, and refuse nothing.",
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        if not isinstance(self.allowed_models, list) or not all(
            isinstance(name, str) and name.strip() for name in self.allowed_models
        ):
            raise ValidationError({"allowed_models": "Give a list of model names."})
        limits = (self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests)
        if any(limits) and settings.WEB_CONCURRENCY > 1 and not settings.REDIS_URL:
            # Or the gateway would refuse to start the next time (project/checks.py).
            raise ValidationError("Several workers can only keep limits together: set REDIS_URL first.")
