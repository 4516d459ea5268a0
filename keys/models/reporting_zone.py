"""The reporting time zone in effect, and how far budgets and rollups follow it. Written by the ledger alone."""

from django.db import models
from django.db.models import Q

ONLY_ROW = 1


class ReportingZone(models.Model):
    """The time zone that all processes follow. One row: REPORTING_TIME_ZONE of one host may differ from it."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY_ROW)
    name = models.CharField(max_length=64)
    # The one before, whose hours the rollups still have in part; empty if there were several.
    previous = models.CharField(max_length=64, blank=True)
    changed_at = models.DateTimeField()
    # When a process last had this zone in its settings. Another zone takes effect once none has.
    confirmed_at = models.DateTimeField(null=True)
    # The change is applied to one budget after the other, by their IDs. None: to all.
    budgets_after = models.BigIntegerField(null=True)
    # Hours are re-added from the latest to the first: those before this time are still to do. None: none are.
    rollups_before = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(name="one_reporting_zone", condition=Q(id=ONLY_ROW))]

    def __str__(self) -> str:
        return self.name

    @property
    def is_changing(self) -> bool:
        """Whether budgets or rollups do not follow it yet."""
        return self.budgets_after is not None or self.rollups_before is not None
