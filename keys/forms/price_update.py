"""Forms of the price update: the file to compare with, and the confirmed review."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from keys.forms.fields import check_year
from keys.pricing.catalog import proposals
from keys.pricing.catalog.price_csv import MAX_BYTES
from keys.pricing.catalog.proposals import PriceReview

MAX_AGE_S = 24 * 60 * 60
LOST = "The review is too old, or not of this user. Compare the prices again."


class PriceFileForm(forms.Form):
    """The uploaded file, cleaned to its content."""

    file = forms.FileField(label="CSV file", widget=forms.ClearableFileInput(attrs={"accept": ".csv,text/csv"}))

    def clean_file(self) -> bytes:
        file: UploadedFile = self.cleaned_data["file"]
        if (file.size or 0) > MAX_BYTES:
            raise ValidationError(f"The file is larger than {MAX_BYTES // 1024:,} KiB. Split it into several files.")
        return file.read(MAX_BYTES + 1)


class PriceReviewForm(forms.Form):
    """A signed review, and what the user has chosen of it. What is applied is what was shown."""

    review = forms.CharField(widget=forms.HiddenInput)
    valid_from = forms.DateTimeField(
        required=False,
        label="Valid from",
        widget=AdminTextInputWidget(attrs={"placeholder": "now"}),
        help_text="Such as 2026-12-01 00:00. Empty: now. Prices with a start of their own keep it.",
    )

    def __init__(self, data: Any = None, *, user: Any, review: PriceReview | None = None) -> None:
        super().__init__(data)
        self._salt = f"keys.price_update.{user.pk}"
        if review is not None:
            self.initial["review"] = signing.dumps(proposals.encode(review).decode(), salt=self._salt, compress=True)

    def clean_review(self) -> PriceReview:
        try:
            content = signing.loads(self.cleaned_data["review"], salt=self._salt, max_age=MAX_AGE_S)
            return proposals.decode(content.encode())
        except (signing.BadSignature, ValueError) as error:
            raise ValidationError(LOST) from error

    def clean_valid_from(self) -> datetime | None:
        moment: datetime | None = self.cleaned_data["valid_from"]
        if moment is not None:
            check_year(moment)
        return moment

    @property
    def signed_review(self) -> PriceReview | None:
        """The review, also if another field is invalid. None: it was not signed for this user, or is too old."""
        found: PriceReview | None = self.cleaned_data.get("review") if self.is_bound else None
        return found


def choice(review: PriceReview, selected: Iterable[str], rules: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the IDs of the chosen proposals with those of their rules. A rule is `ID of the proposal:ID`.

    A proposal of rules alone is chosen by any of its rules. Unknown IDs are ignored.
    """
    ids, ruled = set(selected), set(rules)
    chosen = {}
    for each in review.proposals:
        added = frozenset(rule.id for rule in each.additions if f"{each.id}:{rule.id}" in ruled)
        if added if each.kind == "rules" else each.id in ids:
            chosen[each.id] = added
    return chosen
