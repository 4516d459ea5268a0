"""Invalid variables are rejected by name. No value is misread or shown."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from project.environment import Environment
from tests.support import ROOT

Read = Callable[[Environment], Any]


def flag(env: Environment) -> bool:
    return env.flag("VARIABLE", default=True)


def count(env: Environment) -> int:
    return env.count("VARIABLE", default=3, at_least=1)


def seconds(env: Environment) -> float:
    return env.seconds("VARIABLE", default=2.5)


def seconds_or_none(env: Environment) -> float:
    return env.seconds("VARIABLE", default=2.5, may_be_none=True)


def choice(env: Environment) -> str:
    return env.choice("VARIABLE", ["INFO", "DEBUG"], default="INFO")


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (flag, "false", False),
        (flag, "Off", False),
        (flag, "0", False),
        (flag, " TRUE ", True),
        (flag, "", True),
        (count, "12", 12),
        (count, "", 3),
        (seconds, "0.05", 0.05),
        (seconds, "1e3", 1000.0),
        (seconds, "", 2.5),
        (seconds_or_none, "0", 0.0),
        (choice, "DEBUG", "DEBUG"),
        (choice, "", "INFO"),
    ],
)
def test_a_valid_value_is_read(monkeypatch: pytest.MonkeyPatch, read: Read, text: str, value: object) -> None:
    monkeypatch.setenv("VARIABLE", text)

    assert read(Environment()) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (flag, "maybe"),
        (flag, "enabled"),
        (count, "two"),
        (count, "0"),
        (count, "-1"),
        (count, "1.5"),
        (count, "٣"),
        (count, "1" * 10),
        (seconds, "50ms"),
        (seconds, "1m"),
        (seconds, "0"),
        (seconds, "-5"),
        (seconds, "nan"),
        (seconds, "inf"),
        (seconds, "1e308"),
        (seconds, "86401"),
        (seconds_or_none, "-5"),
        (choice, "LOUD"),
    ],
)
def test_an_invalid_value_is_rejected_and_not_shown(monkeypatch: pytest.MonkeyPatch, read: Read, text: str) -> None:
    monkeypatch.setenv("VARIABLE", text)

    with pytest.raises(ImproperlyConfigured, match=r"^VARIABLE is (not|none|neither)") as caught:
        read(Environment())

    if len(text) > 2:  # shorter values occur in the message by chance
        assert text not in str(caught.value)


@pytest.mark.parametrize("url", ["nope", "mysql://localhost/gateway", "sqlite:path"])
def test_an_unsupported_database_is_rejected(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL is not"):
        Environment().database(url)


def test_a_command_reports_an_invalid_value_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**os.environ, "HTTPS": "maybe"},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (1, "Cannot start: HTTPS is not true or false.\n")
