"""Command that issues an API key. Only the raw key goes to stdout; everything else goes to stderr."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from keys.display.summary import summary
from keys.domain import team_ceilings
from keys.domain.amounts import BudgetSpec, parse_budget
from keys.forms.fields import IPRangesField, MetadataField, ModelNamesField, check_no_raw_key, covers_all_ips
from keys.models import APIKey, Budget, Team
from lib import expiry

OPTIONS = {
    "name": "--name",
    "purpose": "--purpose",
    "allowed_models": "--models",
    "requests_per_minute": "--rpm",
    "tokens_per_minute": "--tpm",
    "concurrent_requests": "--max-concurrent",
    "allowed_ips": "--allowed-ips",
    "metadata": "--metadata",
    "no_expiry_reason": "--reason",
    "amount": "--budget",
}


class KeylessTextField(forms.CharField):
    """A text without a raw key, as the forms of the admin accept it."""

    def __init__(self, *, required: bool = False) -> None:
        super().__init__(required=required, validators=[check_no_raw_key])


class NameField(KeylessTextField):
    """A name that is not blank."""

    def __init__(self) -> None:
        super().__init__(required=True)


class Command(BaseCommand):
    help = (
        "Issue an API key. Only the raw key is written to stdout; it is not stored and cannot be shown again. "
        "Examples: "
        'KEY=$(manage.py issue_key --name ci --expires 90d --models "claude-*,smollm2-135m"); '
        "manage.py issue_key --name bot --team Search --rpm 60 --budget 20/month --budget 1000000tokens/day "
        "--allowed-ips 192.0.2.0/24 --metadata ticket=OPS-17"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True, help="client or system that uses the key")
        parser.add_argument("--purpose", default="", help="what the key is used for")
        owner = parser.add_mutually_exclusive_group()
        owner.add_argument("--owner", metavar="USERNAME", help="owner, a user name (default: the first active admin)")
        owner.add_argument("--team", metavar="NAME", help="owner, a team instead of a user")
        parser.add_argument(
            "--expires", default="90d", metavar="WHEN", help="90d (default), 2027-12-31 (its last day) or never"
        )
        parser.add_argument("--reason", default="", help="reason for no expiry; required with --expires never")
        parser.add_argument(
            "--models", default="", help="allowed models, by commas; a name may end in * (default: all)"
        )
        parser.add_argument("--rpm", type=int, metavar="N", help="requests per minute (default: no limit)")
        parser.add_argument("--tpm", type=int, metavar="N", help="tokens per minute (default: no limit)")
        parser.add_argument("--max-concurrent", type=int, metavar="N", help="concurrent requests (default: no limit)")
        parser.add_argument(
            "--shadow", action="store_true", help="record what these limits would reject without enforcing them"
        )
        parser.add_argument(
            "--budget",
            action="append",
            default=[],
            metavar="AMOUNT/PERIOD",
            help="20/month or 1000000tokens/day; may be repeated",
        )
        parser.add_argument(
            "--allowed-ips", default="", help="IP addresses and CIDR ranges, separated by commas (default: any)"
        )
        parser.add_argument("--allow-any-ip", action="store_true", help="confirm an allowlist such as 0.0.0.0/0")
        parser.add_argument("--metadata", action="append", default=[], metavar="NAME=TEXT", help="may be repeated")

    def handle(self, **options: Any) -> None:
        fields = _fields(options)
        budgets = _budgets(options["budget"], team=fields["team"])
        _check(APIKey(**fields))
        for spec in budgets:
            _check(Budget(**spec._asdict()), exclude=["api_key", "team"])
        with transaction.atomic():
            api_key, raw_key = APIKey.objects.issue(**fields)
            for spec in budgets:
                Budget.objects.create(api_key=api_key, **spec._asdict())
        self.stderr.write(_description(api_key, budgets), str)
        self.stdout.write(raw_key)


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `APIKey.objects.issue`, validated by the form fields of the admin."""
    team = _team(options["team"])
    allowed_ips = _read(IPRangesField, options["allowed_ips"].split(","), option="--allowed-ips")
    if covers_all_ips(allowed_ips) and not options["allow_any_ip"]:
        raise CommandError("--allowed-ips allows any IP address. Leave it out, or confirm with --allow-any-ip.")
    expires_at = _expiry(options["expires"])
    if (expires_at is None) != bool(options["reason"].strip()):
        raise CommandError("--reason: enter one with --expires never, and only then.")
    return {
        "name": _read(NameField, [options["name"]], option="--name"),
        "purpose": _read(KeylessTextField, [options["purpose"]], option="--purpose"),
        "team": team,
        "owner": None if team else _owner(options["owner"]),
        "expires_at": expires_at,
        "no_expiry_reason": _read(KeylessTextField, [options["reason"]], option="--reason"),
        "allowed_models": _read(ModelNamesField, options["models"].split(","), option="--models"),
        "requests_per_minute": options["rpm"],
        "tokens_per_minute": options["tpm"],
        "concurrent_requests": options["max_concurrent"],
        "shadow_mode": options["shadow"],
        "allowed_ips": allowed_ips,
        "metadata": _read(MetadataField, options["metadata"], option="--metadata"),
    }


