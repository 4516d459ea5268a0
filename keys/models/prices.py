"""Model prices with their validity. Usage records refer to their price, so it is superseded, not edited."""

from collections.abc import Iterable, Iterator, Sequence

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from keys.domain import factors, price_checks, price_kinds, price_modifiers, utc_hours
from keys.domain.price_modifiers import MAX_MODIFIERS, Modifier
from keys.domain.prices import Price
from keys.models.price_problems import PriceProblem, not_whole, raise_problems, validate_factor
from lib import model_patterns

MAX_PRICE = 10**10
"""Micro-dollars per million tokens."""
PRICE = [MinValueValidator(0), MaxValueValidator(MAX_PRICE)]
OWN_RATES = ("cache_read", "cache_write_5m", "cache_write_1h", "audio_input", "audio_output")
"""Kinds that have a rate of their own, or none."""


def _is_factor(name: str) -> Q:
    return Q(**{f"{name}__gt": 0, f"{name}__lte": factors.MAX_FACTOR})


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
        """Check the price alone. `problems` checks it with its modifiers."""
        if errors := dict(self._errors()):
            raise ValidationError(errors)
        if self.is_complete:
            raise_problems(self.problems(()))

    @property
    def is_complete(self) -> bool:
        """Whether start and rates are values to calculate with. The validation of fields reports others."""
        names = ("input_price", "output_price", *(f"{kind}_price" for kind in OWN_RATES))
        rates = [getattr(self, name) for name in names]
        return bool(self.valid_from) and all(rate is None or (type(rate) is int and rate >= 0) for rate in rates)

    def _errors(self) -> Iterator[tuple[str, str]]:
        """Yield the field and what is wrong with it."""
        if not model_patterns.is_valid(self.model_pattern):
            yield "model_pattern", "* is only allowed at the end."
        own = {f"{kind}_price": getattr(self, f"{kind}_price") for kind in OWN_RATES}
        if self.is_free and any((self.input_price, self.output_price, self.web_search_price, *own.values())):
            yield "is_free", "A free model cannot have a price."
        if not self.is_free:
            if not (self.input_price and self.output_price):
                yield "input_price", "Enter an input and an output price, or mark the model as free."
            for name, price in own.items():
                if price == 0:
                    direction = "output" if name.startswith("audio_output") else "input"
                    yield (
                        name,
                        f"Enter a price above 0, or leave it empty: such tokens then cost the {direction} price.",
                    )
        if self.valid_from and self._versions().filter(valid_from=self.valid_from).exists():
            yield (
                "valid_from",
                "A price of this model pattern and upstream is valid from the same time. Enter another time.",
            )

    def _versions(self) -> "models.QuerySet[ModelPrice]":
        """Return the other prices of the same pattern and upstream."""
        same = ModelPrice.objects.filter(model_pattern=self.model_pattern, upstream=self.upstream)
        return same.exclude(pk=self.pk)

    def rates(self, modifiers: Iterable[Modifier] = ()) -> Price:
        """Return the price with modifiers, as rating uses it."""
        return Price(
            id=self.pk,
            model_pattern=self.model_pattern,
            upstream=self.upstream,
            valid_from=self.valid_from,
            input=self.input_price,
            output=self.output_price,
            cache_read=self.cache_read_price,
            cache_write_5m=self.cache_write_5m_price,
            cache_write_1h=self.cache_write_1h_price,
            audio_input=self.audio_input_price,
            audio_output=self.audio_output_price,
            web_search=self.web_search_price,
            is_free=self.is_free,
            writes_cache_implicitly=self.writes_cache_implicitly,
            max_output_tokens=self.max_output_tokens,
            modifiers=tuple(modifiers),
        )

    def problems(self, modifiers: "Sequence[PriceModifier]") -> Iterator[PriceProblem]:
        """Yield what is wrong with this price and these modifiers together. Each is valid alone.

        To be called before either is saved: the admin does, and each other writer has to.
        """
        if self.is_free:
            for modifier in modifiers:
                yield PriceProblem(
                    modifier=modifier, field="dimension", message="A free model has no modifiers. Remove this one."
                )
            return
        if len(modifiers) > MAX_MODIFIERS:
            yield PriceProblem(
                modifier=modifiers[-1], field="dimension", message=f"Enter at most {MAX_MODIFIERS} modifiers."
            )
            return
        by_value = {modifier.parsed(): modifier for modifier in modifiers}
        if hours := price_modifiers.overlapping_hours(list(by_value)):
            yield PriceProblem(
                modifier=by_value[hours[1]],
                field="value",
                message=f"Hours overlap with those of {hours[0].value}. Enter hours that no other modifier has.",
            )
        price = self.rates(by_value)
        for negotiated in self._price_factors():
            if problem := _fractional(price, by_value, negotiated):
                yield problem
                return  # the others have the same cause

    def _price_factors(self) -> "Iterator[NegotiatedFactor | None]":
        """Yield the negotiated factors that may apply while this price is valid; None for no factor."""
        yield None
        starts = [*self._versions().values_list("valid_from", flat=True), self.valid_from]
        period = price_checks.periods(starts)[self.valid_from]
        for factor in NegotiatedFactor.objects.all() if not self.upstream else _factors_of(self.upstream):
            if price_checks.intersect(period, factor.period()):
                yield factor


