"""Changes of circuit breakers, and what each process reports about upstreams. Written by periodic tasks."""

from django.db import models


class CircuitEvent(models.Model):
    """A change of an upstream's circuit breaker, by the process that made it."""

    class CircuitMove(models.TextChoices):
        OPENED = "opened", "Opened"
        HALF_OPEN = "half_open", "Half-open"
        CLOSED = "closed", "Closed"

    upstream = models.CharField(max_length=64)  # by name: upstreams may be deleted
    change = models.CharField(max_length=16, choices=CircuitMove.choices)
    reason = models.CharField(max_length=64, blank=True)
    process = models.CharField(max_length=80)
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [
            models.Index(fields=["upstream", "at"], name="circuit_upstream_at"),
            models.Index(fields=["at"], name="circuit_at"),
        ]

    def __str__(self) -> str:
        return f"{self.upstream}: {self.get_change_display()}"


class ProcessReport(models.Model):
    """What one process knows about its upstreams: open circuits and rate limits of providers. One row per process."""

    process = models.CharField(max_length=80, unique=True)
    reported_at = models.DateTimeField()
    upstreams = models.JSONField(default=dict)
    spool_files = models.PositiveIntegerField(default=0)  # of its host, with rows

    class Meta:
        indexes = [models.Index(fields=["reported_at"], name="report_at")]

    def __str__(self) -> str:
        return self.process
