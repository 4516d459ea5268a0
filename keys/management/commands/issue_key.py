"""Issue an API key from the shell. The raw key alone goes to stdout, everything else to stderr."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

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
    "concurrent_requests": "--parallel",
    "allowed_ips": "--addresses",
    "metadata": "--metadata",
    "no_expiry_reason": "--reason",
    "amount": "--budget",
}


class Command(BaseCommand):
    help = (
        "Issue an API key. The raw key alone is written to stdout, once: it is stored nowhere. Examples: "
        'KEY=$(manage.py issue_key --name ci --expires 90d --models "claude-*,smollm2-135m"); '
        "manage.py issue_key --name bot --team Search --rpm 60 --budget 20/month --budget 1000000tokens/day "
        "--addresses 192.0.2.0/24 --metadata ticket=OPS-17"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True, help="who or what calls with this key")
        parser.add_argument("--purpose", default="", help="what it is for")
        whose = parser.add_mutually_exclusive_group()
        whose.add_argument("--owner", metavar="USERNAME", help="who answers for it (default: the first active admin)")
        whose.add_argument("--team", metavar="NAME", help="the team that owns it, in place of a person")
        parser.add_argument(
            "--expires", default="90d", metavar="WHEN", help="90d (the default), 2027-12-31 (its last day) or never"
        )
        parser.add_argument("--reason", default="", help="why it never expires: needed with --expires never")
        parser.add_argument("--models", default="", help="names separated by commas, each may end in * (default: all)")
        parser.add_argument("--rpm", type=int, metavar="N", help="requests a minute (default: no limit)")
        parser.add_argument("--tpm", type=int, metavar="N", help="tokens a minute, input and output together")
        parser.add_argument("--parallel", type=int, metavar="N", help="calls at once")
        parser.add_argument("--only-count", action="store_true", help="note what these limits would refuse; let it in")
        parser.add_argument(
            "--budget", action="append", default=[], metavar="AMOUNT/PERIOD", help="20/month, 1000000tokens/day; again"
        )
        parser.add_argument("--addresses", default="", help="addresses and networks, by commas (default: everywhere)")
        parser.add_argument("--any-address", action="store_true", help="0.0.0.0/0 or ::/0 is meant")
        parser.add_argument("--metadata", action="append", default=[], metavar="NAME=TEXT", help="a pair; again")

    def handle(self, **options: Any) -> None:
        fields = _fields(options)
        budgets = _budgets(options["budget"], team=fields["team"])
        _check(APIKey(**fields))
        for allowance in budgets:
            _check(Budget(**allowance._asdict()), but=["api_key", "team"])
        with transaction.atomic():
            api_key, raw_key = APIKey.objects.issue(**fields)
            for allowance in budgets:
                Budget.objects.create(api_key=api_key, **allowance._asdict())
        self.stderr.write(_description(api_key, budgets), str)
        self.stdout.write(raw_key)


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    """What `APIKey.objects.issue` takes, read with the same fields as the form of the admin."""
    team = _team(options["team"])
    addresses = _read(IPRangesField, options["addresses"].split(","), option="--addresses")
    if covers_all_ips(addresses) and not options["any_address"]:
        raise CommandError("--addresses: these are all there are. Leave them out, or confirm with --any-address.")
    expires_at = _moment(options["expires"])
    if (expires_at is None) != bool(options["reason"].strip()):
        raise CommandError("Give --reason with --expires never, and only then: it says why the key never expires.")
    return {
        "name": _without_key(options["name"], "--name"),
        "purpose": _without_key(options["purpose"], "--purpose"),
        "team": team,
        "owner": None if team else _owner(options["owner"]),
        "expires_at": expires_at,
        "no_expiry_reason": _without_key(options["reason"].strip(), "--reason"),
        "allowed_models": _read(ModelNamesField, options["models"].split(","), option="--models"),
        "requests_per_minute": options["rpm"],
        "tokens_per_minute": options["tpm"],
        "concurrent_requests": options["parallel"],
        "shadow_mode": options["only_count"],
        "allowed_ips": addresses,
        "metadata": _read(MetadataField, options["metadata"], option="--metadata"),
    }


def _read(field: type[Any], lines: Iterable[str], *, option: str) -> Any:
    try:
        return field().clean("\n".join(lines))
    except ValidationError as error:
        raise CommandError(f"{option}: {' '.join(error.messages)}") from error


def _without_key(text: str, option: str) -> str:
    try:
        check_no_raw_key(text)
    except ValidationError as error:
        raise CommandError(f"{option}: {' '.join(error.messages)}") from error
    return text


def _check(row: APIKey | Budget, *, but: Iterable[str] = ()) -> None:
    try:
        row.full_clean(exclude=list(but))
    except ValidationError as error:
        raise CommandError(_sentences(error)) from error


def _budgets(texts: list[str], *, team: Team | None) -> list[BudgetSpec]:
    found: list[BudgetSpec] = []
    for text in texts:
        try:
            allowance = parse_budget(text)
        except ValueError as error:
            raise CommandError(f"--budget: {error}") from error
        if any((each.unit, each.period) == (allowance.unit, allowance.period) for each in found):
            raise CommandError("--budget: give one for each period and unit.")
        of_team = [budget.spec for budget in team.budgets.all()] if team else []
        if team and (excess := team_ceilings.exceeding_budget(allowance, of_team, name=team.name)):
            raise CommandError(f"--budget: {excess}")
        found.append(allowance)
    return found


def _team(name: str | None) -> Team | None:
    if name is None:
        return None
    team = Team.objects.filter(name=name, disabled_at=None).first()
    if team is None:
        raise CommandError(f"There is no enabled team named {name}.")
    return team


def _owner(username: str | None) -> User:
    users = User.objects.filter(is_active=True)
    if username is None:
        owner = users.filter(is_superuser=True).order_by("pk").first()
        if owner is None:
            raise CommandError("There is no active admin to own the key. Name a user with --owner.")
        return owner
    try:
        return users.get(username=username)
    except User.DoesNotExist as error:
        raise CommandError(f"There is no active user named {username}.") from error


def _moment(expires: str) -> datetime | None:
    """When a key ends that is to expire so: None for `never`, else a moment in the future."""
    try:
        return expiry.parse(expires)
    except expiry.InThePast as error:
        raise CommandError("--expires lies in the past.") from error
    except ValueError as error:
        raise CommandError("Give --expires as 90d, 2027-12-31 or never.") from error


def _sentences(error: ValidationError) -> str:
    return " ".join(f"{OPTIONS.get(field, field)}: {' '.join(said)}" for field, said in error.message_dict.items())


def _description(api_key: APIKey, budgets: list[BudgetSpec]) -> str:
    lines = [f"  {line.label}: {line.text}" for line in summary(api_key, budgets)]
    return "\n".join([f"Issued {api_key}", *lines, "Shown once:"])
