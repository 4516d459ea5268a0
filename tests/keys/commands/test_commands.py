"""Commands for API keys: only the raw key on stdout, and one line per error."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from keys.domain import raw_key
from keys.models import APIKey, Budget, KeySecret, Team

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def admin(db: None) -> User:
    return User.objects.create_superuser("admin")  # without a password: hashing one takes a third of a second


@pytest.fixture
def team(db: None) -> Team:
    team = Team.objects.create(name="Search", requests_per_minute=100, allowed_models=["claude-*"])
    Budget.objects.create(team=team, amount=200_000_000, period="month")
    return team


@pytest.fixture
def run() -> Run:
    """Run a command and return its stdout and stderr."""

    def call(*arguments: str) -> tuple[str, str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        call_command(*arguments, stdout=stdout, stderr=stderr)
        return stdout.getvalue(), stderr.getvalue()

    return call


def test_only_the_raw_key_is_on_stdout(admin: User, run: Run) -> None:
    stdout, stderr = run("issue_key", "--name", "ci")

    raw = stdout.removesuffix("\n")
    api_key = APIKey.objects.with_raw_key(raw).get()
    assert raw_key.is_well_formed(raw)
    assert raw not in stderr
    assert api_key.public_id in stderr
    assert (api_key.name, api_key.owner, api_key.allowed_models) == ("ci", admin, [])


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
def test_a_key_expires_at_the_given_time(admin: User, run: Run, expires: str, moment: datetime | None) -> None:
    with time_machine.travel(datetime(2026, 6, 1, 12, tzinfo=UTC), tick=False):
        run("issue_key", "--name", "ci", "--expires", expires, *(["--reason", "no clock"] if moment is None else []))

    api_key = APIKey.objects.get()
    assert (api_key.expires_at, api_key.no_expiry_reason) == (moment, "no clock" if moment is None else "")


def test_a_key_expires_in_ninety_days_by_default(admin: User, run: Run) -> None:
    with time_machine.travel(datetime(2026, 6, 1, 12, tzinfo=UTC), tick=False):
        run("issue_key", "--name", "ci")

    assert APIKey.objects.get().expires_at == datetime(2026, 8, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--expires", "2020-01-01"], "--expires is in the past.", id="past"),
        pytest.param(["--expires", "0d"], "--expires is in the past.", id="no days"),
        pytest.param(["--expires", "999999999d"], "--expires: enter 90d", id="beyond the calendar"),
        pytest.param(["--expires", "9999-12-31"], "--expires: enter 90d", id="the calendar's last day"),
        pytest.param(["--expires", "soon"], "--expires: enter 90d", id="no time"),
        pytest.param(["--expires", "never"], "--reason: enter one with --expires never", id="no reason"),
        pytest.param(["--reason", "no clock"], "--reason: enter one with --expires never", id="a reason for nothing"),
        pytest.param(["--owner", "nobody"], "No active user is named nobody.", id="owner"),
        pytest.param(["--models", "a*b"], "--models: Use * only at the end", id="star in the middle"),
        pytest.param(["--name", "x" * 101], "--name: ", id="long name"),
        pytest.param(["--name", ""], "--name: ", id="empty name"),
        pytest.param(["--name", raw_key.generate()], "--name: Remove the API key", id="a raw key as a name"),
        pytest.param(["--rpm", "0"], "--rpm: ", id="no request a minute"),
        pytest.param(["--tpm", "-1"], "--tpm: ", id="less than no token"),
        pytest.param(["--budget", "20"], "--budget: Enter a budget as", id="no period"),
        pytest.param(["--budget", "1.0000001/day"], "--budget: A millionth of", id="a tenth of a millionth"),
        pytest.param(["--budget", "1/day", "--budget", "2/day"], "--budget: enter one", id="two budgets a day"),
        pytest.param(["--budget", "9999999999/day"], "--budget: ", id="more than there is"),
        pytest.param(["--allowed-ips", "here"], "--allowed-ips: Enter one IP address", id="no address"),
        pytest.param(["--allowed-ips", "0.0.0.0/0"], "--allowed-ips allows any", id="any address"),
        pytest.param(["--allowed-ips", "0.0.0.0/1,128.0.0.0/1"], "--allowed-ips allows any", id="any address, split"),
        pytest.param(["--metadata", "ticket"], "--metadata: Enter one name=value", id="no pair"),
        pytest.param(["--team", "nobody"], "No enabled team is named nobody.", id="team"),
        pytest.param(["--team", "Search", "--rpm", "101"], "--rpm: The team Search has 100", id="more than the team"),
        pytest.param(["--team", "Search", "--models", "gpt*"], "--models: The team Search", id="not the team's model"),
        pytest.param(["--team", "Search", "--budget", "201/day"], "--budget: The team Search", id="the team's budget"),
        pytest.param(
            ["--team", "Search", "--owner", "admin"], "Error: argument --owner", id="both a team and a person"
        ),
    ],
)
def test_an_invalid_option_issues_nothing_and_is_named_in_one_line(
    admin: User, team: Team, run: Run, arguments: list[str], message: str
) -> None:
    with pytest.raises(CommandError) as error:
        run("issue_key", "--name", "ci", *arguments)

    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert not APIKey.objects.exists()


def test_a_key_is_issued_with_every_option(team: Team, run: Run) -> None:
    arguments = "--team Search --purpose tickets --rpm 60 --tpm 1000 --max-concurrent 5 --shadow --models claude-3"
    budgets = "--budget 20/month --budget 1000000tokens/day"
    rest = "--allowed-ips 192.0.2.0/24,2001:db8::1 --metadata ticket=OPS-17 --metadata a=b=c"

    _, stderr = run("issue_key", "--name", "ci", *f"{arguments} {budgets} {rest}".split())

    api_key = APIKey.objects.get()
    assert (api_key.team, api_key.owner, api_key.purpose) == (team, None, "tickets")
    assert (api_key.requests_per_minute, api_key.tokens_per_minute, api_key.concurrent_requests) == (60, 1000, 5)
    assert api_key.shadow_mode and api_key.allowed_models == ["claude-3"]
    assert api_key.allowed_ips == ["192.0.2.0/24", "2001:db8::1"]
    assert api_key.metadata == {"ticket": "OPS-17", "a": "b=c"}
    found = set(api_key.budgets.values_list("unit", "period", "amount"))
    assert found == {("usd", "month", 20_000_000), ("tokens", "day", 1_000_000)}
    assert "Budget: $20.00 per month and 1,000,000 tokens per day; shared with its team: $200.00 per month" in stderr


def test_an_allowlist_of_any_ip_address_requires_confirmation(admin: User, run: Run) -> None:
    run("issue_key", "--name", "ci", "--allowed-ips", "::/0", "--allow-any-ip")

    assert APIKey.objects.get().allowed_ips == ["::/0"]


@pytest.mark.parametrize("command", ["issue_key", "rotate_key", "revoke_key", "list_keys"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        call_command(command, "--help")

    assert ending.value.code == 0
    assert f"manage.py {command}" in " ".join(capsys.readouterr().out.split())


def test_without_an_active_admin_the_owner_is_required(db: None, run: Run) -> None:
    User.objects.create_superuser("gone", is_active=False)

    with pytest.raises(CommandError, match="no active admin"):
        run("issue_key", "--name", "ci")


@pytest.fixture
def issued(admin: User) -> tuple[APIKey, str]:
    return APIKey.objects.issue(name="ci", owner=admin)


class Pipe(io.StringIO):
    """Stdin that is a pipe."""

    def isatty(self) -> bool:
        return False


class Terminal(Pipe):
    """Stdin that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_key_is_revoked_by_its_public_id(issued: tuple[APIKey, str], run: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdin", Pipe())

    run("revoke_key", issued[0].public_id, "--note", "left the team")

    issued[0].refresh_from_db()
    assert (issued[0].state, issued[0].revocation_note) == ("revoked", "left the team")


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
        run("revoke_key", issued[0].public_id, "--note", "first")
        first = timezone.now()

    _, stderr = run("revoke_key", issued[0].public_id, "--note", "second")

    issued[0].refresh_from_db()
    assert (issued[0].revoked_at, issued[0].revocation_note) == (first, "first")
    assert "already" in stderr


@pytest.mark.parametrize(
    ("answer", "arguments", "state"),
    [
        pytest.param("y\n", [], "revoked", id="yes"),
        pytest.param("\n", [], "active", id="no"),
        pytest.param("", ["--yes"], "revoked", id="without a question"),
    ],
)
def test_revoking_on_a_terminal_asks_for_confirmation(
    issued: tuple[APIKey, str],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    arguments: list[str],
    state: str,
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))

    if state == "active":
        with pytest.raises(CommandError, match="Nothing was revoked"):
            run("revoke_key", issued[0].public_id, *arguments)
    else:
        run("revoke_key", issued[0].public_id, *arguments)

    issued[0].refresh_from_db()
    assert issued[0].state == state


