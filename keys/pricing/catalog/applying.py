"""Application of reviewed proposals: all of them or none, and only if no price was changed since the review."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from keys.models import ModelPrice
from keys.models.price_problems import raise_problems
from keys.pricing.catalog.current import digest, rows
from keys.pricing.catalog.proposals import LABELS, OTHER_LABELS, PriceReview, Problem, Proposal
from keys.pricing.catalog.rows import unsaved

Choice = Mapping[str, frozenset[str]]
"""IDs of the chosen proposals, each with the IDs of its chosen additions."""
COLUMN_LABELS = {**LABELS, **OTHER_LABELS}


class NotApplied(Exception):
    """Nothing was applied. The problems name the models and fields at fault."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))


class ReviewOutdated(NotApplied):
    """Prices were changed after they were reviewed, for example by another admin or by the same form."""


def apply(review: PriceReview, chosen: Choice, *, valid_from: datetime | None = None) -> list[ModelPrice]:
    """Add the chosen prices in one transaction, with their audit entries. Raise NotApplied.

    Prices without a start of their own are valid from the given time, or from now.
    """
    start = valid_from or timezone.now()
    proposals = [each for each in review.proposals if each.id in chosen]
    with transaction.atomic():
        _lock()
        if outdated := [each for each in proposals if _state(each) != each.base]:
            raise ReviewOutdated(_problem(each, "The price was changed after it was reviewed.") for each in outdated)
        added = []
        problems: list[Problem] = []
        for each in proposals:
            try:
                added.append(_add(each, chosen[each.id], start=each.valid_from or start))
            except ValidationError as error:
                problems += _problems(each, error)
        if problems:
            raise NotApplied(problems)
        return added


def _lock() -> None:
    """Let one transaction at a time change prices. Requests, which read them, do not wait."""
    # Transactions of SQLite write one at a time.
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f'LOCK TABLE "{ModelPrice._meta.db_table}" IN SHARE ROW EXCLUSIVE MODE')


def _state(proposal: Proposal) -> str:
    """Return the digest of the prices that the proposal was compared with, as they are now."""
    same = rows().filter(model_pattern=proposal.model_pattern, upstream=proposal.upstream)
    replaced = rows().filter(pk=proposal.replaces) if proposal.replaces is not None else rows().none()
    return digest([same.order_by("-valid_from").first(), replaced.first()])


def _add(proposal: Proposal, addition_ids: frozenset[str], *, start: datetime) -> ModelPrice:
    """Validate and save a price with its modifiers. Raise ValidationError."""
    if proposal.replaces_since is not None and start <= proposal.replaces_since:
        replaced = timezone.localtime(proposal.replaces_since)
        message = f"It must start after the price that it replaces ({replaced:%Y-%m-%d %H:%M})."
        raise ValidationError({"valid_from": message})
    row, modifiers = unsaved(
        proposal.priced_with(addition_ids),
        pattern=proposal.model_pattern,
        upstream=proposal.upstream,
        valid_from=start,
        source=proposal.source,
    )
    row.full_clean()
    row.save()
    for modifier in modifiers:
        modifier.price = row  # which has an ID now
        modifier.full_clean()
        modifier.save()
    raise_problems(row.problems(modifiers))
    return row


def _problems(proposal: Proposal, error: ValidationError) -> list[Problem]:
    by_field = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
    return [
        _problem(proposal, message, field=COLUMN_LABELS.get(name, name.replace("_", " ").strip()))
        for name, messages in by_field.items()
        for message in messages
    ]


def _problem(proposal: Proposal, message: str, *, field: str = "") -> Problem:
    subject = proposal.subject if field in ("", "all") else f"{proposal.subject}, {field}"
    return Problem(field=subject, message=message)
