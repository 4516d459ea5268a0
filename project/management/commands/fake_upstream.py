"""The scripted upstream of the tests, for whoever wants to see what a gateway does when its upstream misbehaves."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tests.upstream import command


class Command(BaseCommand):
    help = (
        "Start a model server without a model, which speaks both dialects and misbehaves on demand: silence, resets, "
        "cut streams, wrong answers. Serves until Ctrl-C and prints a line a call. docs/faults.md says how to try "
        "your set-up with it. Example: manage.py fake_upstream --port 9000"
    )
    requires_system_checks = []  # it touches nothing of the gateway

    def add_arguments(self, parser: CommandParser) -> None:
        command.add_options(parser)

    def handle(self, **options: Any) -> None:
        command.run(argparse.Namespace(**options), self.stdout)
