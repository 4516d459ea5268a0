"""Refusals before any output: which categories the provider bills, by date. Pure.

A refusal after output began is billed like any response. Source: platform.claude.com, "How refusals are billed" and the
release notes of 2026-09-24. It says that this may change: add an entry with the date.
"""

from datetime import UTC, datetime

UNCATEGORIZED = "uncategorized"
"""A refusal whose category is null."""
CATEGORIES = frozenset(["cyber", "general_harms", UNCATEGORIZED, "bio", "frontier_llm", "reasoning_extraction"])
BILLED_SINCE: list[tuple[datetime, frozenset[str]]] = [
    (datetime(2026, 9, 24, tzinfo=UTC), frozenset(["bio", "frontier_llm", "reasoning_extraction"])),
]
"""The categories that are billed before any output, from each date until the next. Before the first, none was."""


class UnknownCategory(Exception):
    """A category that is not listed: whether it is billed is unknown."""


def is_billed(category: str, *, at: datetime) -> bool:
    """Return whether a refusal before any output is billed. Raise UnknownCategory."""
    if category not in CATEGORIES:
        raise UnknownCategory(category)
    billed = [categories for since, categories in BILLED_SINCE if since <= at]
    return bool(billed) and category in billed[-1]
