"""The maximum cost of a request, which budgets reserve. Pure."""

from keys.domain.price_kinds import CACHE_WRITE_1H, CACHE_WRITE_5M
from keys.domain.prices import Price
from lib import money


def max_cost(*, input_tokens: int, max_tokens: int, price: Price, may_write_cache: bool) -> int:
    """Return the maximum cost of a request in micro-dollars, rounded up, from the estimate of its input."""
    writes = [price.rate(CACHE_WRITE_5M), price.rate(CACHE_WRITE_1H)] if may_write_cache else []
    picos = input_tokens * max([price.input, *writes]) + max_output(max_tokens, price) * price.output
    return money.rounded_up(picos)


def max_output(max_tokens: int, price: Price | None) -> int:
    """Return the maximum output tokens of a request: `max_tokens` of the client, capped by those of the model."""
    if price is None or price.max_output_tokens is None:
        return max_tokens
    return min(max_tokens, price.max_output_tokens)
