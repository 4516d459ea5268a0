"""The maximum cost of a request at each of its targets: what budgets reserve before an upstream is contacted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from django.conf import settings
from django.utils import timezone

from keys.errors import CostUnbounded, RequestRejected, Unpriced
from keys.pricing.max_cost import CostBound, CostUnknown, Demand, ServingTerms
from keys.pricing.price_book import PriceBook
from messages_api.backend.endpoint import Target
from messages_api.backend.protocol.served import FACTS
from messages_api.backend.protocol.token_estimate import Size
from messages_api.gateway import demand
from messages_api.gateway.served_columns import asked_columns

ANTHROPIC = "anthropic"


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetCost:
    """The maximum cost of a request at a target."""

    target: Target
    micros: int
    tokens: int


class CostBounds:
    """The bounds of one request."""

    def __init__(self, request: Mapping[str, Any], size: Size, book: PriceBook) -> None:
        self._request = request
        self._size = size
        self._book = book
        self._now = timezone.now()

    def affordable(self, targets: Iterable[Target]) -> list[TargetCost]:
        """Return the maximum cost at each target where it is known. Raise Unpriced or CostUnbounded if at none."""
        found: list[TargetCost] = []
        problems: list[RequestRejected] = []
        for target in targets:
            try:
                wanted, bound = self._demand(target), self._bound(target)
                found.append(TargetCost(target=target, micros=bound.micros(wanted), tokens=bound.tokens(wanted)))
            except CostUnbounded as error:
                problems.append(error)
            except CostUnknown as error:
                problems.append(Unpriced(error.param, value=error.value))
        if not found:
            raise problems[0]
        return found

    def tokens(self, target: Target) -> int:
        """Return the most tokens of a request. Where the body sets no bound, those of one sampling."""
        try:
            wanted = self._demand(target)
        except CostUnbounded:
            wanted = self._translated
        return self._bound(target).tokens(wanted)

    def _demand(self, target: Target) -> Demand:
        if target.endpoint.dialect != ANTHROPIC:
            asked = asked_columns(self._request, target.endpoint)  # what is dropped is not billed
            facts = {name: asked[name] for name in FACTS if asked[name]}
            return replace(self._translated, facts=facts) if facts else self._translated
        if isinstance(self._anthropic, CostUnbounded):
            raise self._anthropic
        return self._anthropic

    @cached_property
    def _translated(self) -> Demand:
        return demand.translated_demand(self._request, self._size)

    @cached_property
    def _anthropic(self) -> Demand | CostUnbounded:
        try:
            return demand.anthropic_demand(self._request, self._size)
        except CostUnbounded as error:
            return error

    def _bound(self, target: Target) -> CostBound:
        endpoint, profile = target.endpoint, target.endpoint.profile
        return CostBound(
            model=target.model,
            find=partial(self._book.find, upstream=endpoint.name, at=self._now),
            terms=ServingTerms(
                region=profile.region,
                service_tier=profile.default_service_tier,
                inference_geo=profile.default_inference_geo,
                longest_s=endpoint.timeouts.request_timeout_s,
            ),
            at=self._now,
            assumed_output=settings.ASSUMED_MAX_OUTPUT_TOKENS,
            negotiated=self._book.price_factor(endpoint.name, at=self._now),
        )
