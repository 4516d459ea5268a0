"""System checks of the settings and the database. Errors prevent the start.

Every message names its variable and none shows a value, because messages end up in terminals and log stores.
"""

import ipaddress
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from cryptography.fernet import Fernet
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Q
from redis.connection import parse_url

from lib import deadlines
from project import bind
from project.settings import env  # the raw values, which django-environ has not interpreted

Result = TypeVar("Result")

QUERY_TIMEOUT_S = 2.0
MIN_SECRET_LENGTH = 32
MIN_DISTINCT_CHARACTERS = 8
PLACEHOLDERS = ("change-me", "changeme", "change_me", "example", "placeholder", "replace", "your-", "your_", "xxxx")
SECRETS = ("SECRET_KEY", "API_KEY_PEPPERS", "CREDENTIAL_ENCRYPTION_KEYS", "UPSTREAM_API_KEY")

DEVELOPMENT_MIGRATIONS = {
    ("keys", "0002_keys_as_a_product"),
    ("messages_api", "0002_upstream_profile"),
    ("staff", "0001_roles_and_second_factor"),
}
"""Migrations of development versions. The first release replaced them by one initial migration for each app."""
MIGRATED_APPS = ("keys", "messages_api", "staff")

NEW_SECRET = 'Generate one: python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
NEW_FERNET_KEY = (
    'Generate one: .venv/bin/python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
)


def refuse_to_start() -> None:
    """Raise ImproperlyConfigured with one line for each error.

    For programs that do not run system checks: a gunicorn worker loads the application without a management command.
    """
    messages = (*check_settings(), *check_database(), *check_limits())
    errors = [message for message in messages if message.is_serious()]
    if errors:
        raise ImproperlyConfigured("\n".join(f"{error.id}: {error.msg}" for error in errors))


@register("gateway")
def check_settings(**kwargs: object) -> list[CheckMessage]:
    """Check the settings. Every management command runs this check."""
    return [
        *_references(),
        *_secret_key(),
        *_peppers(),
        *_credential_keys(),
        *_hosts_and_debug(),
        *_workers(),
        *_capacity(),
        *_redis(),
        *_transport(),
        *_proxies(),
        *_authorities(),
        *_alerts(),
        *_two_factor(),
    ]


@register(Tags.database, "gateway")
def check_database(**kwargs: object) -> list[CheckMessage]:
    """Check that the database was not made by a development version. Runs with commands that use the database."""
    if not _query(_is_of_development_version, default=False):
        return []
    return [
        Error(
            "This database was made by a development version before the first release and cannot be migrated. "
            "Start with a new one: set DATABASE_URL or STATE_DIR.",
            id="gateway.E015",
        )
    ]


def _is_of_development_version() -> bool:
    """Return whether migrations of another name were applied, or those of today's names had another content."""
    applied = set(MigrationRecorder(connection).applied_migrations())
    if not DEVELOPMENT_MIGRATIONS.isdisjoint(applied):
        return True
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        for name in MIGRATED_APPS:
            app = apps.get_app_config(name)
            if not {(name, path.stem) for path in Path(app.path, "migrations").glob("0*.py")} <= applied:
                continue  # new, or about to be migrated
            for model in app.get_models(include_auto_created=True):
                if model._meta.proxy:
                    continue
                table = model._meta.db_table
                columns = {field.column for field in model._meta.local_concrete_fields}
                if table not in tables or columns != _columns(cursor, table):
                    return True
    return False


def _columns(cursor: Any, table: str) -> set[str]:
    return {column.name for column in connection.introspection.get_table_description(cursor, table)}


@register(Tags.database, "gateway")
def check_limits(**kwargs: object) -> list[CheckMessage]:
    """Check that several workers share the counters of limits. Runs with commands that use the database."""
    if settings.WEB_CONCURRENCY == 1 or settings.REDIS_URL or _is_sqlite() or not _has_limits():
        return []
    return [
        Error(
            "WEB_CONCURRENCY is above 1 without REDIS_URL, and limits are configured: each worker would count alone.",
            hint="Set REDIS_URL to a Redis or Valkey server, or WEB_CONCURRENCY=1.",
            id="gateway.E009",
        )
    ]


