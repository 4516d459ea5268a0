"""
Rollups of usage records: sums and latency histograms by hour, by day and by month. Written by the ledger alone.

Hours are written in the transactions that settle requests. Days and months are built from them once they have ended; a
`BuiltPeriod` says which ones are complete.
"""

from django.db import models
from django.db.models import Q

from keys.models.keys import APIKey
from keys.models.usage import NO_ID

_DIMENSIONS = (
    "team_id",
    "owner_id",
    "model",
    "upstream",
    "upstream_model",
    "api_format",
    "status",
    "error_type",
    "usage_source",
)


class Rollup(models.Model):
    """Sums of the requests that were settled in a period, by everything that reports group by.

    Periods are those of the reporting time zone. Requests without usage are counted and not in the token sums.
    """

    api_key = models.ForeignKey(APIKey, on_delete=models.PROTECT, related_name="+", db_index=False)
    # As they were at admission; `NO_ID` for none. No foreign keys: a deleted user keeps its history.
    team_id = models.BigIntegerField(default=NO_ID)
    owner_id = models.BigIntegerField(default=NO_ID)
    model = models.CharField(max_length=256, blank=True)
    upstream = models.CharField(max_length=64, blank=True)
    upstream_model = models.CharField(max_length=256, blank=True)
    api_format = models.CharField(max_length=16, blank=True)
    status = models.CharField(max_length=16)
    error_type = models.CharField(max_length=40, blank=True)
    usage_source = models.CharField(max_length=16, blank=True)

    requests = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_5m_tokens = models.BigIntegerField(default=0)
    cache_write_1h_tokens = models.BigIntegerField(default=0)
    thinking_tokens = models.BigIntegerField(default=0)
    audio_input_tokens = models.BigIntegerField(default=0)
    audio_output_tokens = models.BigIntegerField(default=0)
    web_searches = models.BigIntegerField(default=0)
    requests_without_usage = models.BigIntegerField(default=0)
    # Amounts in two parts, each added up on its own: `parts_of`.
    cost_usd_micros = models.BigIntegerField(default=0)
    cost_usd_picos_rest = models.BigIntegerField(default=0)
    cache_savings_usd_micros = models.BigIntegerField(default=0)
    cache_savings_usd_picos_rest = models.BigIntegerField(default=0)
    unpriced_requests = models.BigIntegerField(default=0)
    client_errors = models.BigIntegerField(default=0)
    requests_with_latency = models.BigIntegerField(default=0)
    duration_ms = models.BigIntegerField(default=0)  # of these

    class Meta:
        abstract = True


def _one_per(period: str) -> models.UniqueConstraint:
    return models.UniqueConstraint(
        fields=["api_key", period, *_DIMENSIONS],
        name={"hour": "one_hourly_usage", "day": "one_daily_usage", "month": "one_monthly_usage"}[period],
    )


class HourlyUsage(Rollup):
    """Sums of the requests that were settled in an hour."""

    hour = models.DateTimeField()

    class Meta:
        verbose_name = "hourly rollup"
        ordering = ["-hour"]
        indexes = [
            # A range of time of all keys: totals, days, exports, verification. Those of one key read the unique key.
            models.Index(fields=["hour"], name="usage_hour"),
            # The models in order: sums by model need no sort of a million rollups.
            models.Index(fields=["model", "hour"], name="usage_model_hour"),
            # Finds the few unpriced models among all rollups of a month.
            models.Index(
                fields=["model", "upstream", "hour"], name="usage_unpriced", condition=Q(unpriced_requests__gt=0)
            ),
        ]
        constraints = [_one_per("hour")]

    def __str__(self) -> str:
        return f"{self.api_key_id} {self.model} {self.hour:%Y-%m-%d %H:00}"


class DailyUsage(Rollup):
    """Sums of the requests of a day, made of its hourly rollups."""

    day = models.DateTimeField()  # its midnight

    class Meta:
        verbose_name = "daily rollup"
        ordering = ["-day"]
        indexes = [models.Index(fields=["day"], name="usage_day")]
        constraints = [_one_per("day")]

    def __str__(self) -> str:
        return f"{self.api_key_id} {self.model} {self.day:%Y-%m-%d}"


class MonthlyUsage(Rollup):
    """Sums of the requests of a month, made of its daily rollups."""

    month = models.DateTimeField()  # its first midnight

    class Meta:
        verbose_name = "monthly rollup"
        ordering = ["-month"]
        indexes = [models.Index(fields=["month"], name="usage_month")]
        constraints = [_one_per("month")]

    def __str__(self) -> str:
        return f"{self.api_key_id} {self.model} {self.month:%Y-%m}"


class LatencyCount(models.Model):
    """One bar of a latency histogram: the number of requests in a bucket that has any."""

    class Measure(models.TextChoices):
        DURATION = "duration_ms", "Latency"
        TTFT = "ttft_ms", "Time to first token"

    measure = models.CharField(max_length=16, choices=Measure.choices)
    bucket = models.PositiveSmallIntegerField()  # keys.domain.latency_buckets
    requests = models.BigIntegerField()

    class Meta:
        abstract = True


class HourlyLatency(LatencyCount):
    """Histogram of the latencies of an hourly rollup."""

    # The primary key is the only index.
    pk = models.CompositePrimaryKey("hourly_usage_id", "measure", "bucket")
    hourly_usage = models.ForeignKey(HourlyUsage, on_delete=models.CASCADE, related_name="latencies", db_index=False)

    class Meta:
        verbose_name = "hourly latency"
        verbose_name_plural = "hourly latencies"

    def __str__(self) -> str:
        return f"{self.hourly_usage_id} {self.measure} {self.bucket}"


