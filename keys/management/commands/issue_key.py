"""Issue an API key from the shell. The raw key alone goes to stdout, everything else to stderr."""

from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from keys import expiry
from keys.models import APIKey


class Command(BaseCommand):
    help = (
        "Issue an API key. The raw key alone is written to stdout, once: it is stored nowhere. "
        'Example: KEY=$(manage.py issue_key --name ci --expires 90d --models "claude-*,smollm2-135m")'
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True, help="who or what calls with this key")
        parser.add_argument("--owner", metavar="USERNAME", help="who answers for it (default: the first active admin)")
        parser.add_argument(
            "--expires", default="never", metavar="WHEN", help="90d, 2027-12-31 (its last day) or never"
        )
        parser.add_argument("--models", default="", help="names separated by commas, each may end in * (default: all)")

    def handle(self, *, name: str, owner: str | None, expires: str, models: str, **options: Any) -> None:
        fields: dict[str, Any] = {
            "name": name,
            "owner": _owner(owner),
            "expires_at": _moment(expires),
            "allowed_models": _models(models),
        }
        try:
            APIKey(**fields).full_clean()
        except ValidationError as error:
            raise CommandError(_sentences(error)) from error
        api_key, raw_key = APIKey.objects.issue(**fields)
        self.stderr.write(_description(api_key), str)
        self.stdout.write(raw_key)


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


def _models(models: str) -> list[str]:
    names = [name.strip() for name in models.split(",") if name.strip()]
    if any("*" in name[:-1] for name in names):
        raise CommandError("A * may stand at the end of a model name only.")
    return names


def _sentences(error: ValidationError) -> str:
    options = {"name": "--name", "allowed_models": "--models"}
    return " ".join(f"{options.get(field, field)}: {' '.join(said)}" for field, said in error.message_dict.items())


def _description(api_key: APIKey) -> str:
    models = f"models {', '.join(api_key.allowed_models)}" if api_key.allowed_models else "all models"
    expires_at = api_key.expires_at
    expiry = f"expires {timezone.localtime(expires_at):%Y-%m-%d %H:%M %Z}" if expires_at else "no expiry"
    return f"Issued {api_key} for {api_key.belongs_to}: {models}, {expiry}. Shown once:"