@register(Tags.database, "gateway")
def check_reporting_zone(**kwargs: object) -> list[CheckMessage]:
    """Check that the reporting time zone is the one in effect. Runs with commands that use the database."""
    if _query(_in_effect, default=settings.TIME_ZONE) == settings.TIME_ZONE:
        return []
    return [
        Warning(
            "REPORTING_TIME_ZONE is not the reporting time zone in effect.",
            hint="It takes effect once no process has the other one: set it on all hosts, and restart them.",
            id="gateway.W004",
        )
    ]


def _in_effect() -> str:
    """Return the reporting time zone in effect: that of the settings while none is recorded."""
    zone = apps.get_model("keys", "ReportingZone").objects.first()
    return settings.TIME_ZONE if zone is None else str(zone)


def weaknesses() -> Iterator[CheckMessage]:
    """Yield warnings about insecure but allowed settings. Only the admin shows them."""
    if settings.DEBUG:
        yield Warning("DEBUG is on: error pages show settings and code.", hint="Set DEBUG=false.", id="gateway.W002")
    if settings.HTTPS and settings.ADMIN_TWO_FACTOR == "off":
        hint = "Set ADMIN_TWO_FACTOR to optional or required."
        yield Warning("A password alone opens the admin.", hint=hint, id="gateway.W003")


def _has_limits() -> bool:
    """Return whether an API key or a team has a limit. False if the database is unavailable or has no tables."""
    is_limited = ~Q(requests_per_minute=None, tokens_per_minute=None, concurrent_requests=None)
    models = [apps.get_model("keys", name) for name in ("APIKey", "Team")]  # not yet loaded when this is imported
    return _query(lambda: any(model.objects.filter(is_limited).exists() for model in models), default=False)


def _query(read: Callable[[], Result], *, default: Result) -> Result:
    """Return what `read` returns; the default if the database is unavailable or has no tables."""
    try:
        with deadlines.deadline(QUERY_TIMEOUT_S):
            return read()
    except DatabaseError:
        return default
    finally:
        if not connection.in_atomic_block:
            connection.close()  # otherwise it occupies a slot of the worker's pool


def weakness(secret: str) -> str | None:
    """Return why a secret cannot be used, as a phrase that follows its name; None for a usable secret."""
    if not secret.strip():
        return "is empty"
    if secret.startswith("django-insecure-"):
        return "was generated for development (django-insecure-)"
    if any(word in secret.lower() for word in PLACEHOLDERS):
        return "is an example value"
    if len(secret) < MIN_SECRET_LENGTH:
        return f"is shorter than {MIN_SECRET_LENGTH} characters"
    if len(set(secret)) < MIN_DISTINCT_CHARACTERS:
        return f"has fewer than {MIN_DISTINCT_CHARACTERS} different characters"
    return None


def _references() -> Iterator[CheckMessage]:
    for name in SECRETS:
        if env.ENVIRON.get(name, "").startswith("$"):
            yield Error(
                f"{name} starts with $, so it would be read as the name of another variable.",
                hint="Write the value itself, or choose one that does not start with $.",
                id="gateway.E001",
            )


def _secret_key() -> Iterator[CheckMessage]:
    try:
        found = weakness(settings.SECRET_KEY)
    except ImproperlyConfigured:  # raised by Django if it is empty
        found = "is empty"
    if found:
        yield Error(f"SECRET_KEY {found}.", hint=NEW_SECRET, id="gateway.E002")


def _peppers() -> Iterator[CheckMessage]:
    if not settings.API_KEY_PEPPERS:
        yield Error("API_KEY_PEPPERS is empty.", hint=NEW_SECRET, id="gateway.E003")
    for position, pepper in enumerate(settings.API_KEY_PEPPERS, start=1):
        if found := weakness(pepper):
            yield Error(f"API_KEY_PEPPERS: pepper {position} {found}.", hint=NEW_SECRET, id="gateway.E003")


def _credential_keys() -> Iterator[CheckMessage]:
    if not settings.CREDENTIAL_ENCRYPTION_KEYS:
        yield Error("CREDENTIAL_ENCRYPTION_KEYS is empty.", hint=NEW_FERNET_KEY, id="gateway.E004")
    for position, key in enumerate(settings.CREDENTIAL_ENCRYPTION_KEYS, start=1):
        if found := _fernet_fault(key) or weakness(key):
            yield Error(f"CREDENTIAL_ENCRYPTION_KEYS: key {position} {found}.", hint=NEW_FERNET_KEY, id="gateway.E004")


def _fernet_fault(key: str) -> str | None:
    try:
        Fernet(key)
    except ValueError:
        return "is not a Fernet key"
    return None


