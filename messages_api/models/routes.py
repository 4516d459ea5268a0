"""Routes: model names or patterns, and their targets."""

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models

from lib import model_patterns
from messages_api.models.upstreams import Upstream


class Route(models.Model):
    """A model name or pattern, and the targets that serve it."""

    pattern = models.CharField(
        max_length=256,
        unique=True,
        help_text="A model name, a prefix such as claude-*, or * for every model without another route.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pattern"]

    def __str__(self) -> str:
        return self.pattern

    def clean(self) -> None:
        if not model_patterns.is_valid(self.pattern):
            raise ValidationError({"pattern": "* is allowed at the end only."})


class RouteTarget(models.Model):
    """A target of a route. Targets of one priority share the traffic by weight."""

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="targets")
    upstream = models.ForeignKey(Upstream, on_delete=models.PROTECT, related_name="targets")
    model = models.CharField(
        "upstream model",
        max_length=256,
        blank=True,
        help_text="Name of the model at the upstream. Empty: the requested name.",
    )
    priority = models.PositiveSmallIntegerField(
        default=0, help_text="Lowest is tried first; higher values are fallbacks."
    )
    weight = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1)],
        help_text="Share of traffic among targets with the same priority.",
    )

    class Meta:
        ordering = ["priority", "-weight", "pk"]
        constraints = [models.UniqueConstraint(fields=["route", "upstream", "model"], name="unique_route_target")]

    def __str__(self) -> str:
        return f"{self.upstream} {self.model}".strip()

    def get_additional_data(self) -> dict[str, str]:
        """Assign audit log entries of a target to its route, whose history shows them."""
        return {"part_of": f"{Route._meta.label_lower}/{self.route_id}"}
