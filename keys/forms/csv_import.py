"""CSV import of API keys: read the file and validate its rows, without writing to the database."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from keys.domain import amounts, team_ceilings
from keys.domain.amounts import format_amount
from keys.forms.fields import ModelNamesField, check_no_raw_key, covers_all_ips
from keys.models import APIKey, Budget, Team
from lib import expiry
from lib.networks import is_network

MAX_BYTES = 256 * 1024
MAX_ROWS = 500

COLUMNS = {
    "name": "Application or user of the key. Required.",
    "owner": "User name of the owner. Either an owner or a team is required.",
    "team": "Name of the team that owns the key, instead of a user.",
    "purpose": "Purpose of the key.",
    "expires": "90d, 2027-12-31 (last day) or never. Required.",
    "no_expiry_reason": "Required for keys that never expire.",
    "models": "Allowed models, separated by spaces; a name may end in *. Empty: all.",
    "rpm": "Requests per minute. Empty: no limit.",
    "tpm": "Tokens per minute, input and output together. Empty: no limit.",
    "concurrent_requests": "Concurrent requests. Empty: no limit.",
    "budget": "Amount in US dollars, such as 12.50, or in tokens. Empty: no budget.",
    "period": "day, week, month or total. Empty: month.",
    "unit": "usd or tokens. Empty: usd.",
    "allowed_ips": "IP addresses or CIDR ranges, separated by spaces. Empty: any IP address.",
}
REQUIRED = ("name", "expires")
EXAMPLE = """name,owner,team,expires,models,rpm,budget,period
Support bot,alice,,90d,claude-3-opus-20240229 claude-3-haiku*,60,25.00,month
Nightly report,,search,2027-12-31,,,,
"""
_COLUMN_OF_FIELD = {
    "requests_per_minute": "rpm",
    "tokens_per_minute": "tpm",
    "concurrent_requests": "concurrent_requests",
    "allowed_models": "models",
    "allowed_ips": "allowed_ips",
    "team": "team",
}
_SEPARATORS = re.compile(r"[\s,;]+")


class UnreadableFile(Exception):
    """The file as a whole cannot be read. The message is shown to the user."""


@dataclass(kw_only=True, slots=True)
class ImportRow:
    """A row of the file with its validation errors, or with the key and budget that it describes."""

    line: int
    cells: dict[str, str]
    errors: dict[str, list[str]] = field(default_factory=dict)
    """By column name; `row` for errors of the whole row."""
    note: str = ""
    """A warning that the preview shows."""
    key: dict[str, Any] = field(default_factory=dict)
    """The arguments of `APIKey.objects.issue`."""
    budget: dict[str, Any] | None = None
    """The arguments of `Budget`; None for no budget."""

    @property
    def owner_name(self) -> str:
        return self.cells.get("team", "") or self.cells.get("owner", "")

    @property
    def limits(self) -> str:
        labels = {"rpm": "RPM", "tpm": "TPM", "concurrent_requests": "concurrent"}
        return ", ".join(f"{self.cells[name]} {label}" for name, label in labels.items() if self.cells.get(name))

    @property
    def budget_text(self) -> str:
        if self.budget is None:
            return self.cells.get("budget", "")
        amount = format_amount(self.budget["amount"], self.budget["unit"])
        return f"{amount} {Budget.Period(self.budget['period']).label}"

    @property
    def expires_at(self) -> datetime | None:
        return self.key.get("expires_at")


def read(text: str) -> list[ImportRow]:
    """Return the validated rows. Four queries, regardless of the number of rows. Raise UnreadableFile."""
    rows = list(_iter_rows(text))
    users = {user.get_username(): user for user in get_user_model().objects.filter(is_active=True)}
    teams = {team.name: team for team in Team.objects.prefetch_related("budgets")}
    names = Counter(APIKey.objects.values_list("name", flat=True))
    for row in rows:
        if not row.errors:
            _validate(row, users=users, teams=teams)
        if row.cells.get("name") in names:
            row.note = "A key with this name already exists."
        names[row.cells.get("name", "")] += 1
    return rows


# ---- The file


def _iter_rows(text: str) -> Iterator[ImportRow]:
    if "\0" in text:
        raise UnreadableFile("The file is not a text file.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        header = _header(next(reader, []))
        count = 0
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            count += 1
            if count > MAX_ROWS:
                raise UnreadableFile(f"The file has more than {MAX_ROWS} rows. Split it into several files.")
            row = ImportRow(line=reader.line_num, cells=dict(zip(header, map(str.strip, cells), strict=False)))
            if len(cells) > len(header):
                row.errors["row"] = ["The row has more cells than the header has columns."]
            yield row
        if not count:
            raise UnreadableFile("The file has no rows after the header.")
    except csv.Error as error:
        raise UnreadableFile(f"Line {reader.line_num} cannot be read as CSV: {error}.") from error


def _delimiter(text: str) -> str:
    """Detect the delimiter from the header: some locales use semicolons, and no column name contains a delimiter."""
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


def _header(cells: list[str]) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    if not any(header):
        raise UnreadableFile("The file is empty. The first line must name the columns.")
    if unknown := [name for name in header if name not in COLUMNS]:
        listed = ", ".join(repr(name) for name in unknown)
        raise UnreadableFile(f"Unknown column {listed}. The first line must name the columns.")
    if repeated := [name for name, count in Counter(header).items() if count > 1]:
        raise UnreadableFile(f"Duplicate column: {', '.join(repeated)}.")
    missing = [name for name in REQUIRED if name not in header]
    if missing or not {"owner", "team"} & set(header):
        raise UnreadableFile(f"Missing column: {', '.join(missing) or 'owner or team'}.")
    return header


# ---- A row


def _validate(row: ImportRow, *, users: dict[str, Any], teams: dict[str, Team]) -> None:
    form = RowForm(row.cells, users=users, teams=teams)
    if not form.is_valid():
        row.errors = {name: [str(error) for error in errors] for name, errors in form.errors.items()}
        return
    cleaned = form.cleaned_data
    row.key = {
        "name": cleaned["name"],
        "owner": cleaned["owner"],
        "team": cleaned["team"],
        "purpose": cleaned["purpose"],
        "expires_at": cleaned["expires"],
        "no_expiry_reason": cleaned["no_expiry_reason"],
        "allowed_models": cleaned["models"],
        "requests_per_minute": cleaned["rpm"],
        "tokens_per_minute": cleaned["tpm"],
        "concurrent_requests": cleaned["concurrent_requests"],
        "allowed_ips": cleaned["allowed_ips"],
    }
    if cleaned["budget"] is not None:
        row.budget = {"amount": cleaned["budget"], "period": cleaned["period"], "unit": cleaned["unit"]}
    row.errors = dict(_violations(row))


def _violations(row: ImportRow) -> Iterator[tuple[str, list[str]]]:
    """Yield violations of the model's constraints and of the team's limits and budgets, by column."""
    try:
        APIKey(**row.key).clean()
    except ValidationError as error:
        for name, errors in error.update_error_dict({}).items():
            yield _COLUMN_OF_FIELD.get(name, "row"), [message for each in errors for message in each.messages]
    team = row.key["team"]
    if team is not None and row.budget:
        of_team = [budget.spec for budget in team.budgets.all()]
        if excess := team_ceilings.exceeding_budget(Budget(**row.budget).spec, of_team, name=team.name):
            yield "budget", [excess]


def _limit(largest: int) -> forms.IntegerField:
    return forms.IntegerField(required=False, min_value=1, max_value=largest)


class RowForm(forms.Form):
    """One field per column. Cleaning converts a cell to the value of the model."""

    name = forms.CharField(max_length=100, validators=[check_no_raw_key])
    owner = forms.CharField(required=False)
    team = forms.CharField(required=False)
    purpose = forms.CharField(required=False, max_length=2000, validators=[check_no_raw_key])
    expires = forms.CharField()
    no_expiry_reason = forms.CharField(required=False, max_length=200, validators=[check_no_raw_key])
    models = forms.CharField(required=False)
    rpm = _limit(2**31 - 1)
    tpm = _limit(2**63 - 1)
    concurrent_requests = _limit(2**31 - 1)
    budget = forms.CharField(required=False)
    period = forms.ChoiceField(required=False, choices=Budget.Period.choices)
    unit = forms.ChoiceField(required=False, choices=Budget.Unit.choices)
    allowed_ips = forms.CharField(required=False)

    def __init__(self, data: dict[str, str], *, users: dict[str, Any], teams: dict[str, Team]) -> None:
        super().__init__(data)
        self._users = users
        self._teams = teams

    def clean_owner(self) -> Any:
        name = self.cleaned_data["owner"]
        if name and name not in self._users:
            raise ValidationError("No active user has this name.")
        return self._users.get(name)

    def clean_team(self) -> Team | None:
        name = self.cleaned_data["team"]
        team = self._teams.get(name)
        if name and team is None:
            raise ValidationError("No team has this name.")
        if team is not None and team.disabled_at:
            raise ValidationError("This team is disabled.")
        return team

    def clean_expires(self) -> datetime | None:
        try:
            return expiry.parse(self.cleaned_data["expires"])
        except ValueError as error:
            raise ValidationError(str(error)) from error

    def clean_models(self) -> list[str]:
        names: list[str] = ModelNamesField().clean("\n".join(_split(self.cleaned_data["models"])))
        return names

    def clean_allowed_ips(self) -> list[str]:
        ranges = _split(self.cleaned_data["allowed_ips"])
        if invalid := [each for each in ranges if not is_network(each)]:
            raise ValidationError(f"Not an IP address or CIDR range: {invalid[0][:50]}")
        if covers_all_ips(ranges):
            raise ValidationError("These ranges cover all IP addresses. Leave the cell empty to allow any.")
        return ranges

    def clean_period(self) -> str:
        return self.cleaned_data["period"] or Budget.Period.MONTH

    def clean_unit(self) -> str:
        return self.cleaned_data["unit"] or Budget.Unit.USD

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not {"owner", "team"} & set(self.errors) and bool(cleaned["owner"]) == bool(cleaned["team"]):
            self.add_error("owner", "Enter either an owner or a team.")
        if "expires" in cleaned and "no_expiry_reason" in cleaned:
            never_expires, reason = cleaned["expires"] is None, cleaned["no_expiry_reason"]
            if never_expires and not reason:
                self.add_error("no_expiry_reason", "Enter why this key never expires.")
            elif reason and not never_expires:
                self.add_error("no_expiry_reason", "Leave this empty for keys that expire.")
        try:
            amount = cleaned.get("budget", "")
            cleaned["budget"] = amounts.parse(amount, unit=cleaned.get("unit", "")) if amount else None
        except ValueError as error:
            self.add_error("budget", str(error))
        return cleaned


def _split(text: str) -> list[str]:
    return list(dict.fromkeys(part for part in _SEPARATORS.split(text) if part))
