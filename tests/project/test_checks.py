"""Settings with which the gateway does not start. Every message names its setting, none shows a value."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from pytest_django import Settings

from keys.models import APIKey, ReportingZone, Team
from project import bind, checks
from project.server.application import Application
from tests.support import ROOT
from tests.support.gateway import free_port
from tests.support.missing import missing
from tests.support.postgres import PostgresCluster, PostgresMissing
from tests.upstream.certificates import Authority

GOOD = "q7Jm2ZtXw9RbKc4VnYp8Ls1HgFd6TaEuMx3Q"
FERNET_KEY = Fernet.generate_key().decode()
VALID: dict[str, Any] = {
    "SECRET_KEY": GOOD,
    "API_KEY_PEPPERS": [GOOD],
    "CREDENTIAL_ENCRYPTION_KEYS": [FERNET_KEY],
    "ALLOWED_HOSTS": ["gateway.test"],
    "BIND": "127.0.0.1:8000",
    "DEBUG": False,
    "HTTPS": True,
    "UPSTREAM_CA_FILE": "",
    "WEB_CONCURRENCY": 1,
    "REDIS_URL": "",
    "ADMIN_TWO_FACTOR": "off",
    "TRUSTED_PROXIES": [],
    "ALERT_WEBHOOK_URL": "",
    "ALERT_EMAILS": [],
    "PUBLIC_URL": "",
}


@pytest.fixture(autouse=True)
def engine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set the database engine, SQLite by default. In place, because Django forbids replacing DATABASES."""

    def choose(name: str) -> None:
        monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", f"django.db.backends.{name}")

    choose("sqlite3")
    return choose


def check(settings: Settings, **changed: Any) -> list[CheckMessage]:
    for name, value in {**VALID, **changed}.items():
        setattr(settings, name, value)
    return checks.check_settings()


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({}, id="production"),
        pytest.param({"API_KEY_PEPPERS": [GOOD, GOOD[::-1]]}, id="two peppers"),
        pytest.param({"DEBUG": True, "HTTPS": False}, id="development"),
        pytest.param({"HTTPS": False, "BIND": "localhost:8000"}, id="plain http on this machine"),
        pytest.param({"HTTPS": False, "BIND": "[::1]:8000"}, id="plain http on this machine by IPv6"),
        pytest.param({"HTTPS": False, "BIND": "unix:/run/gateway.sock"}, id="plain http on a Unix socket"),
        pytest.param({"REDIS_URL": "redis://:secret@host:6379/1"}, id="Redis"),
        pytest.param({"BIND": "0.0.0.0:8000"}, id="every address behind TLS"),
        pytest.param({"ADMIN_TWO_FACTOR": "optional"}, id="optional 2FA"),
        pytest.param({"ADMIN_TWO_FACTOR": "required"}, id="required 2FA"),
    ],
)
def test_valid_settings_pass(settings: Settings, changed: dict[str, Any]) -> None:
    assert check(settings, **changed) == []


