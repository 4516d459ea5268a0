"""Bills of providers: imported exports, their lines, which provider keys are the gateway's, and signed-off months."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class Bill(models.Model):
    """An imported export of a provider. Its lines count once its state is `imported`."""

    class Format(models.TextChoices):
        ANTHROPIC_USAGE = "anthropic_usage", "Anthropic usage report"
        ANTHROPIC_COST = "anthropic_cost", "Anthropic cost report"
        ANALYTICS_USAGE = "analytics_usage", "Anthropic usage analytics"
        ANALYTICS_COST = "analytics_cost", "Anthropic cost analytics"
        CONSOLE_USAGE = "console_usage", "Anthropic Console usage CSV"
        CONSOLE_COST = "console_cost", "Anthropic Console cost CSV"
        OPENAI_USAGE = "openai_usage", "OpenAI completions usage"
        OPENAI_USAGE_CSV = "openai_usage_csv", "OpenAI completions usage CSV"
        OPENAI_COSTS = "openai_costs", "OpenAI costs"
        OPENAI_COSTS_CSV = "openai_costs_csv", "OpenAI costs CSV"
        OPENROUTER_GENERATIONS = "openrouter_generations", "OpenRouter generations CSV"
        OPENROUTER_DAILY = "openrouter_daily", "OpenRouter daily CSV"
        DEEPSEEK_ZIP = "deepseek_zip", "DeepSeek export (zip)"
        DEEPSEEK_AMOUNT = "deepseek_amount", "DeepSeek amount CSV"
        DEEPSEEK_COST = "deepseek_cost", "DeepSeek cost CSV"
        MAPPED_CSV = "mapped_csv", "CSV with mapped columns"

    class State(models.TextChoices):
        IMPORTING = "importing", "Importing"
        IMPORTED = "imported", "Imported"
        SUPERSEDED = "superseded", "Superseded"

    upstream = models.CharField(max_length=64)
    format = models.CharField(max_length=32, choices=Format.choices)
    first_day = models.DateField(null=True, help_text="In UTC.")
    last_day = models.DateField(null=True, help_text="In UTC.")
    file_name = models.CharField("file", max_length=200)
    file_digest = models.CharField("SHA-256 of the file", max_length=64)
    line_count = models.PositiveBigIntegerField("lines", default=0)
    has_tokens = models.BooleanField("tokens", default=False)
    has_amounts = models.BooleanField("amounts", default=False)
    imported_by = models.CharField(max_length=150)
    imported_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=16, choices=State.choices, default=State.IMPORTING)
    superseded_by = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="+")
    # The last reconciliation: keys.bills.results. None before the first one.
    result = models.JSONField(null=True)
    reconciled_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-imported_at"]
        indexes = [models.Index(fields=["upstream", "first_day", "last_day"], name="bill_upstream_days")]
        constraints = [
            models.UniqueConstraint(
                fields=["upstream", "file_digest"], name="one_bill_per_file", condition=~Q(state="importing")
            ),
            models.CheckConstraint(
                name="bill_days_in_order",
                condition=Q(state="importing") | Q(first_day__isnull=False, last_day__gte=models.F("first_day")),
            ),
        ]
        permissions = [("sign_off_bill", "Can sign off a month")]

    def __str__(self) -> str:
        return f"{self.upstream} {self.first_day} to {self.last_day}: {self.file_name}"


class BillLine(models.Model):
    """A line of a bill: tokens of one kind, an amount, or both, of one UTC day. Empty text: the bill does not say."""

    class LineKind(models.TextChoices):
        INPUT = "input", "Input"
        OUTPUT = "output", "Output"
        CACHE_READ = "cache_read", "Cache read"
        CACHE_WRITE_5M = "cache_write_5m", "Cache write, 5 minutes"
        CACHE_WRITE_1H = "cache_write_1h", "Cache write, 1 hour"
        WEB_SEARCH = "web_search", "Web searches"
        REQUEST = "request", "Requests"
        ALL_TOKENS = "tokens", "All tokens"
        CODE_EXECUTION = "code_execution", "Code execution"
        SESSION = "session", "Sessions"
        TAX = "tax", "Tax"
        CREDIT = "credit", "Credit"
        DISCOUNT = "discount", "Discount"
        OTHER = "other", "Other"

    bill = models.ForeignKey(Bill, on_delete=models.CASCADE, related_name="lines", db_index=False)
    number = models.PositiveBigIntegerField()
    position = models.CharField(max_length=80, help_text="Where it is in the file.")
    day = models.DateField()
    kind = models.CharField(max_length=16, choices=LineKind.choices)
    model = models.CharField(max_length=256, blank=True)
    service_tier = models.CharField(max_length=32, blank=True)
    speed = models.CharField(max_length=32, blank=True)
    inference_geo = models.CharField("inference geography", max_length=32, blank=True)
    context_window = models.CharField(max_length=32, blank=True)
    provider_key = models.CharField(max_length=128, blank=True, help_text="ID or name of the API key at the provider.")
    workspace = models.CharField(max_length=128, blank=True)
    message_id = models.CharField("message ID", max_length=128, blank=True)
    description = models.CharField(max_length=200, blank=True)
    is_byok = models.BooleanField("billed by another provider", default=False)
    quantity = models.BigIntegerField(null=True, help_text="Tokens, searches or requests.")
    amount_usd_picos = models.BigIntegerField(null=True)
    list_amount_usd_picos = models.BigIntegerField(null=True, help_text="Before discounts.")
    # The smallest amount that the format writes: what it rounds to.
    unit_usd_picos = models.BigIntegerField(default=1)

    class Meta:
        ordering = ["bill", "number"]
        indexes = [
            models.Index(fields=["bill", "day"], name="bill_line_day"),
            models.Index(fields=["bill", "number"], name="bill_line_number"),
        ]

    def __str__(self) -> str:
        return self.position


class UpstreamKeys(models.Model):
    """The API keys of an upstream, as its bills name them. Lines of other keys were used outside the gateway."""

    upstream = models.CharField(max_length=64, unique=True)
    provider_keys = models.JSONField("keys on bills", default=list)

    class Meta:
        verbose_name = "keys of an upstream"
        verbose_name_plural = "keys of upstreams"

    def __str__(self) -> str:
        return self.upstream


class SignedOffMonth(models.Model):
    """The figures of a month as they were when it was signed off. Never changed: later figures are compared to them."""

    upstream = models.CharField(max_length=64)
    month = models.DateField(help_text="Its first day, in UTC.")
    figures = models.JSONField()
    signed_off_by = models.CharField(max_length=150)
    signed_off_by_user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    signed_off_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "signed-off month"
        ordering = ["-month", "-signed_off_at"]
        indexes = [models.Index(fields=["upstream", "month"], name="signed_off_month")]

    def __str__(self) -> str:
        return f"{self.upstream} {self.month:%Y-%m}"