class PriceModifier(models.Model):
    """A condition under which the prices of a model are multiplied. Modifiers that apply multiply each other.

    At most one of each dimension applies: of several prompt lengths, the longest that the prompt exceeds.
    """

    class Dimension(models.TextChoices):
        PROMPT_OVER = "prompt_over", "prompt longer than"
        SPEED = "speed", "speed"
        SERVICE_TIER = "service_tier", "service tier"
        INFERENCE_GEO = "inference_geo", "inference geography"
        REGION = "region", "region"
        UTC_HOURS = "utc_hours", "hours (UTC)"

    price = models.ForeignKey(ModelPrice, on_delete=models.CASCADE, related_name="modifiers")
    dimension = models.CharField(
        max_length=16,
        choices=Dimension.choices,
        error_messages={"invalid_choice": f"Enter one of {', '.join(price_modifiers.DIMENSIONS)}."},
    )
    value = models.CharField(
        max_length=100, help_text="Tokens, a value such as fast or us, or hours such as 01:00-04:00,06:00-10:00."
    )
    weekdays = models.CharField(
        max_length=7, blank=True, help_text="Of hours only: digits from 1 (Monday) to 7. Empty: every day."
    )
    input_factor = models.DecimalField(max_digits=8, decimal_places=4, validators=[validate_factor])
    output_factor = models.DecimalField(max_digits=8, decimal_places=4, validators=[validate_factor])

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["price", "dimension", "value", "weekdays"],
                name="one_modifier_per_price_and_value",
                violation_error_message="The price has a modifier for this value already.",
            ),
            models.CheckConstraint(
                name="modifier_factors_are_positive", condition=_is_factor("input_factor") & _is_factor("output_factor")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_dimension_display()} {self.value}"

    def clean(self) -> None:
        """Check the modifier alone. `ModelPrice.problems` checks all modifiers of a price together."""
        errors = {}
        if self.dimension in price_modifiers.DIMENSIONS and self.value:
            try:
                price_modifiers.check_value(self.dimension, self.value)
            except ValueError as error:
                errors["value"] = str(error)
        if self.weekdays and self.dimension != price_modifiers.UTC_HOURS:
            errors["weekdays"] = "Only hours have weekdays. Leave it empty."
        else:
            try:
                utc_hours.check_weekdays(self.weekdays)
            except ValueError as error:
                errors["weekdays"] = str(error)
        if errors:
            raise ValidationError(errors)

    def parsed(self) -> Modifier:
        """Return the modifier as rating uses it. Raise ValueError, with a message for users, for an invalid value."""
        return Modifier.parsed(
            self.dimension,
            self.value,
            weekdays=self.weekdays,
            input_factor=factors.from_decimal(self.input_factor),
            output_factor=factors.from_decimal(self.output_factor),
        )


class NegotiatedFactor(models.Model):
    """The factor on all prices of an upstream that was negotiated with its operator."""

    upstream = models.CharField(max_length=64, help_text="Name of the upstream.")
    factor = models.DecimalField(
        max_digits=8, decimal_places=4, validators=[validate_factor], help_text="0.93 for a discount of 7 %."
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
            ),
            models.CheckConstraint(name="negotiated_factor_is_positive", condition=_is_factor("factor")),
        ]

    def __str__(self) -> str:
        return f"{self.upstream} {self.factor} from {self.valid_from:%Y-%m-%d}"

    def clean(self) -> None:
        """Check the factor with all prices that it may apply to, since each product must be whole."""
        if not self.upstream or not self.valid_from or self.factor is None:
            return
        if self._versions().filter(valid_from=self.valid_from).exists():
            message = "A factor of this upstream is valid from the same time. Enter another time."
            raise ValidationError({"valid_from": message})
        try:
            factor = factors.from_decimal(self.factor)
        except ValueError:
            return  # the validator of the field reports it
        raise_problems(self._problems(factor))

    def _problems(self, factor: int) -> Iterator[PriceProblem]:
        prices = ModelPrice.objects.filter(Q(upstream="") | Q(upstream=self.upstream), is_free=False)
        versions: dict[tuple[str, str], list[ModelPrice]] = {}
        for price in prices.prefetch_related("modifiers"):
            versions.setdefault((price.model_pattern, price.upstream), []).append(price)
        own = self.period()
        for rows in versions.values():
            periods = price_checks.periods(row.valid_from for row in rows)
            for row in rows:
                if not price_checks.intersect(own, periods[row.valid_from]):
                    continue
                rates = row.rates(modifier.parsed() for modifier in row.modifiers.all())
                if found := price_checks.fractional_combination(rates, price_factor=factor):
                    yield PriceProblem(modifier=None, field="factor", message=not_whole(str(row), *found))

    def _versions(self) -> "models.QuerySet[NegotiatedFactor]":
        """Return the other factors of the same upstream."""
        return _factors_of(self.upstream).exclude(pk=self.pk)

    def period(self) -> price_checks.Period:
        """Return the beginning and the end of its validity. One query."""
        starts = [*self._versions().values_list("valid_from", flat=True), self.valid_from]
        return price_checks.periods(starts)[self.valid_from]


def _factors_of(upstream: str) -> "models.QuerySet[NegotiatedFactor]":
    return NegotiatedFactor.objects.filter(upstream=upstream)


def _fractional(
    price: Price, by_value: "dict[Modifier, PriceModifier]", negotiated: NegotiatedFactor | None
) -> PriceProblem | None:
    """Return the problem of a combination whose product with the price and the negotiated factor is not whole."""
    factor = factors.ONE if negotiated is None else factors.from_decimal(negotiated.factor)
    found = price_checks.fractional_combination(price, price_factor=factor)
    if found is None:
        return None
    kind, modifiers = found
    name = "the price" if negotiated is None else f"the price times the factor of {negotiated}"
    message = not_whole(name, kind, modifiers)
    if not modifiers:
        own = price.own_rate(kind)
        return PriceProblem(modifier=None, field=f"{own}_price", message=message)
    field = "output_factor" if kind in price_kinds.OUTPUT_KINDS else "input_factor"
    return PriceProblem(modifier=by_value[modifiers[-1]], field=field, message=message)
