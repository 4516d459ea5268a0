"""Values that filters can have: what exists in the interval of a question."""

from dataclasses import replace

from keys.explore import dimensions, records, sources
from keys.explore.dimensions import TAG_PREFIX, UsageDimension
from keys.explore.question import Filter, Question
from lib.consistent_reads import consistent_reads
from lib.query_limit import limited

MOST = 200
RECENT = 1000
"""Records that are searched for values that rollups do not have."""


def options(question: Question, dimension: UsageDimension) -> list[tuple[str, str]]:
    """Return the values in the question's interval and scope, with labels. Raise QueryTimeout for too many requests."""
    unfiltered = replace(question, filters=(), groups=(dimension.name,))
    with limited(), consistent_reads():
        if dimension.of_hours is None:
            rows = records.matching(unfiltered).order_by("-created_at").annotate(found=dimension.of_records)
            stored = set(rows.values_list("found", flat=True)[:RECENT])
        else:
            parts = sources.parts(unfiltered, question.interval, from_records=False)
            stored = {value for (value,) in sources.sums(parts, ("rejected",), groups=unfiltered.groups)}
        texts = dimension.texts(stored)
        labels = dimension.labels(list(texts.values()), question.teams)
    return sorted(labels.items(), key=lambda pair: pair[1].casefold())[:MOST]


def tags(question: Question) -> list[str]:
    """Return the dimensions of the tags that the newest records of the question's interval have."""
    rows = records.matching(replace(question, filters=())).order_by("-created_at").values_list("tags", flat=True)
    with limited(), consistent_reads():
        names = {name for found in rows[:RECENT] for name in found or ()}
    return sorted(f"{TAG_PREFIX}{name}" for name in names)


def chosen(question: Question, name: str, text: str, *, is_excluded: bool) -> Question | None:
    """Return the question with a value added to its filters, given as in URLs or by its label; None if it has none."""
    dimension = dimensions.find(name)
    if dimension is None:
        return None
    text = text.strip()
    known = dict(options(question, dimension))
    by_label = next((value for value, label in known.items() if label.casefold() == text.casefold()), None)
    value = text if text in known else by_label if by_label is not None else text
    if not dimension.is_possible(value):
        return None
    for each in question.filters:
        if (each.dimension, each.is_excluded) == (name, is_excluded):
            added = replace(each, values=tuple(dict.fromkeys((*each.values, value))))
            return replace(question, filters=tuple(added if other == each else other for other in question.filters))
    added = Filter(dimension=name, values=(value,), is_excluded=is_excluded)
    return replace(question, filters=(*question.filters, added))