class DailyLatency(LatencyCount):
    """Histogram of the latencies of a daily rollup."""

    pk = models.CompositePrimaryKey("daily_usage_id", "measure", "bucket")
    daily_usage = models.ForeignKey(DailyUsage, on_delete=models.CASCADE, related_name="latencies", db_index=False)

    class Meta:
        verbose_name = "daily latency"
        verbose_name_plural = "daily latencies"

    def __str__(self) -> str:
        return f"{self.daily_usage_id} {self.measure} {self.bucket}"


class MonthlyLatency(LatencyCount):
    """Histogram of the latencies of a monthly rollup."""

    pk = models.CompositePrimaryKey("monthly_usage_id", "measure", "bucket")
    monthly_usage = models.ForeignKey(MonthlyUsage, on_delete=models.CASCADE, related_name="latencies", db_index=False)

    class Meta:
        verbose_name = "monthly latency"
        verbose_name_plural = "monthly latencies"

    def __str__(self) -> str:
        return f"{self.monthly_usage_id} {self.measure} {self.bucket}"


# ---- Histograms without some of the dimensions: a tenth of the rows for questions that do not name them.


class ModelLatency(LatencyCount):
    """Histogram of the latencies of a period without the dimensions of the client."""

    id = models.BigAutoField(primary_key=True)
    model = models.CharField(max_length=256, blank=True)
    upstream = models.CharField(max_length=64, blank=True)
    upstream_model = models.CharField(max_length=256, blank=True)
    api_format = models.CharField(max_length=16, blank=True)
    status = models.CharField(max_length=16)
    error_type = models.CharField(max_length=40, blank=True)
    usage_source = models.CharField(max_length=16, blank=True)

    class Meta:
        abstract = True


class DailyModelLatency(ModelLatency):
    """Histogram of a day without the dimensions of the client."""

    day = models.DateTimeField()

    class Meta:
        verbose_name = "daily latency by model"
        verbose_name_plural = "daily latencies by model"
        indexes = [models.Index(fields=["day", "measure"], name="latency_model_day")]

    def __str__(self) -> str:
        return f"{self.model} {self.day:%Y-%m-%d} {self.measure} {self.bucket}"


class MonthlyModelLatency(ModelLatency):
    """Histogram of a month without the dimensions of the client."""

    month = models.DateTimeField()

    class Meta:
        verbose_name = "monthly latency by model"
        verbose_name_plural = "monthly latencies by model"
        indexes = [models.Index(fields=["month", "measure"], name="latency_model_month")]

    def __str__(self) -> str:
        return f"{self.model} {self.month:%Y-%m} {self.measure} {self.bucket}"


class KeyLatency(LatencyCount):
    """Histogram of the latencies of a period by the dimensions of the client alone."""

    id = models.BigAutoField(primary_key=True)
    api_key = models.ForeignKey(APIKey, on_delete=models.PROTECT, related_name="+", db_index=False)
    team_id = models.BigIntegerField(default=NO_ID)
    owner_id = models.BigIntegerField(default=NO_ID)

    class Meta:
        abstract = True


class DailyKeyLatency(KeyLatency):
    """Histogram of a day by the dimensions of the client alone."""

    day = models.DateTimeField()

    class Meta:
        verbose_name = "daily latency by key"
        verbose_name_plural = "daily latencies by key"
        indexes = [models.Index(fields=["day", "measure"], name="latency_key_day")]

    def __str__(self) -> str:
        return f"{self.api_key_id} {self.day:%Y-%m-%d} {self.measure} {self.bucket}"


class MonthlyKeyLatency(KeyLatency):
    """Histogram of a month by the dimensions of the client alone."""

    month = models.DateTimeField()

    class Meta:
        verbose_name = "monthly latency by key"
        verbose_name_plural = "monthly latencies by key"
        indexes = [models.Index(fields=["month", "measure"], name="latency_key_month")]

    def __str__(self) -> str:
        return f"{self.api_key_id} {self.month:%Y-%m} {self.measure} {self.bucket}"


class BuiltPeriod(models.Model):
    """A day or month whose rollups are built, or are being built.

    A transaction that changes an hour of it deletes this row.
    """

    class Tier(models.TextChoices):
        DAY = "day", "Day"
        MONTH = "month", "Month"

    pk = models.CompositePrimaryKey("tier", "begin")
    tier = models.CharField(max_length=8, choices=Tier.choices)
    begin = models.DateTimeField()
    end = models.DateTimeField()
    is_complete = models.BooleanField(default=False)
    # Of the process that builds it.
    token = models.CharField(max_length=32, blank=True)
    started_at = models.DateTimeField()

    class Meta:
        verbose_name = "built period"

    def __str__(self) -> str:
        return f"{self.tier} {self.begin:%Y-%m-%d %H:%M}"


class RetainedUsage(models.Model):
    """How much of the usage is kept. One row; without it, everything."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    # Settled records of requests that began before are purged, or are being purged.
    records_begin = models.DateTimeField(null=True)
    # Days before have one hourly rollup for each combination of dimensions, at noon.
    hours_begin = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "retained usage"
        verbose_name_plural = "retained usage"
        constraints = [models.CheckConstraint(name="one_retained_usage", condition=Q(id=1))]

    def __str__(self) -> str:
        return f"records since {self.records_begin}, hours since {self.hours_begin}"
