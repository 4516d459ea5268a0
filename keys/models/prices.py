"""What models cost, from when on. A record keeps the price that it was rated with, so prices are ended, not changed."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

LARGEST = 10**12
PRICE = [MinValueValidator(0), MaxValueValidator(LARGEST)]


class ModelPrice(models.Model):
    """Micro-dollars per million tokens of each kind. A price of 0 needs the explicit `is_free`."""

    model_pattern = models.CharField(
        max_length=256, help_text="The model's name at the upstream, or a prefix that ends in *."
    )
    upstream = models.CharField(max_length=64, blank=True, help_text="Only at this upstream. Empty: at any.")
    valid_from = models.DateTimeField(default=timezone.now)
    input_price = models.BigIntegerField(default=0, validators=PRICE)
    output_price = models.BigIntegerField(default=0, validators=PRICE)
    cache_read_price = models.BigIntegerField(default=0, validators=PRICE)
    cache_write_5m_price = models.BigIntegerField(default=0, validators=PRICE)
    cache_write_1h_price = models.BigIntegerField(default=0, validators=PRICE)
    is_free = models.BooleanField("free", default=False, help_text="It costs nothing. 0 alone would mean a mistake.")
    max_output_tokens = models.PositiveIntegerField(
        null=True, blank=True, help_text="The most that an answer can have: no call holds more of a budget than that."
    )
    source = models.CharField(max_length=200, blank=True, help_text="Where the price is from.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "price"
        ordering = ["model_pattern", "upstream", "-valid_from"]
        constraints = [
            models.UniqueConstraint(
                fields=["model_pattern", "upstream", "valid_from"], name="one_price_a_pattern_upstream_and_moment"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model_pattern} from {self.valid_from:%Y-%m-%d}"

    def clean(self) -> None:
        if "*" in self.model_pattern[:-1]:
            raise ValidationError({"model_pattern": "A * may stand at the end only."})
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
            raise ValidationError({"is_free": "It is either free or has a price."})
        if not self.is_free and not (self.input_price and self.output_price):
            raise ValidationError({"input_price": "Give a price for input and output, or mark the model as free."})
