"""The pages that issue many keys from a CSV file: choose it, look at what it says, issue, and see the keys once."""

import secrets
from collections.abc import Iterator

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone

from keys.forms.csv_import import COLUMNS, EXAMPLE, MAX_BYTES, MAX_ROWS, REQUIRED, Row, Unreadable, read
from keys.models import APIKey, Budget, KeySecret
from keys.reports.usage_csv import inert, written
from lib.admin.model_admin import GatewayModelAdmin
from lib.admin.render import NO_STORE, NO_STORE_NO_REFERRER, admin_page

Issued = tuple[APIKey, str]
"""A key and its raw key."""


class FileForm(forms.Form):
    """The file, as text."""

    file = forms.FileField(label="CSV file", widget=forms.ClearableFileInput(attrs={"accept": ".csv,text/csv"}))

    def clean_file(self) -> str:
        file: UploadedFile = self.cleaned_data["file"]
        if (file.size or 0) > MAX_BYTES:
            raise ValidationError(f"The file is larger than {MAX_BYTES // 1024} KiB. Split it.")
        try:
            return file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValidationError("The file is not UTF-8. Save it as “CSV UTF-8”.") from error


class PreviewedForm(forms.Form):
    """What a preview sends back: the file again, so that nothing is kept between the pages."""

    content = forms.CharField(max_length=MAX_BYTES, strip=False, widget=forms.HiddenInput)
    token = forms.CharField(min_length=20, max_length=64, widget=forms.HiddenInput)
    only_good = forms.BooleanField(required=False)
    answer = forms.ChoiceField(choices=[("page", "page"), ("csv", "csv")])


class CsvImportPages(GatewayModelAdmin):
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.import_view)
        return [path("import/", view, name="keys_apikey_import"), *super().get_urls()]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        if "content" in request.POST:
            return self._answer_preview(request, PreviewedForm(request.POST))
        form = FileForm(request.POST or None, request.FILES or None)
        if request.method != "POST" or not form.is_valid():
            return _ask(request, form)
        text = form.cleaned_data["file"]
        try:
            return _preview(request, read(text), text)
        except Unreadable as error:
            form.add_error("file", str(error))
            return _ask(request, form)

    def _answer_preview(self, request: HttpRequest, form: PreviewedForm) -> HttpResponse:
        """Issue what was previewed, if it is still as good as it was."""
        if not form.is_valid():
            return _ask(request, FileForm())
        text, token = form.cleaned_data["content"], form.cleaned_data["token"]
        try:
            rows = read(text)
        except Unreadable:  # not the text of a preview
            return _ask(request, FileForm())
        good = [row for row in rows if not row.errors]
        if not good or (len(good) < len(rows) and not form.cleaned_data["only_good"]):
            return _preview(request, rows, text, was_refused=True)
        try:
            issued = self._issue(request, good, token=token)
        except IntegrityError:
            if not KeySecret.objects.filter(idempotency_key=token).exists():
                raise
            context = {"title": "Already issued"}
            return admin_page(request, "keys/import/repeated.html", context, status=409, headers=NO_STORE_NO_REFERRER)
        return _file(issued) if form.cleaned_data["answer"] == "csv" else _show(request, issued)

    @transaction.atomic
    def _issue(self, request: HttpRequest, rows: list[Row], *, token: str) -> list[Issued]:
        """All of them or none. The first one keeps the token of the form, so that it issues nothing a second time."""
        issued = []
        for position, row in enumerate(rows):
            first = {"idempotency_key": token} if position == 0 else {}
            api_key, raw = APIKey.objects.issue(**first, created_by=request.user, **row.key)
            if row.budget:
                Budget.objects.create(api_key=api_key, **row.budget)
            self.log_addition(request, api_key, f"{api_key.public_id}, from a CSV file")
            issued.append((api_key, raw))
        return issued


def _ask(request: HttpRequest, form: FileForm) -> HttpResponse:
    context = {
        "title": "Import keys",
        "form": form,
        "columns": COLUMNS,
        "required": REQUIRED,
        "example": EXAMPLE,
        "max_rows": MAX_ROWS,
        "max_kib": MAX_BYTES // 1024,
    }
    return admin_page(request, "keys/import/upload.html", context)


def _preview(request: HttpRequest, rows: list[Row], text: str, *, was_refused: bool = False) -> HttpResponse:
    form = PreviewedForm(initial={"content": text, "token": secrets.token_urlsafe()})
    context = {
        "title": "Import keys: preview",
        "rows": rows,
        "good": sum(not row.errors for row in rows),
        "bad": sum(bool(row.errors) for row in rows),
        "form": form,
        "was_refused": was_refused,
    }
    return admin_page(request, "keys/import/preview.html", context, headers=NO_STORE)


def _show(request: HttpRequest, issued: list[Issued]) -> HttpResponse:
    return admin_page(
        request, "keys/import/done.html", {"title": "Keys issued", "issued": issued}, headers=NO_STORE_NO_REFERRER
    )


def _file(issued: list[Issued]) -> HttpResponse:
    """The keys as a file: the answer to the POST, for those without scripts."""
    name = f"issued-keys_{timezone.localdate()}.csv"
    return HttpResponse(
        "".join(_lines(issued)),
        content_type="text/csv; charset=utf-8",
        headers={**NO_STORE_NO_REFERRER, "Content-Disposition": f'attachment; filename="{name}"'},
    )


def _lines(issued: list[Issued]) -> Iterator[str]:
    rows = ([inert(key.name), inert(key.owner_name), key.public_id, raw] for key, raw in issued)
    return written(["name", "owner", "key", "api_key"], rows)
