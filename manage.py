#!/usr/bin/env python
"""Run administrative tasks."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

INTERRUPTED = 130
"""The exit code of a shell for Ctrl-C."""


def main() -> None:
    if not all(map(_is_utf8, sys.argv)):
        sys.exit("Enter arguments in UTF-8.")
    try:
        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except ImproperlyConfigured as error:
        sys.exit(f"Cannot start: {error}")
    except BrokenPipeError:
        # The reader of the output ended, such as `head`. Python would fail to flush the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _is_utf8(argument: str) -> bool:
    """Return whether an argument can be encoded: Python decodes other bytes as lone surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    main()
