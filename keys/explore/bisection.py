"""Database expression that finds the bucket of a value by bisection."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import DateTimeField, Expression, F, IntegerField


class IndexOf(Expression):
    """The index of the last of the bounds that a column is not less than; 0 below all of them.

    A database function for dates would use the time zone tables of the database, and on SQLite call Python for each
    row. Nested `Case` expressions take Django a second to compile for the days of a year.
    """

    def __init__(self, column: str, bounds: Sequence[Any]) -> None:
        super().__init__(output_field=IntegerField())
        self.column: Any = F(column)
        self.bounds = tuple(bounds)

    def get_source_expressions(self) -> list[Any]:
        return [self.column]

    def set_source_expressions(self, exprs: Sequence[Any]) -> None:
        [self.column] = exprs

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        column, params = compiler.compile(self.column)
        assert not params  # of a plain column
        is_time = isinstance(self.column.output_field, DateTimeField)
        adapt = connection.ops.adapt_datetimefield_value if is_time else int
        texts, values = [], []
        for text, value in _nested(column, 0, len(self.bounds)):
            texts.append(text)
            if value is not None:
                values.append(adapt(self.bounds[value]))
        return "".join(texts), values

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        column, params = compiler.compile(self.column)
        kind = "timestamptz" if isinstance(self.column.output_field, DateTimeField) else "int"
        further = self.bounds[1:]
        marks = ", ".join(["%s"] * len(further))
        return f"width_bucket({column}, ARRAY[{marks}]::{kind}[])", [*params, *further]


def _nested(column: str, first: int, end: int) -> Iterator[tuple[str, int | None]]:
    """Yield the parts of nested CASE expressions, each with the index of the bound that is its parameter."""
    if end - first == 1:
        yield str(first), None
        return
    middle = (first + end) // 2
    yield f"CASE WHEN {column} < %s THEN ", middle
    yield from _nested(column, first, middle)
    yield " ELSE ", None
    yield from _nested(column, middle, end)
    yield " END", None
