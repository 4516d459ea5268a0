"""Access policy: the model allowlist and limits that keys and teams have in common."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models

AT_LEAST_ONE = [MinValueValidator(1)]


class AccessPolicy(models.Model):
    """Allowed models and limits. An empty field sets no restriction of its own: a key then has only its team's."""

    allowed_models = models.JSONField("allowed models", default=list, blank=True)
    requests_per_minute = models.PositiveIntegerField(
        "requests per minute (RPM)", null=True, blank=True, validators=AT_LEAST_ONE
    )
    tokens_per_minute = models.PositiveBigIntegerField(
        "tokens per minute (TPM)",
        null=True,
        blank=True,
        validators=AT_LEAST_ONE,
        help_text="Input and output tokens combined.",
    )
    concurrent_requests = models.PositiveIntegerField(
        "concurrent requests", null=True, blank=True, validators=AT_LEAST_ONE
    )
    shadow_mode = models.BooleanField(
        "shadow mode",
        default=False,
        help_text="Record which requests these limits would reject, without rejecting them.",
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        if not isinstance(self.allowed_models, list) or not all(
            isinstance(name, str) and name.strip() for name in self.allowed_models
        ):
            raise ValidationError({"allowed_models": "Enter a list of model names."})
        limits = (self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests)
        if any(limits) and settings.WEB_CONCURRENCY > 1 and not settings.REDIS_URL:
            # Otherwise the system check (project/checks.py) would stop the next start of the gateway.
            raise ValidationError("Limits need Redis when the gateway runs several workers. Set REDIS_URL first.")
