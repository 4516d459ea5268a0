"""
Model patterns: a model name, or a prefix that ends in `*`. Pure.

Allowlists, prices and routes share this syntax. `*` alone covers every model.
"""

from collections.abc import Collection, Iterable

WILDCARD = "*"
EVERY_MODEL = WILDCARD


def is_valid(pattern: str) -> bool:
    """Return whether `*` occurs at the end only."""
    return WILDCARD not in pattern[:-1]


def is_prefix(pattern: str) -> bool:
    """Return whether a pattern stands for all models that share a prefix, rather than for one name."""
    return pattern.endswith(WILDCARD)


def covers(pattern: str, model: str) -> bool:
    """Return whether a pattern matches a model name, or everything that another pattern matches."""
    return model.startswith(pattern[:-1]) if is_prefix(pattern) else model == pattern


def allows(allowlist: Collection[str], model: str) -> bool:
    """Return whether an allowlist covers a model name or a whole pattern. An empty allowlist allows every model."""
    return not allowlist or any(covers(pattern, model) for pattern in allowlist)


def covering(model: str) -> list[str]:
    """Return every pattern that covers a model name or a pattern, for databases, which compare texts only."""
    prefix = model.removesuffix(WILDCARD)
    return [model, *(f"{prefix[:length]}{WILDCARD}" for length in range(len(prefix) + 1))]


def most_specific(patterns: Collection[str], model: str) -> str | None:
    """Return the pattern that takes precedence for a model: its exact name, else the longest prefix, else None."""
    if model in patterns and not is_prefix(model):
        return model
    prefixes = (pattern for pattern in patterns if is_prefix(pattern) and covers(pattern, model))
    return max(prefixes, key=len, default=None)


def names(patterns: Iterable[str]) -> list[str]:
    """Return the patterns that are model names."""
    return [pattern for pattern in patterns if not is_prefix(pattern)]


def common(first: Collection[str], second: Collection[str]) -> list[str]:
    """Return the patterns that two allowlists both allow. An empty allowlist allows every model."""
    if not first:
        return list(second) or [EVERY_MODEL]
    return [
        *(pattern for pattern in first if allows(second, pattern)),
        *(pattern for pattern in second if pattern not in first and allows(first, pattern)),
    ]
