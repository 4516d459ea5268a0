"""Model allowlists in the database: which keys may use a model, as `authorization.allows_model` decides for one key."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import BooleanField, F, Func, Q

from lib import model_patterns

Allowlists = tuple[list[str], list[str]]
"""The allowlist of a key and that of its team. An empty one allows every model."""


def may_use(model: str) -> Q:
    """Return a condition on keys whose own allowlist and team allowlist allow the model.

    `model` may be a pattern that ends in `*`: then everything that it matches must be allowed.
    """
    patterns = model_patterns.covering(model)
    return (Q(allowed_models=[]) | Q(_ContainsAny("allowed_models", patterns))) & (
        Q(team=None) | Q(team__allowed_models=[]) | Q(_ContainsAny("team__allowed_models", patterns))
    )


def allows(allowlists: Allowlists, model: str) -> bool:
    """Return whether both allowlists allow a model or a pattern."""
    return all(model_patterns.allows(names, model) for names in allowlists)


def most_frequent_names(allowlists: Iterable[tuple[Allowlists, int]], *, limit: int) -> list[str]:
    """Return the names that are in most allowlists, each pair of lists with its number of keys."""
    named: Counter[str] = Counter()
    for (own, of_team), count in allowlists:
        named.update(dict.fromkeys([*own, *of_team], count))
    return [name for name, _ in named.most_common(limit)]


class _ContainsAny(Func):
    """Whether a JSON list contains any of the texts."""

    output_field = BooleanField()

    def __init__(self, column: str, texts: Sequence[str]) -> None:
        super().__init__(F(column))
        self.texts = list(texts)

    def __repr__(self) -> str:
        return f"_ContainsAny({self.texts[0]!r})"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        column, params = compiler.compile(self.source_expressions[0])
        marks = ", ".join("%s" for _ in self.texts)
        return f"EXISTS (SELECT 1 FROM json_each({column}) AS named WHERE named.value IN ({marks}))", [
            *params,
            *self.texts,
        ]

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        column, params = compiler.compile(self.source_expressions[0])
        return f"jsonb_exists_any({column}, %s::text[])", [*params, self.texts]
