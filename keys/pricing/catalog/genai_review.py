"""Review of the current prices against the catalog of genai-prices. Offline."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time

from django.utils import timezone

from keys.pricing.catalog import genai_matching
from keys.pricing.catalog.additions import additions_for
from keys.pricing.catalog.current import CurrentPrices
from keys.pricing.catalog.difference import Candidate, difference
from keys.pricing.catalog.genai_mapping import CatalogPrice, catalog_prices
from keys.pricing.catalog.genai_matching import SOURCE, CatalogMatch
from keys.pricing.catalog.proposals import GonePrice, PriceReview, UnmatchedModel
from keys.pricing.catalog.used_models import UsedModel
from lib import model_patterns

ORIGIN = "genai-prices"


def review(used: Iterable[UsedModel]) -> PriceReview:
    """Compare the prices of the models in use, and those that came from the catalog, with the catalog."""
    now = timezone.now()
    current = CurrentPrices(at=now)
    gone, priced = _priced_by_catalog(current)
    models = {(each.upstream, each.model): each for each in [*used, *priced]}
    candidates: list[Candidate] = []
    unmatched: list[UnmatchedModel] = []
    regions = _regions(models.values())
    for each in models.values():
        match = _match(each, current)
        found = list(_candidates(each, match, regions[each.model], at=now)) if match else []
        candidates += found
        if not found and current.covering(each.model, upstream=each.upstream) is None:
            unmatched.append(UnmatchedModel(model=each.model, upstream=each.upstream, reason=_reason(match, at=now)))
    result = difference(candidates, current)
    return PriceReview(
        source=SOURCE,
        prepared_at=now,
        proposals=result.proposals,
        unchanged=result.unchanged,
        unmatched=tuple(unmatched),
        gone=tuple(gone),
    )


def _priced_by_catalog(current: CurrentPrices) -> tuple[list[GonePrice], list[UsedModel]]:
    """Return the prices from the catalog that it no longer has, and the models of the others."""
    gone, kept = [], []
    for row in current.valid():
        if not row.source.startswith(ORIGIN):
            continue
        if genai_matching.get(_catalog_id(row.source)) is None:
            gone.append(GonePrice(id=row.pk, model_pattern=row.model_pattern, upstream=row.upstream, source=row.source))
        elif not model_patterns.is_prefix(row.model_pattern):
            kept.append(UsedModel(model=row.model_pattern, upstream=row.upstream))
    return gone, kept


def _match(used: UsedModel, current: CurrentPrices) -> CatalogMatch | None:
    """Return the model of the upstream's provider, else that of the current price's source, else one by its name."""
    match = genai_matching.find(used.model, base_url=used.base_url)
    if match is not None and not match.is_named_only and match.confidence != "prefix":
        return match
    return _by_source(used, current) or match


def _by_source(used: UsedModel, current: CurrentPrices) -> CatalogMatch | None:
    """Return the model of the catalog that the current price names as its source."""
    row = current.covering(used.model, upstream=used.upstream)
    is_named = row is not None and row.model_pattern == used.model and row.source.startswith(ORIGIN)
    return genai_matching.get(_catalog_id(row.source)) if row is not None and is_named else None


def _catalog_id(source: str) -> str:
    return source.partition(": ")[2]


def _regions(models: Iterable[UsedModel]) -> dict[str, frozenset[str]]:
    """Return the regions of the regional endpoints by model: of their profiles, or of their base URLs."""
    found: dict[str, set[str]] = defaultdict(set)
    for each in models:
        if region := each.region or genai_matching.region_of(each.base_url):
            found[each.model].add(region)
    return defaultdict(frozenset, {model: frozenset(regions) for model, regions in found.items()})


def _candidates(used: UsedModel, match: CatalogMatch, regions: frozenset[str], *, at: datetime) -> Iterator[Candidate]:
    """Yield the price that is valid now and those that begin later."""
    for each in catalog_prices(match.model, at=at):
        if each.price is None:
            continue
        is_later = each.since is not None and each.since > at.date()
        rules = additions_for(each.price, provider=match.provider.id, model=match.model.id, regions=regions)
        yield Candidate(
            model=used.model,
            upstream=used.upstream,
            price=each.price,
            source=f"{SOURCE}: {match.catalog_id}",
            confidence=match.confidence,
            is_named_only=match.is_named_only,
            is_unpriced=used.is_unpriced,
            valid_from=_midnight(each) if is_later else None,
            known_since="" if each.since is None else each.since.isoformat(),
            notes=each.notes,
            is_complete=each.is_complete,
            additions=tuple(rules),
        )


def _midnight(price: CatalogPrice) -> datetime | None:
    return None if price.since is None else datetime.combine(price.since, time(), tzinfo=UTC)


def _reason(match: CatalogMatch | None, *, at: datetime) -> str:
    if match is None:
        return "The catalog does not have this model."
    notes = [note for each in catalog_prices(match.model, at=at) if each.price is None for note in each.notes]
    return f"{match.catalog_id}: {' '.join(notes)}"
