"""Rating: the cost of tokens in pico-dollars, in integers, without rounding. Pure."""

from dataclasses import dataclass

from lib import money


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
    """Return the cost of a request in pico-dollars: tokens times micro-dollars per million tokens."""
    return (
        tokens.input * price.input
        + tokens.output * price.output
        + tokens.cache_read * price.cache_read
        + tokens.cache_write_5m * price.cache_write_5m
        + tokens.cache_write_1h * price.cache_write_1h
    )


def max_cost(*, input_tokens: int, max_tokens: int, price: Price, may_write_cache: bool) -> int:
    """Return the maximum cost of a request in micro-dollars, rounded up, from the estimate of its input."""
    input_price = max(price.input, price.cache_write_5m, price.cache_write_1h) if may_write_cache else price.input
    output = max_output(max_tokens, price)
    maximum = cost(Tokens(input=input_tokens, output=output), Price(input=input_price, output=price.output))
    return money.rounded_up(maximum)


def max_output(max_tokens: int, price: Price | None) -> int:
    """Return the maximum output tokens of a request: `max_tokens` of the client, capped by those of the model."""
    if price is None or price.max_output_tokens is None:
        return max_tokens
    return min(max_tokens, price.max_output_tokens)
