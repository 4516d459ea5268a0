"""Command: disable two-factor authentication of a user who lost the app and the recovery codes."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from staff import two_factor


class Command(BaseCommand):
    help = (
        "Disable two-factor authentication of a user and delete the recovery codes. The password alone then opens the "
        "admin until the user sets it up again. Example: manage.py reset_two_factor ada"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", metavar="USERNAME")

    def handle(self, *, username: str, **options: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user named {username}.")
        if two_factor.reset(user):
            self.stderr.write(f"Two-factor authentication of {username} is disabled.", str)
        else:
            self.stderr.write(f"{username} has not set up two-factor authentication.", str)
