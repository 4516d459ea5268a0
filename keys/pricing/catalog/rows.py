"""Rows of proposed prices."""

from datetime import datetime

from keys.models import ModelPrice, PriceModifier
from keys.pricing.catalog.proposals import ProposedPrice

MODIFIER_FIELDS = ("dimension", "value", "weekdays", "input_factor", "output_factor")


def unsaved(
    price: ProposedPrice, *, pattern: str, upstream: str, valid_from: datetime, source: str = ""
) -> tuple[ModelPrice, list[PriceModifier]]:
    """Return an unsaved price and its unsaved modifiers."""
    row = ModelPrice(model_pattern=pattern, upstream=upstream, valid_from=valid_from, source=source, **price.fields)
    modifiers = [
        PriceModifier(price=row, **{name: getattr(each, name) for name in MODIFIER_FIELDS}) for each in price.modifiers
    ]
    return row, modifiers