@pytest.mark.parametrize(
    ("variable", "changed"),
    [
        pytest.param("SECRET_KEY", {"SECRET_KEY": ""}, id="empty"),
        pytest.param("SECRET_KEY", {"SECRET_KEY": " " * 40}, id="blank"),
        pytest.param("SECRET_KEY", {"SECRET_KEY": GOOD[:31]}, id="short"),
        pytest.param("SECRET_KEY", {"SECRET_KEY": "django-insecure-" + GOOD}, id="insecure"),
        pytest.param("SECRET_KEY", {"SECRET_KEY": "change-me-" + GOOD}, id="change me"),
        pytest.param("SECRET_KEY", {"SECRET_KEY": "YOUR-SECRET-KEY-" + GOOD}, id="your secret key"),
        pytest.param("SECRET_KEY", {"SECRET_KEY": "abc" * 20}, id="few characters"),
        pytest.param("API_KEY_PEPPERS", {"API_KEY_PEPPERS": []}, id="no pepper"),
        pytest.param("API_KEY_PEPPERS", {"API_KEY_PEPPERS": [GOOD, "hot-and-short"]}, id="short second pepper"),
        pytest.param("API_KEY_PEPPERS", {"API_KEY_PEPPERS": [""]}, id="empty pepper"),
        pytest.param("CREDENTIAL_ENCRYPTION_KEYS", {"CREDENTIAL_ENCRYPTION_KEYS": []}, id="no credential key"),
        pytest.param(
            "CREDENTIAL_ENCRYPTION_KEYS", {"CREDENTIAL_ENCRYPTION_KEYS": [FERNET_KEY, GOOD]}, id="no Fernet key"
        ),
        pytest.param("CREDENTIAL_ENCRYPTION_KEYS", {"CREDENTIAL_ENCRYPTION_KEYS": ["Ü" * 44]}, id="not ASCII"),
        pytest.param(
            "CREDENTIAL_ENCRYPTION_KEYS", {"CREDENTIAL_ENCRYPTION_KEYS": ["A" * 43 + "="]}, id="Fernet key of zeros"
        ),
        pytest.param("ALLOWED_HOSTS", {"ALLOWED_HOSTS": ["gateway.test", "*"]}, id="every host"),
        pytest.param("DEBUG", {"DEBUG": True}, id="debug in production"),
        pytest.param("WEB_CONCURRENCY", {"WEB_CONCURRENCY": 2}, id="workers on SQLite"),
        pytest.param("REDIS_URL", {"REDIS_URL": "127.0.0.1:6379/secret"}, id="no address of Redis"),
        pytest.param("REDIS_URL", {"REDIS_URL": "redis://:secret@host:port"}, id="no port of Redis"),
        pytest.param("BIND", {"BIND": "8000"}, id="no address"),
        pytest.param("BIND", {"BIND": "127.0.0.1:http"}, id="no port number"),
        pytest.param("UPSTREAM_CA_FILE", {"UPSTREAM_CA_FILE": "/nonexistent/authority.pem"}, id="no such file"),
        pytest.param("UPSTREAM_CA_FILE", {"UPSTREAM_CA_FILE": __file__}, id="no certificates"),
        pytest.param("ADMIN_TWO_FACTOR", {"ADMIN_TWO_FACTOR": "mandatory"}, id="unknown 2FA mode"),
        pytest.param("ADMIN_TWO_FACTOR", {"ADMIN_TWO_FACTOR": ""}, id="empty 2FA mode"),
        pytest.param("TRUSTED_PROXIES", {"TRUSTED_PROXIES": ["10.0.0.0/8", "foo"]}, id="no address of a proxy"),
        pytest.param("ALERT_WEBHOOK_URL", {"ALERT_WEBHOOK_URL": "ftp://x"}, id="no address of http"),
        pytest.param("ALERT_EMAILS", {"ALERT_EMAILS": ["nobody"]}, id="no address of mail"),
        pytest.param("PUBLIC_URL", {"PUBLIC_URL": "gateway.example.com"}, id="no address that a link could begin with"),
        pytest.param("PUBLIC_URL", {"PUBLIC_URL": "https://gateway.example.com/admin"}, id="address of a page"),
    ],
)
def test_one_invalid_setting_is_one_error_that_names_it_and_hides_its_value(
    settings: Settings, variable: str, changed: dict[str, Any]
) -> None:
    [error] = check(settings, **changed)

    assert error.is_serious()
    assert variable in error.msg
    assert not [text for text in texts(changed) if text in f"{error.msg} {error.hint}"]


def texts(changed: dict[str, Any]) -> list[str]:
    """Return the values that are long enough to be recognized in a message."""
    values = [text for value in changed.values() for text in (value if isinstance(value, list) else [value])]
    return [str(value) for value in values if len(str(value)) > 8]


@pytest.mark.parametrize("name", checks.SECRETS)
def test_a_value_that_names_another_variable_is_rejected(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "$" + GOOD)

    [error] = check(settings)

    assert error.id == "gateway.E001"
    assert name in error.msg


def test_several_workers_need_postgresql(settings: Settings, engine: Callable[[str], None]) -> None:
    engine("postgresql")

    assert check(settings, WEB_CONCURRENCY=4) == []


