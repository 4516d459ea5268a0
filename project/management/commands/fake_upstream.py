"""Command: the scripted upstream of the tests, to see how a gateway handles upstream faults."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tests.upstream import command


class Command(BaseCommand):
    help = (
        "Start an upstream without a model, which speaks both dialects and fails on demand: no response, resets, cut "
        "streams, invalid responses. Serves until Ctrl-C and prints one line per request. docs/faults.md explains how "
        "to test your setup with it. Example: manage.py fake_upstream --port 9000"
    )
    requires_system_checks = []  # it uses neither settings nor database of the gateway

    def add_arguments(self, parser: CommandParser) -> None:
        command.add_options(parser)

    def handle(self, **options: Any) -> None:
        command.run(argparse.Namespace(**options), self.stdout)
