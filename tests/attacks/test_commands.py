"""No command line ends in a traceback, whatever its arguments are."""

import io
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, get_commands, load_command_class
from django.core.management.base import BaseCommand
from django.db import connection, transaction

from keys.models import APIKey, Team
from tests.support import ROOT, fuzz

COMMANDS = sorted(
    name for name, app in get_commands().items() if app.split(".")[0] in ("keys", "messages_api", "project", "staff")
)
SERVERS = {"fake_upstream", "quickstart", "run_local_model"}
"""Commands that serve: only their arguments are parsed."""
TAKEN = ["--name", "app", "--expires", "90d", "never", "--reason", "why", "--budget", "20/month", "--owner", "root"]
DJANGO_OPTIONS = {"--help", "-h", "--version", "--settings", "--pythonpath", "--traceback", "--skip-checks"}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def rows(db: None) -> APIKey:
    root = User.objects.create_superuser("root")
    Team.objects.create(name="Search")
    return APIKey.objects.issue(name="app", owner=root)[0]


def run(command: BaseCommand, name: str, arguments: list[str]) -> str:
    """Run a command as its command line does. Return what it prints in case of an error, and "" otherwise."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            with transaction.atomic():
                parser = command.create_parser("manage.py", name)
                parser.called_from_command_line = True
                options = vars(parser.parse_args(arguments))
                words = options.pop("args", ())
                if name not in SERVERS:
                    command.execute(*words, **options | {"skip_checks": True, "stdout": stdout, "stderr": stderr})
                connection.check_constraints()
                transaction.set_rollback(True)
        except (CommandError, SystemExit) as error:
            return f"{error} {stderr.getvalue()}"
    return ""


def options_of(command: BaseCommand, name: str) -> list[str]:
    actions = command.create_parser("manage.py", name)._actions
    return [option for action in actions for option in action.option_strings if option not in DJANGO_OPTIONS]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", COMMANDS)
def test_no_random_command_line_ends_in_a_traceback(
    name: str, rows: APIKey, at_length: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = random.Random(f"arguments of {name}")
    app = get_commands()[name]
    options = options_of(load_command_class(app, name), name)
    for _ in range(400 if at_length else 30):
        monkeypatch.setattr("sys.stdin", io.StringIO(fuzz.value(source)))
        arguments = [*fuzz.arguments(source, options), *source.sample(TAKEN, source.randint(0, 4))]
        if source.random() < 0.3:
            arguments.append(source.choice([rows.public_id, "-", "root"]))
        try:
            run(load_command_class(app, name), name, arguments)
        except Exception as error:
            raise AssertionError(f"manage.py {name} {arguments}") from error


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["rollup_usage", "--from", "2026-02-30"], "enter a day as 2026-11-30"),
        (["rollup_usage", "--to", "9999-12-31"], "enter a year from 2000 to 2999"),
        (["rollup_usage", "--from", "0001-01-01"], "enter a year from 2000 to 2999"),
        (["rollup_usage", "--from", "2026-02-02", "--to", "2026-02-01"], "The last day is before the first"),
        (["verify_figures", "--from", "2026-02-02", "--to", "2026-02-01"], "The last day is before the first"),
        (["verify_figures", "--export", "a\0b"], "The file cannot be read: embedded null byte"),
        (["verify_figures", "--export", "."], "The file cannot be read: Is a directory"),
        (["partition_usage", "--months", "25"], "enter a whole number from 1 to 24"),
        (["purge_audit", "--older-than", "1d", "--batch", str(2**63)], "enter a whole number from 1 to 100,000"),
        (["purge_audit", "--older-than", "1d", "--batch", "0"], "enter a whole number from 1 to 100,000"),
        (["issue_key", "--name", " "], "--name: This field is required"),
        (["issue_key", "--name", "\u2003"], "--name: This field is required"),
        (["issue_key", "--name", "app", "--rpm", str(2**63)], "--rpm"),
        (["issue_key", "--name", "app", "--rpm", fuzz.LONG_INTEGER], "--rpm"),
        (["issue_key", "--name", "app", "--expires", "never", "--reason", " "], "--reason"),
        (["run_local_model", "--port", "65536"], "enter a whole number from 1 to 65,535"),
        (["quickstart", "--port", "-1"], "enter a whole number from 1 to 65,535"),
        (["fake_upstream", "--port", "99999"], "enter a whole number from 0 to 65,535"),
    ],
)
def test_an_invalid_argument_is_named(line: list[str], said: str) -> None:
    name, *arguments = line

    assert said in run(load_command_class(get_commands()[name], name), name, arguments)


# ---- In a process of its own


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    yield os.environ | {"STATE_DIR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3"}


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        pytest.param([b"issue_key", b"--name", b"\xff\xfe"], b"", id="name"),
        pytest.param([b"reset_two_factor", b"caf\xe9"], b"", id="Latin-1"),
        pytest.param([b"createsuperuser", b"--username", b"\xff"], b"", id="a command of Django"),
        pytest.param([b"\xff"], b"", id="command"),
    ],
)
def test_arguments_that_are_not_utf8_are_rejected(
    arguments: list[bytes], stdin: bytes, environment: dict[str, str]
) -> None:
    line = [sys.executable.encode(), b"manage.py", *arguments]

    done = subprocess.run(line, cwd=ROOT, env=environment, input=stdin, capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (1, b"Enter arguments in UTF-8.\n")


def test_a_reader_that_ends_early_causes_no_traceback(environment: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        [sys.executable, "manage.py", "help"],
        cwd=ROOT,
        env=environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
    )

    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_raw_key_on_stdin_that_is_not_utf8_is_not_found(rows: APIKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), encoding="utf-8"))

    said = run(load_command_class("keys", "revoke_key"), "revoke_key", ["-"])

    assert "No API key has the raw key on stdin." in said
