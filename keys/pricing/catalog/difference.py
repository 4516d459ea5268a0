"""The difference between candidates of a source and the current prices: proposals for review."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from keys.models import ModelPrice
from keys.pricing.catalog import additions
from keys.pricing.catalog.current import CurrentPrices, changes, content_of, digest, is_same
from keys.pricing.catalog.proposals import Addition, Confidence, Kind, Proposal, ProposedPrice


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A price of a source for a model at an upstream, before it is compared."""

    model: str
    upstream: str
    """Where the model is used. Empty: any upstream."""
    price: ProposedPrice
    source: str
    confidence: Confidence
    is_named_only: bool = False
    is_unpriced: bool = False
    valid_from: datetime | None = None
    known_since: str = ""
    notes: tuple[str, ...] = ()
    is_complete: bool = True
    additions: tuple[Addition, ...] = ()
    replaces_exactly: bool = False
    """Only a price of the same pattern and upstream is replaced, and taken as it is: a row of a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    proposals: tuple[Proposal, ...]
    unchanged: int


def difference(candidates: Iterable[Candidate], current: CurrentPrices) -> Difference:
    """Compare candidates with the current prices. Each pattern and upstream has one proposal per start."""
    found: list[Proposal] = []
    unchanged = 0
    for pattern, upstream, each in _targets(candidates, current):
        proposal = _proposal(each, pattern, upstream, current, number=len(found) + 1)
        if proposal is not None:
            found.append(proposal)
        if proposal is None or proposal.kind == "rules":
            unchanged += 1
    found.sort(key=lambda each: (not each.is_unpriced, each.model_pattern, each.upstream, each.valid_from is not None))
    return Difference(proposals=tuple(found), unchanged=unchanged)


Targeted = tuple[str, str, Candidate]


def _targets(candidates: Iterable[Candidate], current: CurrentPrices) -> list[Targeted]:
    """Return each candidate with the pattern and upstream of its price, without repetitions.

    One price for any upstream suffices where all upstreams of the model are endpoints of one provider.
    """
    groups: dict[tuple[str, str, datetime | None], list[Candidate]] = defaultdict(list)
    for each in candidates:
        row = None if each.replaces_exactly else current.covering(each.model, upstream=each.upstream)
        pair = (each.model, each.upstream if each.replaces_exactly else "")
        if row is not None and row.model_pattern == each.model:
            pair = (row.model_pattern, row.upstream)
        groups[*pair, each.valid_from].append(each)
    found: list[Targeted] = []
    for (pattern, upstream, _), group in groups.items():
        is_one = len({each.source for each in group}) == 1 and not any(each.is_named_only for each in group)
        if is_one or upstream or group[0].replaces_exactly:
            found.append((pattern, upstream, group[0]))
        else:
            found += [(pattern, each.upstream, each) for each in group]
    return found


def _proposal(each: Candidate, pattern: str, upstream: str, current: CurrentPrices, *, number: int) -> Proposal | None:
    """Return the proposal of a candidate, or None if there is nothing to change."""
    rows = current.of(pattern, upstream=upstream)
    row = _compared(each, rows, current)
    old = content_of(row) if row else None
    new = additions.carried_over(old, each.price) if old and not each.replaces_exactly else each.price
    rules = tuple(rule for rule in each.additions if not is_same(rule.added_to(new), new))
    kind: Kind = "new" if old is None else "changed"
    if old is not None and is_same(old, new):
        if not rules or each.valid_from is not None:
            return None
        kind = "rules"
    elif each.is_named_only and row is not None:
        return None  # a name alone is no reason to replace a price
    elif not each.replaces_exactly and _is_taken(each, rows):
        return None  # an admin has scheduled another price for this time
    return Proposal(
        id=str(number),
        kind=kind,
        model_pattern=pattern,
        upstream=upstream,
        price=new,
        source=each.source,
        confidence=each.confidence,
        is_named_only=each.is_named_only,
        is_unpriced=each.is_unpriced,
        is_selected=kind != "rules" and _is_certain(each, row) and not _is_taken(each, rows),
        valid_from=each.valid_from,
        known_since=each.known_since,
        replaces_since=row.valid_from if row else None,
        replaces=row.pk if row else None,
        base=digest([rows[0] if rows else None, row]),
        changes=() if kind == "rules" else changes(old, new),
        notes=(*each.notes, *_notes(each, row, rows, pattern)),
        additions=rules,
    )


def _compared(each: Candidate, rows: list[ModelPrice], current: CurrentPrices) -> ModelPrice | None:
    """Return the price that the candidate would replace: the one before its start, or the one that applies now."""
    if each.valid_from is not None or each.replaces_exactly:
        start = each.valid_from or current.at
        return next((row for row in rows if row.valid_from <= start), None)
    return current.covering(each.model, upstream=each.upstream)


def _is_certain(each: Candidate, row: ModelPrice | None) -> bool:
    """Return whether the proposal is selected when the review is shown."""
    is_ours = row is None or (bool(row.source) and row.source.partition(" ")[0] == each.source.partition(" ")[0])
    return (
        each.is_complete
        and not each.is_named_only
        and each.confidence != "prefix"
        and (is_ours or each.confidence == "file")
    )


def _is_taken(each: Candidate, rows: list[ModelPrice]) -> bool:
    """Return whether another price starts at the same time."""
    return each.valid_from is not None and any(row.valid_from == each.valid_from for row in rows)


def _notes(each: Candidate, row: ModelPrice | None, rows: list[ModelPrice], pattern: str) -> list[str]:
    notes = ["Cannot be applied: another price starts at the same time."] if _is_taken(each, rows) else []
    if each.is_named_only:
        notes.append("Matched by name: the upstream's URL is not that of the provider.")
    if row is not None and row.model_pattern != pattern:
        notes.append(f"Applies instead of the price of {row.model_pattern}.")
    return notes
