"""Model prices with their validity. Usage records refer to their price, so it is superseded, not edited."""

from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from lib import model_patterns

MAX_PRICE = 10**10
"""Micro-dollars per million tokens."""
PRICE = [MinValueValidator(0), MaxValueValidator(MAX_PRICE)]
FACTOR = [MinValueValidator(Decimal("0.0001")), MaxValueValidator(1000)]


class ModelPrice(models.Model):
    """Prices of a model in micro-dollars per million tokens, by kind of token. A price of 0 requires `is_free`.

    A kind without a price of its own costs what the kind costs that contains it: cached and written tokens the input
    price, audio the price of its direction. None is free.
    """

    model_pattern = models.CharField(
        max_length=256, help_text="Model name at the upstream, or a prefix that ends in *."
    )
    upstream = models.CharField(max_length=64, blank=True, help_text="Name of the upstream. Empty: any upstream.")
    valid_from = models.DateTimeField(default=timezone.now)
    input_price = models.BigIntegerField(default=0, validators=PRICE)
    output_price = models.BigIntegerField(default=0, validators=PRICE)
    cache_read_price = models.BigIntegerField(null=True, blank=True, validators=PRICE)
    cache_write_5m_price = models.BigIntegerField(null=True, blank=True, validators=PRICE)
    cache_write_1h_price = models.BigIntegerField(null=True, blank=True, validators=PRICE)
    audio_input_price = models.BigIntegerField(null=True, blank=True, validators=PRICE)
    audio_output_price = models.BigIntegerField(null=True, blank=True, validators=PRICE)
    web_search_price = models.BigIntegerField(
        null=True, blank=True, validators=PRICE, help_text="Micro-dollars per web search. Empty: unknown."
    )
    writes_cache_implicitly = models.BooleanField(
        "implicit cache writes", default=False, help_text="The upstream writes to its cache without being asked."
    )
    is_free = models.BooleanField("free", default=False, help_text="Requests cost nothing. Required for a price of 0.")
    max_output_tokens = models.PositiveIntegerField(
        null=True, blank=True, help_text="Maximum output tokens of the model; caps the budget reservation."
    )
    source = models.CharField(max_length=200, blank=True, help_text="Origin of the price, such as a price list.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "price"
        ordering = ["model_pattern", "upstream", "-valid_from"]
        constraints = [
            models.UniqueConstraint(
                fields=["model_pattern", "upstream", "valid_from"],
                name="one_price_per_pattern_upstream_and_start",
                violation_error_message="A price of this model pattern and upstream is valid from the same time.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.model_pattern} from {self.valid_from:%Y-%m-%d}"

    def clean(self) -> None:
        if not model_patterns.is_valid(self.model_pattern):
            raise ValidationError({"model_pattern": "* is only allowed at the end."})
        costs = any(
            (
                self.input_price,
                self.output_price,
                self.cache_read_price,
                self.cache_write_5m_price,
                self.cache_write_1h_price,
                self.audio_input_price,
                self.audio_output_price,
                self.web_search_price,
            )
        )
        if self.is_free and costs:
            raise ValidationError({"is_free": "A free model cannot have a price."})
        if not self.is_free and not (self.input_price and self.output_price):
            raise ValidationError({"input_price": "Enter an input and an output price, or mark the model as free."})


class PriceModifier(models.Model):
    """A condition under which the prices of a model are multiplied. Modifiers that apply multiply each other."""

    class Dimension(models.TextChoices):
        PROMPT_OVER = "prompt_over", "prompt longer than"
        SPEED = "speed", "speed"
        SERVICE_TIER = "service_tier", "service tier"
        INFERENCE_GEO = "inference_geo", "inference geography"
        REGION = "region", "region"
        UTC_HOURS = "utc_hours", "hours (UTC)"

    price = models.ForeignKey(ModelPrice, on_delete=models.CASCADE, related_name="modifiers")
    dimension = models.CharField(max_length=16, choices=Dimension.choices)
    value = models.CharField(
        max_length=100, help_text="Tokens, a value such as fast or us, or hours such as 01:00-04:00,06:00-10:00."
    )
    weekdays = models.CharField(
        max_length=7, blank=True, help_text="Of hours only: digits from 1 (Monday) to 7. Empty: every day."
    )
    input_factor = models.DecimalField(max_digits=8, decimal_places=4, validators=FACTOR)
    output_factor = models.DecimalField(max_digits=8, decimal_places=4, validators=FACTOR)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["price", "dimension", "value", "weekdays"],
                name="one_modifier_per_price_and_value",
                violation_error_message="The price has a modifier for this value already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_dimension_display()} {self.value}"


class NegotiatedFactor(models.Model):
    """The factor on all prices of an upstream that was negotiated with its operator."""

    upstream = models.CharField(max_length=64, help_text="Name of the upstream.")
    factor = models.DecimalField(
        max_digits=8, decimal_places=4, validators=FACTOR, help_text="0.93 for a discount of 7 %."
    )
    valid_from = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["upstream", "-valid_from"]
        constraints = [
            models.UniqueConstraint(
                fields=["upstream", "valid_from"],
                name="one_factor_per_upstream_and_start",
                violation_error_message="A factor of this upstream is valid from the same time.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.upstream} {self.factor} from {self.valid_from:%Y-%m-%d}"
