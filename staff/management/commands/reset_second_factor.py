"""Take away somebody's second factor, who has lost both the app and the recovery codes."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from staff import second_factor


class Command(BaseCommand):
    help = (
        "Remove a user's second factor, with its recovery codes. The password alone then opens the admin, until the "
        "user sets up a new one. Example: manage.py reset_second_factor ada"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", metavar="USERNAME")

    def handle(self, *, username: str, **options: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user named {username}.")
        if second_factor.reset(user):
            self.stderr.write(f"Removed the second factor of {username}.", str)
        else:
            self.stderr.write(f"{username} has no second factor.", str)
