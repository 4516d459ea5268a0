"""Command that compares prices with a catalog or a CSV file, and applies the difference on confirmation."""

import io
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from keys.pricing.catalog import applying, csv_review, proposals, what_if
from keys.pricing.catalog.proposals import PriceReview, Problem, Proposal, WhatIf
from keys.pricing.catalog.used_models import UsedModel, UsedUpstream, used_models
from lib import model_patterns, money
from lib.arguments import moment
from messages_api.models import RouteTarget, Upstream

try:
    from keys.pricing.catalog import genai_review
except ModuleNotFoundError as missing:
    if missing.name != "genai_prices":
        raise
    genai_review = None  # type: ignore[assignment]

MAX_MODELS = 500
"""Models in use that are compared, unpriced ones first."""
INSTALL = ".venv/bin/pip install --require-hashes -r requirements/prices.txt"
HEADINGS = {"new": "New prices", "changed": "Changed prices", "rules": "Rules that the catalog does not have"}


class Command(BaseCommand):
    help = (
        "Compare the prices of the models in use with a catalog (genai-prices, offline) or a CSV file, and show the "
        "difference and what it would have cost. Changes nothing without --apply. Examples: manage.py sync_prices; "
        "manage.py sync_prices --csv prices.csv --apply --yes"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--csv", metavar="FILE", help="compare with this file instead; - for stdin")
        parser.add_argument("--model", action="append", metavar="NAME", help="only this model; may be repeated")
        parser.add_argument(
            "--add",
            action="append",
            default=[],
            metavar="RULE",
            help="add this rule where it is offered; may be repeated",
        )
        parser.add_argument("--valid-from", type=moment, metavar="TIME", help="start of applied prices (default: now)")
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--apply", action="store_true", help="apply the proposals marked with * after a confirmation")
        mode.add_argument("--json", action="store_true", help="write the difference to stdout as JSON")
        parser.add_argument("--yes", action="store_true", help="apply without a question")

    def handle(self, *, csv: str | None, apply: bool, yes: bool, valid_from: datetime | None, **options: Any) -> None:
        review = _review(csv)
        if options["json"]:
            self.stdout.write(proposals.encode(review).decode())
            return
        if review.problems:
            raise CommandError("\n".join(map(str, review.problems)))
        chosen = _chosen(review, options["model"], frozenset(options["add"]))
        for line in _lines(review, chosen):
            self.stdout.write(line)
        if apply and chosen:
            self._apply(review, chosen, valid_from=valid_from, is_confirmed=yes)

    def _apply(
        self, review: PriceReview, chosen: applying.Choice, *, valid_from: datetime | None, is_confirmed: bool
    ) -> None:
        count = f"{len(chosen)} {'price' if len(chosen) == 1 else 'prices'}"
        if not is_confirmed:
            if not sys.stdin.isatty():
                raise CommandError("Nothing was applied. Confirm with --yes.")
            if input(f"Apply {count}? [y/N] ").strip().lower() not in ("y", "yes"):
                raise CommandError("Nothing was applied.")
        try:
            applying.apply(review, chosen, valid_from=valid_from)
        except applying.NotApplied as error:
            raise CommandError(f"Nothing was applied.\n{error}") from error
        self.stdout.write(f"Applied {count}.")


def _review(csv: str | None) -> PriceReview:
    used = _used_models()
    if csv is not None:
        unpriced = [each for each in used if each.is_unpriced]
        return what_if.with_costs(_csv_review(csv, unpriced))
    if genai_review is None:
        problem = Problem(message=f"The price catalog is not installed: {INSTALL}")
        return PriceReview(source="genai-prices", prepared_at=timezone.now(), problems=(problem,))
    review = genai_review.review(used[:MAX_MODELS])
    return what_if.with_costs(msgspec.structs.replace(review, left_out=max(0, len(used) - MAX_MODELS)))


def _csv_review(name: str, unpriced: list[UsedModel]) -> PriceReview:
    if name == "-":
        return csv_review.review(getattr(sys.stdin, "buffer", io.BytesIO()), unpriced=unpriced)
    try:
        with Path(name).open("rb") as file:
            return csv_review.review(file, unpriced=unpriced)
    except OSError as error:
        raise CommandError(f"--csv: {error.strerror}: {name}") from error
    except ValueError as error:  # a name with a null byte
        raise CommandError(f"--csv: {error}") from error


def _used_models() -> list[UsedModel]:
    """Return the models of routes, of upstreams and of recent requests."""
    upstreams = {
        each.name: UsedUpstream(base_url=each.base_url, region=each.endpoint().profile.region)
        for each in Upstream.objects.all()
    }
    found = RouteTarget.objects.values_list("upstream__name", "model", "route__pattern")
    targets = [(upstream, model or pattern) for upstream, model, pattern in found]
    named = Upstream.objects.values_list("name", "model_names")
    targets += [(upstream, model) for upstream, models in named for model in models]
    exact = [(upstream, model) for upstream, model in targets if not model_patterns.is_prefix(model)]
    return used_models(exact, upstreams=upstreams)


def _chosen(review: PriceReview, models: list[str] | None, rules: frozenset[str]) -> applying.Choice:
    """Return the proposals that are selected, or those of the named models, with the rules to add."""
    chosen = {}
    for each in review.proposals:
        added = frozenset(rule.id for rule in each.additions if rule.id in rules)
        is_chosen = bool(added) if each.kind == "rules" else each.is_selected or models is not None
        if is_chosen and (models is None or each.model_pattern in models):
            chosen[each.id] = added
    return chosen


def _lines(review: PriceReview, chosen: applying.Choice) -> Iterator[str]:
    yield f"Source: {review.source}. Unchanged: {review.unchanged}."
    if review.left_out:
        yield f"{review.left_out:,} models in use were not compared: apply these prices first."
    for kind, heading in HEADINGS.items():
        found = [each for each in review.proposals if each.kind == kind]
        if found:
            yield f"\n{heading}"
        for each in found:
            yield from _lines_of(each, chosen.get(each.id))
    if review.gone:
        yield "\nNo longer in the source (these prices stay valid)"
        yield from (f"  {each.model_pattern}: {each.source}" for each in review.gone)
    if review.unmatched:
        yield "\nModels without a price and without a proposal"
        yield from (f"  {each.model} at {each.upstream}: {each.reason}" for each in review.unmatched)
    if not (review.proposals or review.gone or review.unmatched):
        yield "Nothing to do."


def _lines_of(each: Proposal, added: frozenset[str] | None) -> Iterator[str]:
    since = f", replaces the price since {each.replaces_since:%Y-%m-%d}" if each.replaces_since else ""
    start = f", valid from {each.valid_from:%Y-%m-%d}" if each.valid_from else ""
    unpriced = ", unpriced today" if each.is_unpriced else ""
    mark = " " if added is None else "*"
    yield f"{mark} {each.subject} ({each.source}, match: {each.confidence}{unpriced}{since}{start})"
    for change in each.changes:
        yield f"    {change.label}: {f'{change.old} → ' if change.old else ''}{change.new}"
    yield from (f"    {note}" for note in each.notes)
    for rule in each.additions:
        yield f"    {'+' if rule.id in (added or ()) else '?'} {rule.id}: {rule.label}. {rule.reason}"
    if each.what_if and each.what_if.requests:
        yield f"    Last 30 days, {each.what_if.requests:,} requests: {_costs(each.what_if)}"


def _costs(found: WhatIf) -> str:
    """Return the cost as recorded and with the proposed price, each with the number of unpriced requests."""
    sides = ((found.recorded_picos, found.unpriced_before), (found.proposed_picos, found.unpriced_after))
    return " → ".join(money.short(picos) + (f" ({count:,} unpriced)" if count else "") for picos, count in sides)
