"""The usage records that a question counts."""

from typing import Any

from django.db.models import Q, QuerySet

from keys.explore import dimensions
from keys.explore.question import Question
from keys.models import UsageRecord


def matching(question: Question) -> QuerySet[UsageRecord]:
    """Return the records of the question's interval, filters and scope, in no order."""
    interval = question.interval
    rows = UsageRecord.objects.filter(created_at__gte=interval.begin, created_at__lt=interval.end)
    return rows.filter(conditions(question, UsageRecord)).order_by()


def conditions(question: Question, model: type[Any], prefix: str = "") -> Q:
    """Return the question's filters and scope as a condition on rows of a table: records, or a table of rollups.

    `prefix` is the path from other rows to those of the table.
    """
    found = Q()
    for each in question.filters:
        condition = dimensions.known(each.dimension).condition(each.values, model, prefix)
        found &= ~condition if each.is_excluded else condition
    if question.teams is not None:
        found &= Q(**{f"{prefix}team_id__in": question.teams})
    return found
