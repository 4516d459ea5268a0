"""Pages that issue API keys from a CSV file: upload, preview, and the raw keys, shown once."""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone

from keys.forms.csv_import import COLUMNS, EXAMPLE, MAX_BYTES, MAX_ROWS, ImportRow, UnreadableFile, read
from keys.models import APIKey, Budget, KeySecret
from keys.reports.csv_text import inert, written
from lib.admin.model_admin import GatewayModelAdmin
from lib.admin.render import NO_STORE, NO_STORE_NO_REFERRER, admin_page

LOST = "No keys were issued: the file did not arrive as it was previewed. Choose the file again."

IssuedKey = tuple[APIKey, str]
"""A key and its raw key."""


class FileForm(forms.Form):
    """The uploaded file, cleaned to its text."""

    file = forms.FileField(label="CSV file", widget=forms.ClearableFileInput(attrs={"accept": ".csv,text/csv"}))

    def clean_file(self) -> str:
        file: UploadedFile = self.cleaned_data["file"]
        if (file.size or 0) > MAX_BYTES:
            raise ValidationError(f"The file is larger than {MAX_BYTES // 1024} KiB. Split it into several files.")
        try:
            return _with_line_feeds(file.read().decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise ValidationError("The file is not UTF-8. Save it as “CSV UTF-8”.") from error


class LineFeedField(forms.CharField):
    """A text that a browser sends. Its line ends become line feeds before its length is checked."""

    def to_python(self, value: Any) -> str:
        return _with_line_feeds(super().to_python(value) or "")


class ImportPreviewForm(forms.Form):
    """The form of the preview. It sends the file again, so the server stores nothing between the pages."""

    content = LineFeedField(max_length=MAX_BYTES, strip=False, widget=forms.HiddenInput)
    token = forms.CharField(min_length=20, max_length=64, widget=forms.HiddenInput)
    only_valid = forms.BooleanField(required=False)
    output = forms.ChoiceField(choices=[("page", "page"), ("csv", "csv")])


class CsvImportPages(GatewayModelAdmin):
    """Adds the import pages to the admin of API keys."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.import_view)
        return [path("import/", view, name="keys_apikey_import"), *super().get_urls()]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        if "content" in request.POST:
            return self._handle_preview(request, ImportPreviewForm(request.POST))
        form = FileForm(request.POST or None, request.FILES or None)
        if request.method != "POST" or not form.is_valid():
            return _show_upload(request, form)
        text = form.cleaned_data["file"]
        try:
            return _show_preview(request, read(text), text)
        except UnreadableFile as error:
            form.add_error("file", str(error))
            return _show_upload(request, form)

    def _handle_preview(self, request: HttpRequest, form: ImportPreviewForm) -> HttpResponse:
        """Issue the previewed keys. Show the preview again if a row is invalid and was not excluded."""
        if not form.is_valid():
            return _show_upload(request, FileForm(), problem=LOST)
        text, token = form.cleaned_data["content"], form.cleaned_data["token"]
        try:
            rows = read(text)
        except UnreadableFile:  # not the content of a preview
            return _show_upload(request, FileForm(), problem=LOST)
        valid = [row for row in rows if not row.errors]
        if not valid or (len(valid) < len(rows) and not form.cleaned_data["only_valid"]):
            return _show_preview(request, rows, text, was_rejected=True)
        try:
            issued = self._issue(request, valid, token=token)
        except IntegrityError:
            if not KeySecret.objects.filter(idempotency_key=token).exists():
                raise
            context = {"title": "Already issued"}
            return admin_page(request, "keys/import/repeated.html", context, status=409, headers=NO_STORE_NO_REFERRER)
        return _csv_response(issued) if form.cleaned_data["output"] == "csv" else _show_issued(request, issued)

    @transaction.atomic
    def _issue(self, request: HttpRequest, rows: Sequence[ImportRow], *, token: str) -> list[IssuedKey]:
        """Issue all keys or none. The token is stored with the first key: a repeated form raises IntegrityError."""
        issued = []
        for position, row in enumerate(rows):
            first = {"idempotency_key": token} if position == 0 else {}
            api_key, raw = APIKey.objects.issue(**first, created_by=request.user, **row.key)
            if row.budget:
                Budget.objects.create(api_key=api_key, **row.budget)
            self.log_addition(request, api_key, f"{api_key.public_id}, imported from CSV")
            issued.append((api_key, raw))
        return issued


def _with_line_feeds(text: str) -> str:
    """Return the text with LF for CRLF and CR, as which browsers send the line ends of a form."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _show_upload(request: HttpRequest, form: FileForm, *, problem: str = "") -> HttpResponse:
    context = {
        "title": "Import keys",
        "form": form,
        "problem": problem,
        "columns": COLUMNS,
        "example": EXAMPLE,
        "max_rows": MAX_ROWS,
        "max_kib": MAX_BYTES // 1024,
    }
    return admin_page(request, "keys/import/upload.html", context)


def _show_preview(
    request: HttpRequest, rows: Sequence[ImportRow], text: str, *, was_rejected: bool = False
) -> HttpResponse:
    form = ImportPreviewForm(initial={"content": text, "token": secrets.token_urlsafe()})
    context = {
        "title": "Import keys: preview",
        "rows": rows,
        "valid": sum(not row.errors for row in rows),
        "invalid": sum(bool(row.errors) for row in rows),
        "form": form,
        "was_rejected": was_rejected,
    }
    return admin_page(request, "keys/import/preview.html", context, headers=NO_STORE)


def _show_issued(request: HttpRequest, issued: Sequence[IssuedKey]) -> HttpResponse:
    return admin_page(
        request, "keys/import/done.html", {"title": "Keys issued", "issued": issued}, headers=NO_STORE_NO_REFERRER
    )


def _csv_response(issued: Sequence[IssuedKey]) -> HttpResponse:
    """Return the keys as a CSV file in the response to the POST, for browsers without JavaScript."""
    name = f"issued-keys_{timezone.localdate()}.csv"
    return HttpResponse(
        "".join(_csv_lines(issued)),
        content_type="text/csv; charset=utf-8",
        headers={**NO_STORE_NO_REFERRER, "Content-Disposition": f'attachment; filename="{name}"'},
    )


def _csv_lines(issued: Sequence[IssuedKey]) -> Iterator[str]:
    rows = ([inert(key.name), inert(key.owner_name), key.public_id, raw] for key, raw in issued)
    return written(["name", "owner", "key", "api_key"], rows)
