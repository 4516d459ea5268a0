"""Page Prices > Update: compare prices with the catalog or a CSV file, review the difference, apply it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from keys.forms.price_update import LOST, PriceFileForm, PriceReviewForm, choice
from keys.pricing.catalog import applying
from keys.pricing.catalog.command import ReviewFailed, review_prices
from keys.pricing.catalog.price_csv import COLUMNS, EXAMPLE, MAX_BYTES, MAX_ROWS
from keys.pricing.catalog.proposals import Addition, Kind, PriceReview, Problem, Proposal
from keys.pricing.unpriced import unpriced_models
from lib.admin.render import admin_page

ADD = "keys.add_modelprice"
CONFIDENCE = {
    "exact": "same name",
    "dated": "same name without its date",
    "prefix": "similar name",
    "file": "row of the file",
}
SECTIONS: tuple[tuple[Kind, str, str], ...] = (
    ("new", "New prices", "Models in use that have no price."),
    ("changed", "Changed prices", "A new version starts; the current price stays valid until then."),
    (
        "rules",
        "Additional rules",
        "The catalog does not know these rules. Select those that apply.",
    ),
)
NOTHING_SELECTED = "Select at least one price or rule."


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposalRow:
    """A proposal as the page shows it."""

    proposal: Proposal
    is_selected: bool
    rules: list[tuple[Addition, bool]]
    """Each with whether it is selected."""

    @property
    def confidence(self) -> str:
        return CONFIDENCE[self.proposal.confidence]


@require_http_methods(["GET", "POST"])
@permission_required(ADD, raise_exception=True)
def price_update(request: HttpRequest) -> HttpResponse:
    """Show the sources to compare with, the review of one, or apply the confirmed review."""
    if "review" in request.POST:
        return _apply(request)
    source = request.POST.get("source")
    if source not in ("catalog", "file"):
        return _show_sources(request)
    csv = None
    if source == "file":
        form = PriceFileForm(request.POST, request.FILES)
        if not form.is_valid():
            return _show_sources(request, form=form)
        csv = form.cleaned_data["file"]
    try:
        review = review_prices(csv)
    except ReviewFailed as error:
        return _show_sources(request, problems=[Problem(message=str(error))])
    if review.problems:
        return _show_sources(request, problems=review.problems)
    return _show_review(request, review, PriceReviewForm(user=request.user, review=review))


def _apply(request: HttpRequest) -> HttpResponse:
    form = PriceReviewForm(request.POST, user=request.user)
    is_valid, review = form.is_valid(), form.signed_review
    if review is None:
        return _show_sources(request, problems=[Problem(message=LOST)])
    chosen = choice(review, request.POST.getlist("proposal"), request.POST.getlist("rule"))
    if not is_valid or not chosen:
        problems = [] if chosen else [Problem(message=NOTHING_SELECTED)]
        return _show_review(request, review, form, chosen=chosen, problems=problems)
    try:
        added = applying.apply(review, chosen, valid_from=form.cleaned_data["valid_from"])
    except applying.ReviewOutdated as error:
        return _show_sources(request, problems=error.problems)
    except applying.NotApplied as error:
        return _show_review(request, review, form, chosen=chosen, problems=error.problems)
    messages.success(request, f"{len(added)} price{'' if len(added) == 1 else 's'} added.")
    return HttpResponseRedirect(reverse("admin:keys_modelprice_changelist"))


def _show_sources(
    request: HttpRequest, *, form: PriceFileForm | None = None, problems: Collection[Problem] = ()
) -> HttpResponse:
    context = {
        "title": "Update prices",
        "form": form or PriceFileForm(),
        "problems": problems,
        "unpriced": unpriced_models(),
        "columns": COLUMNS,
        "example": EXAMPLE,
        "max_rows": MAX_ROWS,
        "max_kib": MAX_BYTES // 1024,
    }
    return admin_page(request, "keys/prices/update.html", context)


def _show_review(
    request: HttpRequest,
    review: PriceReview,
    form: PriceReviewForm,
    *,
    chosen: Mapping[str, frozenset[str]] | None = None,
    problems: Collection[Problem] = (),
) -> HttpResponse:
    sections = [
        (heading, description, [_row(each, chosen) for each in review.of_kind(kind)])
        for kind, heading, description in SECTIONS
    ]
    context: dict[str, Any] = {
        "title": "Update prices: review",
        "review": review,
        "sections": [section for section in sections if section[2]],
        "form": form,
        "problems": problems,
    }
    return admin_page(request, "keys/prices/review.html", context)


def _row(each: Proposal, chosen: Mapping[str, frozenset[str]] | None) -> ProposalRow:
    """Return the proposal with what is selected: at first what is certain, then what the user has chosen."""
    is_selected = each.is_selected if chosen is None else each.id in chosen
    added = (chosen or {}).get(each.id, frozenset())
    return ProposalRow(
        proposal=each, is_selected=is_selected, rules=[(rule, rule.id in added) for rule in each.additions]
    )