def _hosts_and_debug() -> Iterator[CheckMessage]:
    if "*" in settings.ALLOWED_HOSTS:
        yield Error(
            "ALLOWED_HOSTS contains *, so a client could choose the host name in links.",
            hint="List the host names of the gateway.",
            id="gateway.E005",
        )
    if settings.DEBUG and settings.HTTPS:
        yield Error(
            "DEBUG is on together with HTTPS: error pages would show settings and code to any client.",
            hint="Set DEBUG=false. For local development, set HTTPS=false.",
            id="gateway.E006",
        )


def _is_sqlite() -> bool:
    return settings.DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3"


def _workers() -> Iterator[CheckMessage]:
    if _is_sqlite() and settings.WEB_CONCURRENCY > 1:
        yield Error(
            "WEB_CONCURRENCY is above 1 with SQLite, which supports one writing process.",
            hint="Set WEB_CONCURRENCY=1, or DATABASE_URL to a PostgreSQL database.",
            id="gateway.E007",
        )


def _capacity() -> Iterator[CheckMessage]:
    if settings.MAX_CONNECTIONS <= settings.MAX_API_REQUESTS + settings.MAX_PAGE_REQUESTS:
        yield Error(
            "MAX_CONNECTIONS is not above the sum of MAX_API_REQUESTS and MAX_PAGE_REQUESTS.",
            hint="Set it a tenth above the sum: a connection without a request needs room too.",
            id="gateway.E016",
        )


def _redis() -> Iterator[CheckMessage]:
    try:
        if settings.REDIS_URL:
            parse_url(settings.REDIS_URL)
    except ValueError:
        yield Error(
            "REDIS_URL is not a valid Redis URL.",
            hint="Examples: redis://host:6379/0, rediss://host:6379/0, unix:///path.",
            id="gateway.E010",
        )


def _transport() -> Iterator[CheckMessage]:
    try:
        is_exposed = not bind.is_loopback(settings.BIND)
    except ValueError:
        yield Error("BIND is not a host and a port.", hint="Examples: 127.0.0.1:8000, unix:/path.", id="gateway.E008")
        return
    if is_exposed and not settings.HTTPS:
        yield Warning(
            "HTTPS is off while BIND is reachable from other machines: keys and passwords are sent unencrypted.",
            hint="Set HTTPS=true and use a TLS proxy, or bind to 127.0.0.1.",
            id="gateway.W001",
        )


def _proxies() -> Iterator[CheckMessage]:
    try:
        for proxy in settings.TRUSTED_PROXIES:
            ipaddress.ip_network(proxy, strict=False)
    except ValueError:
        yield Error(
            "TRUSTED_PROXIES contains an invalid IP address or range.",
            hint="Example: 127.0.0.1,172.16.0.0/12,::1.",
            id="gateway.E013",
        )


def _authorities() -> Iterator[CheckMessage]:
    if not settings.UPSTREAM_CA_FILE:
        return
    try:
        ssl.create_default_context(cafile=settings.UPSTREAM_CA_FILE)
    except OSError:  # includes TLS errors
        yield Error(
            "UPSTREAM_CA_FILE contains no readable certificates, so no upstream would be trusted.",
            hint="Use a PEM file with the certificates of the authorities, readable by the gateway.",
            id="gateway.E011",
        )


def _alerts() -> Iterator[CheckMessage]:
    if settings.ALERT_WEBHOOK_URL and not settings.ALERT_WEBHOOK_URL.startswith(("https://", "http://")):
        yield Error("ALERT_WEBHOOK_URL is not an http or https URL.", id="gateway.E014")
    if not all("@" in recipient for recipient in settings.ALERT_EMAILS):
        yield Error("ALERT_EMAILS contains an invalid e-mail address.", id="gateway.E014")
    if settings.PUBLIC_URL and not re.fullmatch(r"https?://[^/?#\s]+", settings.PUBLIC_URL):
        yield Error("PUBLIC_URL is not a URL such as https://gateway.example.org, without a path.", id="gateway.E014")


def _two_factor() -> Iterator[CheckMessage]:
    if settings.ADMIN_TWO_FACTOR not in ("off", "optional", "required"):
        yield Error(
            "ADMIN_TWO_FACTOR is not off, optional or required.",
            hint="off: no codes. optional: for users who have set it up. required: for every user.",
            id="gateway.E012",
        )
