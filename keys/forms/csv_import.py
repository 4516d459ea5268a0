"""
Keys to issue, as a CSV file names them: read and judged row by row. Nothing is written here.

What is wrong with the file as a whole raises Unreadable; what is wrong with a row stands with the row, by its column.
"""

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
from keys.forms.fields import ModelNamesField, check_no_raw_key, reach_everybody
from keys.models import APIKey, Budget, Team
from lib import expiry
from lib.networks import is_network

MAX_BYTES = 256 * 1024
MAX_ROWS = 500

COLUMNS = {
    "name": "Who or what calls with the key. Required.",
    "owner": "The user name of whoever answers for it. Either an owner or a team is required.",
    "team": "The name of the team that owns it, in place of a person.",
    "purpose": "What it is for, in your words.",
    "expires": "90d, 2027-12-31 (its last day) or never. Required.",
    "reason": "Why it never expires. Required where it does not.",
    "models": "The models that it may call, separated by spaces; a name may end in *. Empty: all.",
    "rpm": "Requests a minute. Empty: no limit.",
    "tpm": "Tokens a minute, input and output together. Empty: no limit.",
    "parallel": "Calls at once. Empty: no limit.",
    "budget": "An amount: dollars such as 12.50, or tokens. Empty: no budget.",
    "period": "day, week, month or total. Empty: month.",
    "unit": "money or tokens. Empty: money.",
    "addresses": "Addresses or networks that it may be used from, separated by spaces. Empty: everywhere.",
}
REQUIRED = ("name", "expires")
EXAMPLE = """name,owner,team,expires,models,rpm,budget,period
Support bot,alice,,90d,claude-3-opus-20240229 claude-3-haiku*,60,25.00,month
Nightly report,,search,2027-12-31,,,,
"""
_COLUMN_OF = {
    "requests_per_minute": "rpm",
    "tokens_per_minute": "tpm",
    "concurrent_requests": "parallel",
    "allowed_models": "models",
    "allowed_ips": "addresses",
    "team": "team",
}
_SEPARATORS = re.compile(r"[\s,;]+")


class Unreadable(Exception):
    """The file cannot be read as a whole. The message says why, to whoever sent it."""


@dataclass(kw_only=True, slots=True)
class Row:
    """A row of the file, and the verdict on it."""

    line: int
    cells: dict[str, str]
    errors: dict[str, list[str]] = field(default_factory=dict)
    """By the name of the column."""
    note: str = ""
    """Something to look at before it is issued."""
    key: dict[str, Any] = field(default_factory=dict)
    """What `APIKey.objects.issue` takes."""
    budget: dict[str, Any] | None = None
    """What a Budget of it is made of."""

    @property
    def owner_name(self) -> str:
        return self.cells.get("team", "") or self.cells.get("owner", "")

    @property
    def limits(self) -> str:
        words = {"rpm": "requests/min", "tpm": "tokens/min", "parallel": "at once"}
        return ", ".join(f"{self.cells[name]} {said}" for name, said in words.items() if self.cells.get(name))

    @property
    def budget_in_words(self) -> str:
        if self.budget is None:
            return self.cells.get("budget", "")
        amount = format_amount(self.budget["amount"], self.budget["unit"])
        return f"{amount} {Budget.Period(self.budget['period']).label}"

    @property
    def expires_at(self) -> datetime | None:
        return self.key.get("expires_at")


def read(text: str) -> list[Row]:
    """The rows with their verdicts. Four queries, however many rows. Raise Unreadable."""
    rows = list(_iter_rows(text))
    users = {user.get_username(): user for user in get_user_model().objects.filter(is_active=True)}
    teams = {team.name: team for team in Team.objects.prefetch_related("budgets")}
    taken = Counter(APIKey.objects.values_list("name", flat=True))
    for row in rows:
        if not row.errors:
            _judge(row, users=users, teams=teams)
        if row.cells.get("name") in taken:
            row.note = "There is a key of this name already."
        taken[row.cells.get("name", "")] += 1
    return rows


# ---- the file