def test_own_certificate_authorities_pass(settings: Settings, tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_text(Authority().pem)

    assert check(settings, UPSTREAM_CA_FILE=str(authority)) == []


LIMITED: list[dict[str, Any]] = [{"requests_per_minute": 1}, {"tokens_per_minute": 1}, {"concurrent_requests": 1}]


@pytest.mark.parametrize("rules", [*LIMITED, {"concurrent_requests": 1, "shadow_mode": True}], ids=str)
@pytest.mark.parametrize("scope", ["key", "team"])
def test_several_workers_with_limits_need_redis(
    settings: Settings, engine: Callable[[str], None], owner: User, scope: str, rules: dict[str, Any]
) -> None:
    engine("postgresql")
    several = {"WEB_CONCURRENCY": 2, "REDIS_URL": ""}
    APIKey.objects.issue(name="free", owner=owner)
    assert (check(settings, **several), checks.check_limits()) == ([], [])

    if scope == "key":
        APIKey.objects.issue(name="limited", owner=owner, **rules)
    else:
        Team.objects.create(name="limited", **rules)

    [error] = checks.check_limits()
    assert error.is_serious() and "WEB_CONCURRENCY" in error.msg and "REDIS_URL" in error.msg
    with pytest.raises(ImproperlyConfigured, match=r"gateway\.E009"):
        checks.refuse_to_start()
    for valid in ({"WEB_CONCURRENCY": 1}, {"WEB_CONCURRENCY": 2, "REDIS_URL": "redis://127.0.0.1:6379/0"}):
        check(settings, **valid)
        assert checks.check_limits() == []


@pytest.mark.parametrize("rules", LIMITED, ids=str)
def test_limits_that_prevent_a_start_cannot_be_entered(settings: Settings, rules: dict[str, int]) -> None:
    settings.WEB_CONCURRENCY, settings.REDIS_URL = 2, ""
    limited, free = Team(name="limited", **rules), Team(name="free")

    free.clean()
    with pytest.raises(ValidationError, match="REDIS_URL"):
        limited.clean()

    settings.REDIS_URL = "redis://127.0.0.1:6379/0"
    limited.clean()


def test_a_time_zone_that_is_not_in_effect_is_a_warning(db: None, settings: Settings) -> None:
    assert checks.check_reporting_zone() == []
    now = timezone.now()
    ReportingZone.objects.create(name="Europe/Berlin", changed_at=now, confirmed_at=now)

    settings.TIME_ZONE = "UTC"
    [warning] = checks.check_reporting_zone()
    settings.TIME_ZONE = "Europe/Berlin"

    assert (warning.id, warning.is_serious()) == ("gateway.W004", False)
    assert checks.check_reporting_zone() == []


def test_plain_http_beyond_this_machine_is_a_warning(settings: Settings) -> None:
    [warning] = check(settings, HTTPS=False, BIND="0.0.0.0:8000")

    assert (warning.id, warning.is_serious()) == ("gateway.W001", False)


def test_the_start_fails_with_a_line_for_each_error_and_none_for_warnings(db: None, settings: Settings) -> None:
    check(settings, API_KEY_PEPPERS=[], HTTPS=False, BIND=":8000", ALLOWED_HOSTS=["*"])

    with pytest.raises(ImproperlyConfigured) as raised:
        checks.refuse_to_start()

    assert [line.partition(" ")[0] for line in str(raised.value).splitlines()] == ["gateway.E003:", "gateway.E005:"]


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "[::1]:8000", ":8000"])
def test_host_and_port_are_split_and_joined(text: str) -> None:
    assert bind.join(*bind.split(text)) == text


@pytest.mark.parametrize("text", ["127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:", "127.0.0.1", "unix:/path"])
def test_anything_but_a_host_and_a_port_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        bind.split(text)


PRODUCTION = {
    "SECRET_KEY": GOOD + GOOD,
    "API_KEY_PEPPERS": GOOD,
    "CREDENTIAL_ENCRYPTION_KEYS": FERNET_KEY,
    "ALLOWED_HOSTS": "gateway.test",
}


def run_check(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("manage.py", "check", *arguments, **environment)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        # Without the variables of this test run.
        env={"PATH": os.environ["PATH"], "ENV_FILE": "/nonexistent", **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("two_factor", ["off", "required"])
def test_production_settings_pass_the_deployment_check_without_a_warning(two_factor: str) -> None:
    finished = run_check("--deploy", "--fail-level", "WARNING", ADMIN_TWO_FACTOR=two_factor, **PRODUCTION)

    assert (finished.returncode, "no issues" in finished.stdout + finished.stderr) == (0, True), finished.stderr


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        pytest.param(
            {"SECRET_KEY": "", "API_KEY_PEPPERS": "", "CREDENTIAL_ENCRYPTION_KEYS": ""}, PRODUCTION.keys(), id="empty"
        ),
        pytest.param(dict.fromkeys(checks.SECRETS, "$" + GOOD[::-1]), checks.SECRETS, id="references"),
        pytest.param(
            {
                "SECRET_KEY": "django-insecure-" + GOOD,
                "API_KEY_PEPPERS": "hot-pepper",
                "CREDENTIAL_ENCRYPTION_KEYS": GOOD[::-1],
                "DEBUG": "true",
                "WEB_CONCURRENCY": "3",
                "ALLOWED_HOSTS": "*",
            },
            [
                "SECRET_KEY",
                "API_KEY_PEPPERS",
                "CREDENTIAL_ENCRYPTION_KEYS",
                "DEBUG",
                "WEB_CONCURRENCY",
                "ALLOWED_HOSTS",
            ],
            id="weak",
        ),
    ],
)
def test_the_command_names_every_invalid_setting_and_shows_no_secret(changed: dict[str, str], named: list[str]) -> None:
    finished = run_check(**{**PRODUCTION, **changed})

    assert finished.returncode != 0
    assert "Traceback" not in finished.stderr
    for name in set(named) & (set(changed) | {"DEBUG"}):
        assert name in finished.stderr
    for name in checks.SECRETS:
        if value := changed.get(name, PRODUCTION.get(name, "")).removeprefix("$"):
            assert value not in finished.stdout + finished.stderr


SEVERAL_WORKERS = {**PRODUCTION, "WEB_CONCURRENCY": "4"}


