"""Keys from the shell: the raw key alone on stdout, one clear line when something is wrong."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from keys import hashing
from keys.models import APIKey

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def admin(db: None) -> User:
    return User.objects.create_superuser("admin", password="a good password of the admin")


@pytest.fixture
def run() -> Run:
    """Runs a command and returns what it wrote to stdout and stderr."""

    def call(*arguments: str) -> tuple[str, str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        call_command(*arguments, stdout=stdout, stderr=stderr)
        return stdout.getvalue(), stderr.getvalue()

    return call


def test_the_raw_key_alone_is_on_stdout_and_nowhere_else(admin: User, run: Run) -> None:
    stdout, stderr = run("issue_key", "--name", "ci")

    raw_key = stdout.removesuffix("\n")
    api_key = APIKey.objects.with_raw_key(raw_key).get()
    assert hashing.is_well_formed(raw_key)
    assert raw_key not in stderr
    assert api_key.public_id in stderr
    assert (api_key.name, api_key.owner, api_key.expires_at, api_key.allowed_models) == ("ci", admin, None, [])


def test_a_key_is_issued_for_the_named_owner_with_its_models(admin: User, owner: User, run: Run) -> None:
    run("issue_key", "--name", "ci", "--owner", "owner", "--models", "claude-*, smollm2-135m,")

    api_key = APIKey.objects.get()
    assert (api_key.owner, api_key.allowed_models) == (owner, ["claude-*", "smollm2-135m"])


@pytest.mark.parametrize(
    ("expires", "moment"),
    [
        pytest.param("90d", datetime(2026, 8, 30, 12, tzinfo=UTC), id="days"),
        pytest.param("2026-06-01", datetime(2026, 6, 2, tzinfo=UTC), id="today is its last day"),
        pytest.param("2027-12-31", datetime(2028, 1, 1, tzinfo=UTC), id="date"),
        pytest.param("never", None, id="never"),
    ],
)
def test_a_key_expires_when_it_was_told_to(admin: User, run: Run, expires: str, moment: datetime | None) -> None:
    with time_machine.travel(datetime(2026, 6, 1, 12, tzinfo=UTC), tick=False):
        run("issue_key", "--name", "ci", "--expires", expires)

    assert APIKey.objects.get().expires_at == moment


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--expires", "2020-01-01"], "--expires lies in the past.", id="past"),
        pytest.param(["--expires", "0d"], "--expires lies in the past.", id="no days"),
        pytest.param(["--expires", "999999999d"], "Give --expires as", id="beyond the calendar"),
        pytest.param(["--expires", "9999-12-31"], "Give --expires as", id="the calendar's last day"),
        pytest.param(["--expires", "soon"], "Give --expires as", id="no time"),
        pytest.param(["--owner", "nobody"], "There is no active user named nobody.", id="owner"),
        pytest.param(["--models", "a*b"], "A * may stand at the end of a model name only.", id="star in the middle"),
        pytest.param(["--name", "x" * 101], "--name: ", id="long name"),
        pytest.param(["--name", ""], "--name: ", id="empty name"),
    ],
)
def test_a_wrong_option_issues_nothing_and_says_so_in_a_line(
    admin: User, run: Run, arguments: list[str], said: str
) -> None:
    with pytest.raises(CommandError) as error:
        run("issue_key", "--name", "ci", *arguments)

    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)
    assert not APIKey.objects.exists()


def test_without_an_admin_the_owner_has_to_be_named(db: None, run: Run) -> None:
    User.objects.create_superuser("gone", password="a good password of the gone", is_active=False)

    with pytest.raises(CommandError, match="no active admin"):
        run("issue_key", "--name", "ci")


@pytest.fixture
def issued(admin: User) -> tuple[APIKey, str]:
    return APIKey.objects.issue(name="ci", owner=admin)


class Pipe(io.StringIO):
    """What a shell's pipe is to a program."""

    def isatty(self) -> bool:
        return False


class Person(Pipe):
    """Somebody who types an answer at a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_key_is_revoked_by_its_public_id(issued: tuple[APIKey, str], run: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdin", Pipe())

    run("revoke_key", issued[0].public_id, "--reason", "left the team")

    issued[0].refresh_from_db()
    assert (issued[0].state, issued[0].revoke_reason) == ("revoked", "left the team")


def test_a_found_raw_key_is_revoked_from_stdin_and_not_repeated(
    issued: tuple[APIKey, str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Pipe(issued[1] + "\n"))

    stdout, stderr = run("revoke_key", "-")

    issued[0].refresh_from_db()
    assert issued[0].state == "revoked"
    assert issued[1] not in stdout + stderr


def test_revoking_twice_keeps_the_first_time_and_reason(
    issued: tuple[APIKey, str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Pipe())
    with time_machine.travel(timezone.now() - timedelta(days=1), tick=False):
        run("revoke_key", issued[0].public_id, "--reason", "first")
        first = timezone.now()

    _, stderr = run("revoke_key", issued[0].public_id, "--reason", "second")

    issued[0].refresh_from_db()
    assert (issued[0].revoked_at, issued[0].revoke_reason) == (first, "first")
    assert "already" in stderr


@pytest.mark.parametrize(
    ("answer", "arguments", "state"),
    [
        pytest.param("y\n", [], "revoked", id="yes"),
        pytest.param("\n", [], "usable", id="no"),
        pytest.param("", ["--yes"], "revoked", id="not asked"),
    ],
)
def test_a_person_is_asked(
    issued: tuple[APIKey, str],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    arguments: list[str],
    state: str,
) -> None:
    monkeypatch.setattr("sys.stdin", Person(answer))

    if state == "usable":
        with pytest.raises(CommandError, match="Nothing was revoked"):
            run("revoke_key", issued[0].public_id, *arguments)
    else:
        run("revoke_key", issued[0].public_id, *arguments)

    issued[0].refresh_from_db()
    assert issued[0].state == state


@pytest.mark.parametrize("is_on_stdin", [True, False])
def test_an_unknown_key_is_an_error_that_does_not_repeat_what_was_given(
    issued: tuple[APIKey, str], run: Run, monkeypatch: pytest.MonkeyPatch, is_on_stdin: bool
) -> None:
    stranger = hashing.generate()
    monkeypatch.setattr("sys.stdin", Pipe(stranger))

    with pytest.raises(CommandError) as error:
        run("revoke_key", "-" if is_on_stdin else stranger)

    assert stranger not in str(error.value)
    assert APIKey.objects.usable().exists()
