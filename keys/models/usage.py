"""Usage records, one per request, and their hourly rollups. Written by the ledger alone, in one transaction."""

from functools import cache
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce

from keys.models.keys import APIKey, KeySecret
from keys.models.prices import ModelPrice
from keys.models.teams import Team
from lib import money

CLIENT_ERRORS = ("invalid_request_error", "not_found_error", "request_too_large")
"""Error types of failed requests that the client has to change."""
IS_ERROR = Q(status="failed") | Q(status="interrupted")
"""An error: a request that was admitted and then failed or was interrupted.

The index and its queries use the same expression: SQLite matches equalities with parameters to an index, but no list.
"""
IS_CLIENT_ERROR = Q(status="failed", error_type__in=CLIENT_ERRORS)
"""An error that the client causes. All others are upstream errors: of an upstream or of the gateway itself."""

BILLED_TOKEN_COLUMNS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
)
"""The kinds of tokens that have a price. They do not overlap."""
TOKEN_COLUMNS = (*BILLED_TOKEN_COLUMNS, "thinking_tokens", "audio_input_tokens", "audio_output_tokens")
"""All kinds of tokens, in usage records and hourly rollups. Thinking and audio tokens are part of input and output."""
AMOUNT_COLUMNS = ("cost_usd_picos", "cache_savings_usd_picos")
"""Amounts of money in usage records. Hourly rollups have each in two parts: `parts_of`."""


@cache
def part_names(amount: str) -> tuple[str, str]:
    """Return the columns of hourly rollups for an amount: whole micro-dollars, and the rest in pico-dollars."""
    return f"{amount.removesuffix('picos')}micros", f"{amount}_rest"


def parts_of(amount: str) -> dict[str, Any]:
    """Return both parts of an amount by column of hourly rollups, as expressions over usage records: `money.split`."""
    micros, rest = part_names(amount)
    return {micros: F(amount) / money.PICOS_PER_MICRO, rest: F(amount) % money.PICOS_PER_MICRO}


UNKNOWN_MODEL = ""
"""The model of hourly rollups for requests with a name that no route matches, or with one of too many other names."""
ROLLUP_MODEL = Case(When(is_model_known=True, then=F("model")), default=Value(UNKNOWN_MODEL))
"""The model of a usage record's hourly rollup, as an expression."""
NO_ID = 0
"""The team or owner of hourly rollups for requests of a key without one: a unique key does not compare NULL."""
ROLLUP_DIMENSIONS: dict[str, Any] = {
    "api_key_id": F("api_key_id"),
    "team_id": Coalesce("team_id", Value(NO_ID)),
    "owner_id": Coalesce("owner_id", Value(NO_ID)),
    "model": ROLLUP_MODEL,
    "upstream": F("upstream"),
    # Where clients invent models, their names at an upstream are invented too.
    "upstream_model": Case(When(is_model_known=True, then=F("upstream_model")), default=Value(UNKNOWN_MODEL)),
    "api_format": F("api_format"),
    "status": F("status"),
    "error_type": F("error_type"),
    "usage_source": F("usage_source"),
}
"""The dimensions of a usage record's hourly rollup besides its hour, as expressions."""


