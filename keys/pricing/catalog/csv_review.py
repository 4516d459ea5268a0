"""Review of the current prices against the rows of a CSV file."""

from typing import IO

from django.utils import timezone

from keys.pricing.catalog.current import CurrentPrices, content_of
from keys.pricing.catalog.difference import Candidate, difference
from keys.pricing.catalog.price_csv import PriceRow, UnreadablePrices, read
from keys.pricing.catalog.proposals import GonePrice, PriceReview
from keys.pricing.catalog.used_models import UsedModel

SOURCE = "CSV file"


def review(file: IO[bytes], *, unpriced: list[UsedModel]) -> PriceReview:
    """Compare each row with the price of the same pattern and upstream. With faults, the review has only these."""
    now = timezone.now()
    try:
        rows = read(file)
    except UnreadablePrices as error:
        return PriceReview(source=SOURCE, prepared_at=now, problems=tuple(error.problems))
    current = CurrentPrices(at=now)
    names = {each.model for each in unpriced}
    result = difference([_candidate(row, current, is_unpriced=row.model in names) for row in rows], current)
    pairs = {(row.model, row.upstream) for row in rows}
    sources = {row.source for row in rows}
    gone = [
        GonePrice(id=each.pk, model_pattern=each.model_pattern, upstream=each.upstream, source=each.source)
        for each in current.valid()
        if each.source in sources and (each.model_pattern, each.upstream) not in pairs
    ]
    return PriceReview(
        source=SOURCE,
        prepared_at=now,
        proposals=result.proposals,
        unchanged=result.unchanged,
        gone=tuple(gone),
    )


def _candidate(row: PriceRow, current: CurrentPrices, *, is_unpriced: bool) -> Candidate:
    start = row.valid_from or current.at
    earlier = [each for each in current.of(row.model, upstream=row.upstream) if each.valid_from <= start]
    return Candidate(
        model=row.model,
        upstream=row.upstream,
        price=row.price(content_of(earlier[0]) if earlier else None),
        source=row.source,
        confidence="file",
        is_unpriced=is_unpriced,
        valid_from=row.valid_from,
        replaces_exactly=True,
    )
