"""Budgets of keys and teams, and their periods. The periods are written by the ledger alone."""

from datetime import datetime

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q

from keys.domain.amounts import MAX_AMOUNT, PERIOD_LABELS, BudgetSpec
from keys.domain.budget_amounts import BudgetAmount, PeriodAmounts
from keys.models.keys import APIKey
from keys.models.teams import Team
from lib import money
from lib.periods import FOREVER


class Budget(BudgetAmount, models.Model):
    """The amount that a key or a team may spend per period."""

    class Period(models.TextChoices):
        DAY = "day", PERIOD_LABELS["day"]
        WEEK = "week", PERIOD_LABELS["week"]
        MONTH = "month", PERIOD_LABELS["month"]
        TOTAL = "total", PERIOD_LABELS["total"]

    class Unit(models.TextChoices):
        USD = "usd", "US dollars"
        TOKENS = "tokens", "tokens"

    api_key = models.ForeignKey(APIKey, on_delete=models.CASCADE, null=True, blank=True, related_name="budgets")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, blank=True, related_name="budgets")
    period = models.CharField(max_length=8, choices=Period.choices, default=Period.MONTH)
    unit = models.CharField(max_length=8, choices=Unit.choices, default=Unit.USD)
    amount = models.BigIntegerField(
        validators=[MinValueValidator(0), MaxValueValidator(MAX_AMOUNT)], help_text="Micro-dollars, or tokens."
    )
    alert_threshold_percent = models.PositiveSmallIntegerField(
        "alert at",
        default=80,
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Percent of the amount. One alert per period. Empty: no alert.",
    )
    temporary_increase = models.BigIntegerField(
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(MAX_AMOUNT)],
        help_text="Added to the amount until the given time.",
    )
    temporary_increase_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(
                name="budget_of_a_key_or_a_team",
                condition=Q(api_key=None, team__isnull=False) | Q(api_key__isnull=False, team=None),
            ),
            models.CheckConstraint(name="budget_not_negative", condition=Q(amount__gte=0, temporary_increase__gte=0)),
            models.UniqueConstraint(fields=["api_key", "period", "unit"], name="one_budget_per_key_period_and_unit"),
            models.UniqueConstraint(fields=["team", "period", "unit"], name="one_budget_per_team_period_and_unit"),
        ]

    def __str__(self) -> str:
        return f"{self.get_unit_display()} {self.get_period_display()}"

    def get_additional_data(self) -> dict[str, str]:
        """Assign the audit log entries of a budget to the history of its key or team."""
        owner, pk = (APIKey, self.api_key_id) if self.api_key_id else (Team, self.team_id)
        return {"part_of": f"{owner._meta.label_lower}/{pk}"}

    def clean(self) -> None:
        if self.temporary_increase and self.temporary_increase_until is None:
            raise ValidationError({"temporary_increase_until": "Enter the time until which the increase applies."})

    @property
    def spec(self) -> BudgetSpec:
        return BudgetSpec(unit=self.unit, period=self.period, amount=self.amount)

    def set_temporary_increase(self, amount: int, *, until: datetime) -> None:
        """Raise the budget until a given time. Takes effect with the next request."""
        self.temporary_increase, self.temporary_increase_until = amount, until
        self.save(update_fields=["temporary_increase", "temporary_increase_until"])

    def clear_temporary_increase(self) -> None:
        self.temporary_increase, self.temporary_increase_until = 0, None
        self.save(update_fields=["temporary_increase", "temporary_increase_until"])


class BudgetPeriod(PeriodAmounts, models.Model):
    """One period of a budget. Settling a request replaces its reservation by what it spent.

    Amounts are micro-dollars or tokens. What is spent is exact: of money, `spent_rest_picos` is what exceeds `spent`.
    """

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="periods")
    starts_at = models.DateTimeField()
    # Stored, since the periods of a budget follow another time zone after REPORTING_TIME_ZONE has changed.
    ends_at = models.DateTimeField(default=FOREVER)
    spent = models.BigIntegerField(default=0)
    spent_rest_picos = models.PositiveIntegerField(default=0)
    reserved = models.BigIntegerField(default=0)
    alerted_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-starts_at"]
        constraints = [
            # Also the index by which the current period of a budget is found: it has the last end.
            models.UniqueConstraint(fields=["budget", "ends_at"], name="one_row_per_budget_and_period"),
            models.CheckConstraint(name="budget_period_not_empty", condition=Q(ends_at__gt=F("starts_at"))),
            models.CheckConstraint(name="budget_period_not_negative", condition=Q(spent__gte=0, reserved__gte=0)),
            models.CheckConstraint(
                name="budget_period_rest_carried", condition=Q(spent_rest_picos__lt=money.PICOS_PER_MICRO)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.budget} from {self.starts_at:%Y-%m-%d}"
