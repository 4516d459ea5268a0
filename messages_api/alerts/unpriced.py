"""Conditions of unpriced models: recently used without a price."""

from collections.abc import Iterator

from django.urls import reverse

from keys.pricing.unpriced import unpriced_models
from messages_api.alerts.condition import AlertCondition
from messages_api.models import AlertRule


def conditions(rules: list[AlertRule]) -> Iterator[tuple[AlertRule, AlertCondition]]:
    """Yield the models that have no price. One query where there is none."""
    for each in unpriced_models():
        condition = AlertCondition(
            subject=f"unpriced:{each.upstream}:{each.model}"[:400],
            title=f"Model {each.model} at upstream {each.upstream} has no price",
            detail=f"Requested as {', '.join(each.requested_models)}. The cost of these requests is unknown, and "
            "budgets in money reject them.",
            path=reverse("admin:keys_modelprice_changelist"),
        )
        for rule in rules:
            if rule.upstream is None or rule.upstream.name == each.upstream:
                yield rule, condition
