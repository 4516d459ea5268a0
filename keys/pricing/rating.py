"""Rating: the cost of tokens in micro-dollars, in integers, rounded once per request. Pure."""

from dataclasses import dataclass

TOKENS_PER_PRICE = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """Micro-dollars per million tokens, by kind. All are 0 for a free model."""

    id: int | None = None
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    max_output_tokens: int | None = None
    """Maximum output tokens of the model, if known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Tokens of one request. Input excludes cache reads and cache writes."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output + self.cache_read + self.cache_write_5m + self.cache_write_1h


def cost(tokens: Tokens, price: Price) -> int:
    """Return the cost of a request in micro-dollars, half rounded up."""
    millionths = (
        tokens.input * price.input
        + tokens.output * price.output
        + tokens.cache_read * price.cache_read
        + tokens.cache_write_5m * price.cache_write_5m
        + tokens.cache_write_1h * price.cache_write_1h
    )
    return rounded(millionths)


def rounded(millionths: int) -> int:
    """Convert millionths of a micro-dollar to micro-dollars, half rounded up."""
    return (2 * millionths + TOKENS_PER_PRICE) // (2 * TOKENS_PER_PRICE)


def max_cost(*, input_tokens: int, max_tokens: int, price: Price, may_write_cache: bool) -> int:
    """Return the maximum cost of a request in micro-dollars, from the estimate of its input."""
    input_price = max(price.input, price.cache_write_5m, price.cache_write_1h) if may_write_cache else price.input
    output = max_output(max_tokens, price)
    return cost(Tokens(input=input_tokens, output=output), Price(input=input_price, output=price.output))


def max_output(max_tokens: int, price: Price | None) -> int:
    """Return the maximum output tokens of a request: `max_tokens` of the client, capped by those of the model."""
    if price is None or price.max_output_tokens is None:
        return max_tokens
    return min(max_tokens, price.max_output_tokens)