def _iter_rows(text: str) -> Iterator[Row]:
    if "\0" in text:
        raise Unreadable("The file is not text.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        header = _header(next(reader, []))
        count = 0
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            count += 1
            if count > MAX_ROWS:
                raise Unreadable(f"The file has more than {MAX_ROWS} rows. Split it.")
            row = Row(line=reader.line_num, cells=dict(zip(header, map(str.strip, cells), strict=False)))
            if len(cells) > len(header):
                row.errors["row"] = ["It has more cells than there are columns."]
            yield row
        if not count:
            raise Unreadable("The file has no rows below its header.")
    except csv.Error as error:
        raise Unreadable(f"Line {reader.line_num} cannot be read as CSV: {error}.") from error


def _delimiter(text: str) -> str:
    """Spreadsheets of some countries separate by semicolons. The header tells, as no name of a column has one."""
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


def _header(cells: list[str]) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    if not any(header):
        raise Unreadable("The file is empty. Its first line names the columns.")
    if unknown := [name for name in header if name not in COLUMNS]:
        raise Unreadable(
            f"There is no column {', '.join(repr(name) for name in unknown)}. The first line names columns."
        )
    if repeated := [name for name, count in Counter(header).items() if count > 1]:
        raise Unreadable(f"The column {', '.join(repeated)} stands there twice.")
    missing = [name for name in REQUIRED if name not in header]
    if missing or not {"owner", "team"} & set(header):
        raise Unreadable(f"The column {', '.join(missing) or 'owner or team'} is missing.")
    return header


# ---- a row


def _judge(row: Row, *, users: dict[str, Any], teams: dict[str, Team]) -> None:
    form = RowForm(row.cells, users=users, teams=teams)
    if not form.is_valid():
        row.errors = {name: [str(said) for said in errors] for name, errors in form.errors.items()}
        return
    cleaned = form.cleaned_data
    row.key = {
        "name": cleaned["name"],
        "owner": cleaned["owner"],
        "team": cleaned["team"],
        "purpose": cleaned["purpose"],
        "expires_at": cleaned["expires"],
        "no_expiry_reason": cleaned["reason"],
        "allowed_models": cleaned["models"],
        "requests_per_minute": cleaned["rpm"],
        "tokens_per_minute": cleaned["tpm"],
        "concurrent_requests": cleaned["parallel"],
        "allowed_ips": cleaned["addresses"],
    }
    if cleaned["budget"] is not None:
        row.budget = {"amount": cleaned["budget"], "period": cleaned["period"], "unit": cleaned["unit"]}
    row.errors = dict(_conflicts(row))


def _conflicts(row: Row) -> Iterator[tuple[str, list[str]]]:
    """What is wrong with a row as a whole, by its column: what a key may not be, or may not have of its team."""
    try:
        APIKey(**row.key).clean()
    except ValidationError as error:
        for name, errors in error.update_error_dict({}).items():
            yield _COLUMN_OF.get(name, "row"), [said for each in errors for said in each.messages]
    team = row.key["team"]
    if team is not None and row.budget:
        of_team = [budget.spec for budget in team.budgets.all()]
        if excess := team_ceilings.exceeding_budget(Budget(**row.budget).spec, of_team, name=team.name):
            yield "budget", [excess]


def _limit(largest: int) -> forms.IntegerField:
    return forms.IntegerField(required=False, min_value=1, max_value=largest)


class RowForm(forms.Form):
    """A field for each column. What a person wrote into it becomes what the database takes."""

    name = forms.CharField(max_length=100, validators=[check_no_raw_key])
    owner = forms.CharField(required=False)
    team = forms.CharField(required=False)
    purpose = forms.CharField(required=False, max_length=2000, validators=[check_no_raw_key])
    expires = forms.CharField()
    reason = forms.CharField(required=False, max_length=200, validators=[check_no_raw_key])
    models = forms.CharField(required=False)
    rpm = _limit(2**31 - 1)
    tpm = _limit(2**63 - 1)
    parallel = _limit(2**31 - 1)
    budget = forms.CharField(required=False)
    period = forms.ChoiceField(required=False, choices=Budget.Period.choices)
    unit = forms.ChoiceField(required=False, choices=Budget.Unit.choices)
    addresses = forms.CharField(required=False)

    def __init__(self, data: dict[str, str], *, users: dict[str, Any], teams: dict[str, Team]) -> None:
        super().__init__(data)
        self._users = users
        self._teams = teams

    def clean_owner(self) -> Any:
        name = self.cleaned_data["owner"]
        if name and name not in self._users:
            raise ValidationError("There is no active user of this name.")
        return self._users.get(name)

    def clean_team(self) -> Team | None:
        name = self.cleaned_data["team"]
        team = self._teams.get(name)
        if name and team is None:
            raise ValidationError("There is no team of this name.")
        if team is not None and team.disabled_at:
            raise ValidationError("This team is disabled.")
        return team

    def clean_expires(self) -> datetime | None:
        try:
            return expiry.parse(self.cleaned_data["expires"])
        except ValueError as error:
            raise ValidationError(str(error)) from error

    def clean_models(self) -> list[str]:
        names: list[str] = ModelNamesField().clean("\n".join(_listed(self.cleaned_data["models"])))
        return names

    def clean_addresses(self) -> list[str]:
        addresses = _listed(self.cleaned_data["addresses"])
        if wrong := [address for address in addresses if not is_network(address)]:
            raise ValidationError(f"This is no address or network: {wrong[0][:50]}")
        if reach_everybody(addresses):
            raise ValidationError("These are all addresses there are. Leave the cell empty if you mean it.")
        return addresses

    def clean_period(self) -> str:
        return self.cleaned_data["period"] or Budget.Period.MONTH

    def clean_unit(self) -> str:
        return self.cleaned_data["unit"] or Budget.Unit.USD

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not {"owner", "team"} & set(self.errors) and bool(cleaned["owner"]) == bool(cleaned["team"]):
            self.add_error("owner", "Name an owner or a team, and not both.")
        if "expires" in cleaned and "reason" in cleaned and (cleaned["expires"] is None) != bool(cleaned["reason"]):
            never = (
                "Say why this key never expires." if cleaned["expires"] is None else "Only for one that never expires."
            )
            self.add_error("reason", never)
        try:
            written = cleaned.get("budget", "")
            cleaned["budget"] = amounts.parse(written, unit=cleaned.get("unit", "")) if written else None
        except ValueError as error:
            self.add_error("budget", str(error))
        return cleaned


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part for part in _SEPARATORS.split(text) if part))
