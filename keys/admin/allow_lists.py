"""Which keys may call a model: what `access.may_use` says of one key, asked of the database for all of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import BooleanField, F, Func, Q

from lib import model_patterns

Lists = tuple[list[str], list[str]]
"""The allow-list of a key, and that of its team. An empty one allows every model."""


def may_call(model: str) -> Q:
    """For which keys the allow-list, if they have one, names the model, and so does their team's.

    `model` may be a pattern that ends in `*`: then all that it matches must be allowed.
    """
    patterns = model_patterns.covering(model)
    return (Q(allowed_models=[]) | Q(_NamesOneOf("allowed_models", patterns))) & (
        Q(team=None) | Q(team__allowed_models=[]) | Q(_NamesOneOf("team__allowed_models", patterns))
    )


def allows(lists: Lists, model: str) -> bool:
    """Whether both lists allow a model, or a pattern."""
    patterns = set(model_patterns.covering(model))
    return all(not names or not patterns.isdisjoint(names) for names in lists)


def most_named(lists: Iterable[tuple[Lists, int]], *, limit: int) -> list[str]:
    """The names that stand in most lists, each list with the number of keys that have it."""
    named: Counter[str] = Counter()
    for (own, of_team), count in lists:
        named.update(dict.fromkeys([*own, *of_team], count))
    return [name for name, _ in named.most_common(limit)]


class _NamesOneOf(Func):
    """Whether a list in JSON has one of some texts in it."""

    output_field = BooleanField()

    def __init__(self, column: str, texts: Sequence[str]) -> None:
        super().__init__(F(column))
        self.texts = list(texts)

    def __repr__(self) -> str:
        return f"_NamesOneOf({self.texts[0]!r})"

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
