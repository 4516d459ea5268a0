"""Causes of tokens that only the bill or only the records have: refusals, failed attempts, missing records."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations
from typing import Any

from keys.bills import causes
from keys.bills.causes import Item, described
from keys.bills.cells import Cell, Tokens, canonical, covers, is_negative, is_positive, size, total
from keys.bills.lines import Kind
from keys.bills.own import begin_of, is_unbilled_refusal, received_on, tokens_of
from keys.bills.token_causes import NEAR_MIDNIGHT, PROMPT_KINDS, Matching, is_whole

ESTIMATES = ("estimated", "partial")
MAX_COMBINED = 12
"""Requests of which any combination may be on the bill. Of more, all, or one of them."""
ESTIMATE_WITHIN = 2
"""How far the input of an attempt may be from its estimate."""


def refusals(matching: Matching) -> None:
    """Explain tokens of refusals that are not billed by the known rules, and are on the bill."""
    for cell, refused in matching.own.refused.items():
        if cell not in matching.rest:
            continue
        rows = matching.records(cell, refused_before_output=True, iterations__isnull=True)
        whole = [(row["id"], tokens_of(row)) for row in rows if is_unbilled_refusal(row, cell.day)]
        chosen = _on_bill(matching.rest[cell], refused.tokens, whole + refused.declined)
        if chosen is not None:
            tokens, ids = chosen
            matching.take(cell, tokens)
            _add(matching, causes.REFUSAL, cell, tokens, ids, "declined before output, and billed")


def _on_bill(
    rest: Mapping[str, int], together: Mapping[str, int], each: list[tuple[str, Tokens]]
) -> tuple[Tokens, list[str]] | None:
    """Return the requests that are exactly what the bill has too much, or None.

    A difference that merely exceeds them has another cause: a missing record is not named a refusal.
    """
    if not rest:
        return None
    if dict(rest) == dict(together):
        return dict(together), [id for id, _ in each]
    sizes = range(1, len(each) if len(each) <= MAX_COMBINED else 2)
    for chosen in (some for count in sizes for some in combinations(each, count)):
        if total(tokens for _, tokens in chosen) == rest:
            return dict(rest), [id for id, _ in chosen]
    return None


# ---- Failed attempts.


@dataclass(frozen=True, slots=True)
class _FailedAttempt:
    record: str
    model: str
    tokens: Tokens
    is_estimated: bool
    """The upstream reported nothing: the tokens are an estimate of the input."""


def failed_attempts(matching: Matching) -> None:
    """Explain tokens of attempts that failed for the gateway and that the provider served and billed.

    The response of the request may have come from another upstream.
    """
    by_day: dict[date, list[_FailedAttempt]] = {}
    for cell in [cell for cell, tokens in matching.rest.items() if is_positive(tokens)]:
        if cell.day not in by_day:
            by_day[cell.day] = list(_attempts_of(matching.upstream, cell.day))
        attempts = [each for each in by_day[cell.day] if each.model == cell.model]
        chosen = _billed_attempts(matching.rest[cell], attempts)
        if chosen:
            tokens, ids = dict(matching.rest[cell]), list(dict.fromkeys(each.record for each in chosen))
            matching.take(cell, tokens)
            _add(matching, causes.FAILED_ATTEMPT, cell, tokens, ids, "an attempt before the response, billed")
            by_day[cell.day] = [each for each in by_day[cell.day] if each not in chosen]


def _billed_attempts(rest: Tokens, attempts: list[_FailedAttempt]) -> list[_FailedAttempt]:
    """Return the attempts that are what the bill has too much: by reported tokens, else by the estimated input."""
    reported = [(str(number), each.tokens) for number, each in enumerate(attempts)]
    if exact := _on_bill(rest, total(tokens for _, tokens in reported), reported):
        return [attempts[int(number)] for number in exact[1]]
    estimated = [each for each in attempts if each.is_estimated] if is_whole(rest) else []
    for some in (estimated, *([each] for each in estimated)):
        expected = sum(size(each.tokens) for each in some)
        if expected <= ESTIMATE_WITHIN * _prompt(rest) and _prompt(rest) <= ESTIMATE_WITHIN * expected:
            return list(some)
    return []


def _prompt(tokens: Mapping[str, int]) -> int:
    return sum(count for kind, count in tokens.items() if kind in PROMPT_KINDS)


def _attempts_of(upstream: str, day: date) -> Iterator[_FailedAttempt]:
    rows = received_on(day).filter(attempts__1__isnull=False).values("id", "attempts")
    for row in rows.iterator():
        for attempt in row["attempts"][:-1]:
            if not isinstance(attempt, dict) or attempt.get("upstream") != upstream:
                continue
            if tokens := _tokens_of_attempt(attempt):
                model = canonical(str(attempt.get("model") or ""))
                yield _FailedAttempt(row["id"], model, tokens, attempt.get("usage_source") in ESTIMATES)


def _tokens_of_attempt(attempt: Mapping[str, Any]) -> Tokens:
    names = {"input_tokens": Kind.INPUT, "output_tokens": Kind.OUTPUT, "cache_read_tokens": Kind.CACHE_READ}
    names["cache_write_tokens"] = Kind.CACHE_WRITE_5M
    return {kind: attempt[name] for name, kind in names.items() if type(attempt.get(name)) is int and attempt[name]}


# ---- Estimates.


def estimates(matching: Matching) -> None:
    """Explain differences of cells whose records are estimates: the client disconnected, or nothing was reported."""
    for cell, tokens in list(matching.rest.items()):
        if cell not in matching.own.cells:
            continue
        rows = matching.records(cell, usage_source__in=ESTIMATES)
        if not rows:
            continue
        recorded = total(tokens_of(row) for row in rows)
        is_whole_request = is_positive(tokens) and set(tokens) != {Kind.OUTPUT}
        lacking = {kind: -count for kind, count in tokens.items() if count < 0}
        is_within = covers(recorded, lacking)  # no estimate was too high by more than itself
        if is_within and (not is_whole_request or size(tokens) <= size(recorded) // 2):
            matching.take(cell, tokens)
            _add(matching, causes.ESTIMATED, cell, tokens, _ids(rows), "usage estimated by the gateway")


# ---- Requests that are on one side only.


def late_data(matching: Matching) -> None:
    """Explain what the last day of a bill lacks, and days that have records and no line: its data was not complete."""
    with_lines = {each.cell.day for each in matching.billed.tokens} or {each.day for each in matching.billed.amounts}
    for cell, tokens in list(matching.rest.items()):
        if not is_negative(tokens) or (cell.day != max(matching.days) and cell.day in with_lines):
            continue
        lacking = {kind: -count for kind, count in tokens.items()}
        end = begin_of(cell.day + timedelta(days=1))
        crossing = [row for row in matching.with_tokens(cell, lacking) if row["settled_at"] >= end - NEAR_MIDNIGHT]
        cause = causes.DAY_BOUNDARY if crossing else causes.LATE_DATA
        text = "billed on the next day, after this bill" if crossing else "not on the bill yet; import a newer export"
        matching.take(cell, tokens)
        _add(matching, cause, cell, tokens, _ids(crossing[:1] or matching.records(cell)), text)


def missing_records(matching: Matching) -> None:
    """Explain what has input and output and no record: whole requests."""
    for cell, tokens in list(matching.rest.items()):
        if is_whole(tokens):
            others = {own.model for own in matching.own.cells if own.day == cell.day}
            is_part = bool(others) and all(own.model != cell.model for own in matching.own.cells)
            cause = causes.OTHER_MODEL if is_part else causes.MISSING_RECORD
            text = "no request recorded with this model: an advisor, compaction or fallback"
            text = text if is_part else "no usage record"
            matching.take(cell, tokens)
            _add(matching, cause, cell, tokens, [], text)


def _add(matching: Matching, cause: str, cell: Cell, tokens: Tokens, ids: list[str], text: str) -> None:
    if matching.prices.parts(tokens, cell) is None:
        text += "; the gateway has no price for them"
    matching.items.append(
        Item(
            cause,
            f"{cell.model}: {described(tokens)}: {text}",
            matching.parts(tokens, cell),
            records=ids[: causes.MAX_EVIDENCE],
            lines=matching.lines(cell),
            if_long=matching.if_long(tokens, cell),
        )
    )


def _ids(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]
