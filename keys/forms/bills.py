"""Forms of bills: import of a file, the provider's keys that are the gateway's, and the month to sign off."""

from datetime import date
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from keys.bills.lines import BillError
from keys.bills.other_exports import parse_mapping
from lib.admin.upload_limit import MAX_UPLOAD_BYTES

MAX_KEYS = 200
TOO_LARGE = (
    f"Choose a file of at most {MAX_UPLOAD_BYTES >> 20} MiB. Import a larger one with manage.py reconcile, "
    "which has no limit."
)


class ImportForm(forms.Form):
    """A bill and the upstream that it is of. `columns` is cleaned to the columns by field."""

    file = forms.FileField(
        label="File",
        error_messages={"required": TOO_LARGE},
        widget=forms.ClearableFileInput(attrs={"accept": ".csv,.json,.zip"}),
    )
    upstream = forms.CharField(
        label="Upstream", max_length=64, widget=forms.TextInput(attrs={"list": "upstreams", "autocomplete": "off"})
    )
    columns = forms.CharField(
        label="Columns",
        required=False,
        max_length=2_000,
        widget=forms.TextInput(attrs={"placeholder": "day=Date, model=Model, amount=Cost"}),
    )

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if (file.size or 0) > MAX_UPLOAD_BYTES:
            raise ValidationError(TOO_LARGE)
        return file

    def clean_columns(self) -> dict[str, str]:
        try:
            return parse_mapping(self.cleaned_data["columns"])
        except BillError as error:
            raise ValidationError(str(error)) from error


class KeysForm(forms.Form):
    """The keys on a bill that the gateway uses."""

    keys = forms.MultipleChoiceField(required=False)

    def __init__(self, data: Any, *, known: list[str]) -> None:
        super().__init__(data)
        self.fields["keys"].choices = [(key, key) for key in known if key]  # type: ignore[attr-defined]


class SignOffForm(forms.Form):
    """A month of a bill, by its first day."""

    month = forms.TypedChoiceField(coerce=date.fromisoformat)

    def __init__(self, data: Any, *, months: list[date]) -> None:
        super().__init__(data)
        self.fields["month"].choices = [(f"{month:%Y-%m-%d}", f"{month:%B %Y}") for month in months]  # type: ignore[attr-defined]