def test_an_unavailable_database_does_not_make_the_settings_invalid() -> None:
    unavailable = f"postgres://gateway@127.0.0.1:{free_port()}/gateway"

    finished = run_check("--database", "default", **SEVERAL_WORKERS, DATABASE_URL=unavailable)

    assert (finished.returncode, "Traceback" in finished.stderr) == (0, False), finished.stderr


def test_a_database_without_tables_does_not_make_the_settings_invalid() -> None:
    try:
        cluster = PostgresCluster()
    except PostgresMissing:
        missing("PostgreSQL is not installed")
    cluster.start()
    try:
        finished = run_check("--database", "default", **SEVERAL_WORKERS, DATABASE_URL=cluster.url)
    finally:
        cluster.remove()

    assert (finished.returncode, "Traceback" in finished.stderr) == (0, False), finished.stderr


# ---- The database of a development version.


@pytest.mark.parametrize("migration", sorted(checks.DEVELOPMENT_MIGRATIONS), ids=".".join)
def test_the_database_of_a_development_version_is_rejected(
    db: None, settings: Settings, migration: tuple[str, str]
) -> None:
    assert (check(settings), checks.check_database()) == ([], [])

    MigrationRecorder(connection).record_applied(*migration)

    [error] = checks.check_database()
    assert error.is_serious() and "development version" in error.msg
    assert "DATABASE_URL" in error.msg and "STATE_DIR" in error.msg
    with pytest.raises(ImproperlyConfigured, match=r"gateway\.E015"):
        checks.refuse_to_start()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param('ALTER TABLE "keys_team" RENAME COLUMN "purpose" TO "note"', id="another name"),
        pytest.param('ALTER TABLE "staff_authenticator" ADD COLUMN "old" integer', id="a column more"),
        pytest.param('ALTER TABLE "messages_api_route" RENAME TO "messages_api_path"', id="another table"),
    ],
)
def test_another_state_of_the_initial_migration_is_rejected(db: None, change: str) -> None:
    assert checks.check_database() == []

    with connection.cursor() as cursor:
        cursor.execute(change)

    assert [error.id for error in checks.check_database()] == ["gateway.E015"]


def test_a_database_that_is_about_to_be_migrated_is_accepted(db: None) -> None:
    MigrationRecorder(connection).record_unapplied("keys", "0001_initial")
    with connection.cursor() as cursor:
        cursor.execute('ALTER TABLE "keys_team" RENAME COLUMN "purpose" TO "note"')

    assert checks.check_database() == []


def test_no_current_migration_is_one_of_a_development_version() -> None:
    assert checks.DEVELOPMENT_MIGRATIONS.isdisjoint(MigrationLoader(None).disk_migrations)


@pytest.mark.parametrize("command", [["migrate"], ["quickstart", "--prepare-only"]], ids=lambda words: words[0])
def test_a_command_leaves_the_database_of_a_development_version_unchanged(command: list[str], tmp_path: Path) -> None:
    database = tmp_path / "gateway.sqlite3"
    with closing(sqlite3.connect(database)) as old, old:
        old.execute("CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app TEXT, name TEXT, applied TEXT)")
        old.execute("INSERT INTO django_migrations VALUES (1, 'keys', '0002_keys_as_a_product', '2026-01-01 00:00:00')")

    finished = run("manage.py", *command, **PRODUCTION, STATE_DIR=str(tmp_path), HTTPS="false")

    assert (finished.returncode, "Traceback" in finished.stderr) == (1, False), finished.stderr
    assert "made by a development version before the first release" in finished.stderr
    assert "DATABASE_URL or STATE_DIR" in finished.stderr
    with closing(sqlite3.connect(database)) as old:
        assert old.execute("SELECT name FROM sqlite_master").fetchall() == [("django_migrations",)]
        assert old.execute("SELECT name FROM django_migrations").fetchall() == [("0002_keys_as_a_product",)]


def test_a_worker_does_not_start_with_the_database_of_a_development_version(db: None, settings: Settings) -> None:
    check(settings)
    MigrationRecorder(connection).record_applied("keys", "0002_keys_as_a_product")

    with pytest.raises(ImproperlyConfigured, match="development version before the first release"):
        Application()


@pytest.mark.parametrize(("https", "prefix"), [("true", "__Host-"), ("false", "")])
def test_cookies_over_tls_are_bound_to_the_host(https: str, prefix: str) -> None:
    shown = "from django.conf import settings as s; print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME)"
    finished = subprocess.run(
        [sys.executable, "-c", shown],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "ENV_FILE": "/nonexistent",
            "HTTPS": https,
            **PRODUCTION,
        },
        capture_output=True,
        text=True,
    )

    assert finished.stdout.split() == [f"{prefix}sessionid", f"{prefix}csrftoken"]