def _read(field: type[Any], lines: Iterable[str], *, option: str) -> Any:
    try:
        return field().clean("\n".join(lines))
    except ValidationError as error:
        raise CommandError(f"{option}: {' '.join(error.messages)}") from error


def _check(row: APIKey | Budget, *, exclude: Iterable[str] = ()) -> None:
    try:
        row.full_clean(exclude=list(exclude))
    except ValidationError as error:
        raise CommandError(_messages(error)) from error


def _budgets(texts: list[str], *, team: Team | None) -> list[BudgetSpec]:
    found: list[BudgetSpec] = []
    for text in texts:
        try:
            spec = parse_budget(text)
        except ValueError as error:
            raise CommandError(f"--budget: {error}") from error
        if any((each.unit, each.period) == (spec.unit, spec.period) for each in found):
            raise CommandError("--budget: enter one budget per period and unit.")
        team_budgets = [budget.spec for budget in team.budgets.all()] if team else []
        if team and (excess := team_ceilings.exceeding_budget(spec, team_budgets, name=team.name)):
            raise CommandError(f"--budget: {excess}")
        found.append(spec)
    return found


def _team(name: str | None) -> Team | None:
    if name is None:
        return None
    team = Team.objects.filter(name=name, disabled_at=None).first()
    if team is None:
        raise CommandError(f"No enabled team is named {name}.")
    return team


def _owner(username: str | None) -> User:
    users = User.objects.filter(is_active=True)
    if username is None:
        owner = users.filter(is_superuser=True).order_by("pk").first()
        if owner is None:
            raise CommandError("There is no active admin. Name the owner with --owner.")
        return owner
    try:
        return users.get(username=username)
    except User.DoesNotExist as error:
        raise CommandError(f"No active user is named {username}.") from error


def _expiry(expires: str) -> datetime | None:
    """Return the expiry time, or None for `never`. Raise CommandError if it is invalid or in the past."""
    try:
        return expiry.parse(expires)
    except expiry.InThePast as error:
        raise CommandError("--expires is in the past.") from error
    except ValueError as error:
        raise CommandError("--expires: enter 90d, 2027-12-31 or never.") from error


def _messages(error: ValidationError) -> str:
    return " ".join(
        f"{OPTIONS.get(field, field)}: {' '.join(messages)}" for field, messages in error.message_dict.items()
    )


def _description(api_key: APIKey, budgets: list[BudgetSpec]) -> str:
    lines = [f"  {line.label}: {line.text}" for line in summary(api_key, budgets)]
    return "\n".join([f"Issued {api_key}", *lines, "The raw key is shown once:"])