@pytest.mark.parametrize("is_on_stdin", [True, False])
def test_the_error_for_an_unknown_key_does_not_repeat_the_argument(
    issued: tuple[APIKey, str], run: Run, monkeypatch: pytest.MonkeyPatch, is_on_stdin: bool
) -> None:
    unknown = raw_key.generate()
    monkeypatch.setattr("sys.stdin", Pipe(unknown))

    with pytest.raises(CommandError) as error:
        run("revoke_key", "-" if is_on_stdin else unknown)

    assert unknown not in str(error.value)
    assert APIKey.objects.active().exists()


@pytest.mark.parametrize("reason", ["compromised", "owner_left"])
def test_the_reason_of_a_revocation_is_stored(issued: tuple[APIKey, str], run: Run, reason: str) -> None:
    _, stderr = run("revoke_key", issued[0].public_id, "--reason", reason, "--yes")

    issued[0].refresh_from_db()
    assert issued[0].revocation_reason == reason
    assert ("streams are terminated within 15 s" in stderr) == (reason == "compromised")


def test_an_unknown_reason_revokes_nothing(issued: tuple[APIKey, str], run: Run) -> None:
    with pytest.raises(CommandError, match="invalid choice"):
        run("revoke_key", issued[0].public_id, "--reason", "boredom", "--yes")

    assert APIKey.objects.active().exists()


