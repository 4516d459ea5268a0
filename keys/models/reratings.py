"""Re-rating runs and the amounts that they replaced. Written by the ledger alone."""

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from lib import money

FIGURES = (
    "records",
    "changed_records",
    "newly_priced",
    "newly_unpriced",
    "old_micros",
    "old_picos_rest",
    "new_micros",
    "new_picos_rest",
)
"""What a run counts, from its first record on."""


class Rerating(models.Model):
    """A run that rates the settled requests of a period again, with the prices that are known now."""

    class RunState(models.TextChoices):
        PREVIEWING = "previewing", "Preview in progress"
        PREVIEWED = "previewed", "Preview"
        APPLYING = "applying", "In progress"
        APPLIED = "applied", "Applied"
        UNDOING = "undoing", "Undo in progress"
        UNDONE = "undone", "Undone"

    begin = models.DateTimeField()
    end = models.DateTimeField()
    model = models.CharField(max_length=256, blank=True)
    upstream = models.CharField(max_length=64, blank=True)
    state = models.CharField(max_length=16, choices=RunState.choices, default=RunState.PREVIEWING)
    # 1 while records are changed, otherwise None: the constraint excludes a second run.
    is_writing = models.PositiveSmallIntegerField(null=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    # The last record that is done, by time and ID; for an undo, the last change.
    after_created_at = models.DateTimeField(null=True)
    after_id = models.CharField(max_length=36, blank=True)
    after_change = models.BigIntegerField(default=0)

    previewed_records = models.BigIntegerField(default=0)
    records = models.BigIntegerField(default=0)
    changed_records = models.BigIntegerField(default=0)
    newly_priced = models.BigIntegerField(default=0)
    newly_unpriced = models.BigIntegerField(default=0)
    old_micros = models.BigIntegerField(default=0)
    old_picos_rest = models.BigIntegerField(default=0)
    new_micros = models.BigIntegerField(default=0)
    new_picos_rest = models.BigIntegerField(default=0)
    # IDs of the budgets that changed records are charged to.
    budgets = models.JSONField(default=list)
    restored_records = models.BigIntegerField(default=0)
    # Records that an undo leaves, since they were settled again after the run.
    kept_records = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = "re-rating"
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint(fields=["is_writing"], name="one_rerating_writes")]

    def __str__(self) -> str:
        period = f"{self.begin:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"
        return " ".join(filter(None, [period, self.model, f"at {self.upstream}" if self.upstream else ""]))

    @property
    def old_picos(self) -> int:
        return money.join(self.old_micros, self.old_picos_rest)

    @property
    def new_picos(self) -> int:
        return money.join(self.new_micros, self.new_picos_rest)

    @property
    def is_running(self) -> bool:
        return self.state in (self.RunState.PREVIEWING, self.RunState.APPLYING, self.RunState.UNDOING)


class ReratingChange(models.Model):
    """The amounts of one record before and after a run."""

    rerating = models.ForeignKey(Rerating, on_delete=models.PROTECT, related_name="changes", db_index=False)
    # No foreign key: the records may be partitioned.
    record_id = models.CharField(max_length=36)
    before = models.JSONField(encoder=DjangoJSONEncoder)
    after = models.JSONField(encoder=DjangoJSONEncoder)

    class Meta:
        verbose_name = "re-rated record"
        ordering = ["pk"]
        indexes = [models.Index(fields=["record_id"], name="rerating_change_record")]
        constraints = [models.UniqueConstraint(fields=["rerating", "record_id"], name="one_change_per_run_and_record")]

    def __str__(self) -> str:
        return self.record_id
