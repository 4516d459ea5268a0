"""Model prices with their validity. Usage records refer to their price, so it is superseded, not edited."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from lib import model_patterns

MAX_PRICE = 10**12
"""Micro-dollars per million tokens."""
PRICE = [MinValueValidator(0), MaxValueValidator(MAX_PRICE)]


class ModelPrice(models.Model):
    """Prices of a model in micro-dollars per million tokens, by kind of token. A price of 0 requires `is_free`."""

    model_pattern = models.CharField(
        max_length=256, help_text="Model name at the upstream, or a prefix that ends in *."
    )
    upstream = models.CharField(max_length=64, blank=True, help_text="Name of the upstream. Empty: any upstream.")
    valid_from = models.DateTimeField(default=timezone.now)
    input_price = models.BigIntegerField(default=0, validators=PRICE)
    output_price = models.BigIntegerField(default=0, validators=PRICE)
    cache_read_price = models.BigIntegerField(default=0, validators=PRICE)
    cache_write_5m_price = models.BigIntegerField(default=0, validators=PRICE)
    cache_write_1h_price = models.BigIntegerField(default=0, validators=PRICE)
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
            )
        )
        if self.is_free and costs:
            raise ValidationError({"is_free": "A free model cannot have a price."})
        if not self.is_free and not (self.input_price and self.output_price):
            raise ValidationError({"input_price": "Enter an input and an output price, or mark the model as free."})
