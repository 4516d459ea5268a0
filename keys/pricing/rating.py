"""Tokens and a price to micro-dollars: pure, in whole numbers, rounded once for each call."""

from dataclasses import dataclass

PER_TOKENS = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """Micro-dollars per million tokens of each kind. All are 0 for a model that is free."""

    id: int | None = None
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    max_output_tokens: int | None = None
    """The most that an answer can have, where that is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """The tokens of one call. Input is without what was read from a cache or written to one."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output + self.cache_read + self.cache_write_5m + self.cache_write_1h


def cost(tokens: Tokens, price: Price) -> int:
    """What a call costs, in micro-dollars, half of one rounded up."""
    millionths = (
        tokens.input * price.input
        + tokens.output * price.output
        + tokens.cache_read * price.cache_read
        + tokens.cache_write_5m * price.cache_write_5m
        + tokens.cache_write_1h * price.cache_write_1h
    )
    return rounded(millionths)


def rounded(millionths: int) -> int:
    """Micro-dollars of millionths of them, half of one rounded up."""
    return (2 * millionths + PER_TOKENS) // (2 * PER_TOKENS)


def most(*, input_tokens: int, max_tokens: int, price: Price, may_write_cache: bool) -> int:
    """The most that a call can cost, in micro-dollars, by the estimate of its input."""
    dearest = max(price.input, price.cache_write_5m, price.cache_write_1h) if may_write_cache else price.input
    output = longest_answer(max_tokens, price)
    return cost(Tokens(input=input_tokens, output=output), Price(input=dearest, output=price.output))


def longest_answer(max_tokens: int, price: Price | None) -> int:
    """How many tokens the answer can have: as many as the caller allows, and not more than the model can give."""
    if price is None or price.max_output_tokens is None:
        return max_tokens
    return min(max_tokens, price.max_output_tokens)