@pytest.mark.parametrize(
    ("overlap", "duration"),
    [("0", 0), ("now", 0), ("30s", 30), ("30m", 1800), ("24h", 86_400), ("7d", 7 * 86_400), (None, 86_400)],
)
def test_rotation_writes_only_the_raw_key_to_stdout(
    issued: tuple[APIKey, str], run: Run, overlap: str | None, duration: int
) -> None:
    api_key, old = issued

    stdout, stderr = run("rotate_key", api_key.public_id, *(["--overlap", overlap] if overlap else []))

    raw = stdout.removesuffix("\n")
    assert raw_key.is_well_formed(raw) and raw != old and raw not in stderr
    first, second = KeySecret.objects.order_by("pk")
    assert APIKey.objects.with_raw_key(raw).get() == api_key and second.expires_at is None
    assert abs((first.expires_at - second.created_at).total_seconds() - duration) < 1


@pytest.mark.parametrize("overlap", ["soon", "-1h", "1w", "91d", "1.5h", "٣h"])
def test_an_invalid_overlap_rotates_nothing(issued: tuple[APIKey, str], run: Run, overlap: str) -> None:
    with pytest.raises(CommandError):
        run("rotate_key", issued[0].public_id, f"--overlap={overlap}")

    assert KeySecret.objects.count() == 1


def test_a_revoked_key_is_not_rotated(issued: tuple[APIKey, str], run: Run) -> None:
    issued[0].revoke()

    with pytest.raises(CommandError, match="is revoked"):
        run("rotate_key", issued[0].public_id)

    assert KeySecret.objects.count() == 1


def test_keys_are_listed_as_json(issued: tuple[APIKey, str], team: Team, run: Run) -> None:
    other, _ = APIKey.objects.issue(name="bot", team=team, requests_per_minute=5, metadata={"a": "b"})
    Budget.objects.create(api_key=other, amount=500_000, period="day")

    stdout, _ = run("list_keys", "--json")

    bot, ci = json.loads(stdout)
    assert (ci["id"], ci["owner"], ci["team"], ci["state"]) == (issued[0].public_id, "admin", None, "active")
    assert (bot["team"], bot["requests_per_minute"], bot["metadata"]) == ("Search", 5, {"a": "b"})
    assert bot["budgets"] == [{"amount": "0.50", "unit": "usd", "period": "day"}]
    assert issued[1] not in stdout and ci["hints"] == [f"mgw_{raw_key.hint(issued[1])}…"]


def test_keys_are_listed_as_a_table_without_control_characters(issued: tuple[APIKey, str], run: Run) -> None:
    APIKey.objects.update(name="ci\x1b[2J\nroot")
    APIKey.objects.issue(name="gone", owner=issued[0].owner)[0].revoke()

    stdout, _ = run("list_keys", "--state", "active")

    head, row = stdout.splitlines()
    assert head.split()[:3] == ["ID", "STATE", "NAME"]
    assert row.split()[:3] == [issued[0].public_id, "active", "ci?[2J?root"] and "\x1b" not in stdout