class UsageRecord(models.Model):
    """One request: written before the upstream is contacted, settled exactly once. Never a prompt or a response."""

    class Status(models.TextChoices):
        STARTED = "started", "In flight"
        COMPLETED = "completed", "Completed"
        FAILED = "failed", "Failed"
        CLIENT_CLOSED = "client_closed", "Client disconnected"
        CLIENT_STALLED = "client_stalled", "Client timed out"
        INTERRUPTED = "interrupted", "Interrupted"
        REJECTED = "rejected", "Rejected"

    class UsageSource(models.TextChoices):
        REPORTED = "reported", "Reported"
        PARTIAL = "partial", "Partial"
        ESTIMATED = "estimated", "Estimated"
        NONE = "none", "None"

    id = models.CharField("request ID", max_length=36, primary_key=True)  # the request ID: sorts by time
    created_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.STARTED)
    http_status = models.PositiveSmallIntegerField(null=True)
    error_type = models.CharField(max_length=40, blank=True)
    error_reason = models.CharField(max_length=40, blank=True)  # lib.failure_reasons: never a text of an upstream
    stop_reason = models.CharField(max_length=40, blank=True)

    # The client.
    api_key = models.ForeignKey(APIKey, on_delete=models.PROTECT, related_name="usage", db_index=False)
    secret = models.ForeignKey(KeySecret, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    # As they were at admission: a key that moves to another team does not take its history along.
    # No constraint: a team or a user that is deleted keeps its ID here, and no deletion reads millions of records.
    team = models.ForeignKey(
        Team, on_delete=models.DO_NOTHING, null=True, related_name="+", db_index=False, db_constraint=False
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        null=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    api_format = models.CharField(max_length=16)
    model = models.CharField(max_length=256)
    # Whether the hourly rollups have its name: not for invented ones, which are one group.
    is_model_known = models.BooleanField(default=True)
    streamed = models.BooleanField()
    client_ip = models.GenericIPAddressField("client IP", null=True)
    client_request_id = models.CharField("client request ID", max_length=128, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)
    session_id = models.CharField("session ID", max_length=64, blank=True)
    agent_id = models.CharField("agent ID", max_length=64, blank=True)
    parent_agent_id = models.CharField("parent agent ID", max_length=64, blank=True)
    request_class = models.CharField(max_length=64, blank=True)
    tags = models.JSONField(null=True)  # the client's own, by name

    # The upstream, by name: upstreams may be deleted, records stay.
    upstream = models.CharField(max_length=64, blank=True)
    upstream_model = models.CharField(max_length=256, blank=True)
    upstream_request_id = models.CharField("upstream request ID", max_length=128, blank=True)
    message_id = models.CharField("message ID", max_length=128, blank=True)
    attempts = models.JSONField(default=list)

    # What was served, which is what is priced: of the response, or of the request where the response does not say.
    served_model = models.CharField(max_length=256, blank=True)
    speed = models.CharField(max_length=32, blank=True)
    service_tier = models.CharField(max_length=32, blank=True)
    inference_geo = models.CharField("inference geography", max_length=32, blank=True)
    region = models.CharField(max_length=32, blank=True)
    refusal_category = models.CharField(max_length=40, blank=True)
    refused_before_output = models.BooleanField(default=False)
    # The samplings of the response where the upstream lists them, each with its tokens: [{"type": …, "model": …}, …].
    iterations = models.JSONField(null=True)
    # The upstream's own usage object: numbers, booleans and short strings.
    usage_object = models.JSONField(null=True)

    # Tokens. None where the count is unknown, never 0.
    estimated_input_tokens = models.BigIntegerField(null=True)
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cache_read_tokens = models.BigIntegerField(null=True)
    cache_write_5m_tokens = models.BigIntegerField(null=True)
    cache_write_1h_tokens = models.BigIntegerField(null=True)
    thinking_tokens = models.BigIntegerField(null=True)
    audio_input_tokens = models.BigIntegerField(null=True)  # part of the input
    audio_output_tokens = models.BigIntegerField(null=True)  # part of the output
    web_searches = models.BigIntegerField(null=True)
    usage_source = models.CharField(max_length=16, choices=UsageSource.choices, blank=True)

    # Cost in pico-dollars. None where the model is unpriced, never 0.
    cost_usd_picos = models.BigIntegerField(null=True)
    # Its parts and what the cache saved; negative where writes cost more than reads saved.
    input_cost_usd_picos = models.BigIntegerField(null=True)
    output_cost_usd_picos = models.BigIntegerField(null=True)
    cache_read_cost_usd_picos = models.BigIntegerField(null=True)
    cache_write_cost_usd_picos = models.BigIntegerField(null=True)
    item_cost_usd_picos = models.BigIntegerField(null=True)
    cache_savings_usd_picos = models.BigIntegerField(null=True)
    vendor_cost_usd_picos = models.BigIntegerField(null=True)  # as the upstream reports it
    unpriced_reason = models.CharField(max_length=40, blank=True)
    price = models.ForeignKey(ModelPrice, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    # Prices of the iterations by other models: {model: ID of the price}.
    other_prices = models.JSONField(null=True)
    price_factor = models.DecimalField(max_digits=8, decimal_places=4, null=True)  # negotiated with the upstream
    # Budget reservations while the request is in flight: [[ID of the budget, amount], …].
    reservations = models.JSONField(default=list)
    # The limit that rejected it, or would have outside shadow mode: keys.domain.limits.LimitExceeded.
    limit_exceeded = models.JSONField(null=True)
    # What a request was counted as while it was settled as interrupted: its estimate, which the real settlement
    # replaces whenever it arrives. Names of columns, and the time.
    interruption = models.JSONField(null=True)

    # Latency, and what detects an orphaned record.
    ttft_ms = models.PositiveIntegerField(null=True)
    duration_ms = models.PositiveIntegerField(null=True)
    added_us = models.PositiveIntegerField(null=True)  # the gateway's own share of the time to the first byte
    # Keyed checksum of its figures, written when it is settled: verify_figures finds a record that was changed.
    figures_checksum = models.CharField(max_length=24, blank=True)
    boot_id = models.CharField(max_length=48)
    # None where the record was never open: a rejected request, or one whose admission was lost.
    lease_expires_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["created_at"], name="usage_created"),
            models.Index(fields=["api_key", "created_at"], name="usage_key_created"),
            models.Index(fields=["boot_id"], name="usage_open_boot", condition=Q(status="started")),
            models.Index(fields=["lease_expires_at"], name="usage_open_lease", condition=Q(status="started")),
            # Finds the errors of a key among any number of successful requests.
            models.Index(fields=["api_key", "created_at"], name="usage_key_errors", condition=IS_ERROR),
            models.Index(
                fields=["api_key", "created_at"],
                name="usage_key_limit_exceeded",
                condition=Q(limit_exceeded__isnull=False),
            ),
            # Finds the few in-flight requests among millions. SQLite would not use an index on `status`: it does not
            # consider parameters, while IS NULL is part of the statement.
            models.Index(fields=["created_at"], name="usage_in_flight", condition=Q(settled_at=None)),
            models.Index(fields=["price"], name="usage_price", condition=Q(price__isnull=False)),
            # Finds the records that name further prices, which must not change either.
            models.Index(fields=["created_at"], name="usage_other_prices", condition=Q(other_prices__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(
                name="usage_settled_or_started",
                condition=Q(status="started", settled_at=None) | (~Q(status="started") & Q(settled_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="usage_tokens_not_negative",
                condition=Q(input_tokens=None) | Q(input_tokens__gte=0),
            ),
        ]
        permissions = [("export_usage", "Can export usage")]

    def __str__(self) -> str:
        return self.id


class HourlyUsage(models.Model):
    """Sums of the requests that were settled in an hour, by everything that reports group by.

    Hours are those of the reporting time zone. Requests without usage are counted and not in the token sums.
    """

    hour = models.DateTimeField()
    api_key = models.ForeignKey(APIKey, on_delete=models.PROTECT, related_name="hourly_usage", db_index=False)
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
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "api_key",
                    "hour",
                    "team_id",
                    "owner_id",
                    "model",
                    "upstream",
                    "upstream_model",
                    "api_format",
                    "status",
                    "error_type",
                    "usage_source",
                ],
                name="one_hourly_usage",
            )
        ]

    def __str__(self) -> str:
        return f"{self.api_key_id} {self.model} {self.hour:%Y-%m-%d %H:00}"


class HourlyLatency(models.Model):
    """Histogram of the latencies of an hourly rollup: the number of its requests in each bucket that has any."""

    class Measure(models.TextChoices):
        DURATION = "duration_ms", "Latency"
        TTFT = "ttft_ms", "Time to first token"

    # The primary key is the only index.
    pk = models.CompositePrimaryKey("hourly_usage_id", "measure", "bucket")
    hourly_usage = models.ForeignKey(HourlyUsage, on_delete=models.CASCADE, related_name="latencies", db_index=False)
    measure = models.CharField(max_length=16, choices=Measure.choices)
    bucket = models.PositiveSmallIntegerField()  # keys.domain.latency_buckets
    requests = models.BigIntegerField()

    class Meta:
        verbose_name = "hourly latency"
        verbose_name_plural = "hourly latencies"

    def __str__(self) -> str:
        return f"{self.hourly_usage_id} {self.measure} {self.bucket}"
