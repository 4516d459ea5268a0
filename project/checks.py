"""Refuses to start insecurely or inconsistently.

Every message names its variable and none shows a value: what is printed here ends up in terminals and log stores.
"""

import ipaddress
import re
import ssl
from collections.abc import Iterator

from cryptography.fernet import Fernet
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Q
from redis.connection import parse_url

from project import bind
from project.settings import env  # the raw values: django.conf.settings has what django-environ made of them

MIN_SECRET_LENGTH = 32
MIN_DISTINCT_CHARACTERS = 8
PLACEHOLDERS = ("change-me", "changeme", "change_me", "example", "placeholder", "replace", "your-", "your_", "xxxx")
SECRETS = ("SECRET_KEY", "API_KEY_PEPPERS", "CREDENTIAL_ENCRYPTION_KEYS", "UPSTREAM_API_KEY")

NEW_SECRET = 'Generate one: python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
NEW_FERNET_KEY = (
    'Generate one: .venv/bin/python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
)


def refuse_to_start() -> None:
    """Raise ImproperlyConfigured, with one line for each error, unless the settings allow to serve.

    For programs that no system check precedes: a gunicorn worker loads the application without a management command.
    """
    errors = [message for message in (*check_settings(), *check_limits()) if message.is_serious()]
    if errors:
        raise ImproperlyConfigured("\n".join(f"{error.id}: {error.msg}" for error in errors))


@register("gateway")
def check_settings(**kwargs: object) -> list[CheckMessage]:
    """All that is wrong with the settings. Part of every management command's system checks."""
    return [
        *_references(),
        *_secret_key(),
        *_peppers(),
        *_credential_keys(),
        *_hosts_and_debug(),
        *_workers(),
        *_redis(),
        *_transport(),
        *_proxies(),
        *_authorities(),
        *_alerts(),
        *_two_factor(),
    ]


@register(Tags.database, "gateway")
def check_limits(**kwargs: object) -> list[CheckMessage]:
    """Whether the workers can count together what is limited. Asks the database: not part of every command's checks."""
    if settings.WEB_CONCURRENCY == 1 or settings.REDIS_URL or _is_sqlite() or not _anything_is_limited():
        return []
    return [
        Error(
            "WEB_CONCURRENCY is above 1 without REDIS_URL, and there are limits: each worker would count alone.",
            hint="Set REDIS_URL to a Redis or Valkey server, or WEB_CONCURRENCY=1.",
            id="gateway.E009",
        )
    ]


def weaknesses() -> Iterator[CheckMessage]:
    """What is allowed, and makes the gateway weaker than it could be. For the admin: no command warns of it."""
    if settings.DEBUG:
        yield Warning("DEBUG is on: error pages show settings and code.", hint="Set DEBUG=false.", id="gateway.W002")
    if settings.HTTPS and settings.ADMIN_TWO_FACTOR == "off":
        hint = "Set ADMIN_TWO_FACTOR to optional or required."
        yield Warning("A password alone opens the admin.", hint=hint, id="gateway.W003")


def _anything_is_limited() -> bool:
    """Whether a key or a team has a limit. A database without our tables, or away, has none to speak of."""
    is_limited = ~Q(requests_per_minute=None, tokens_per_minute=None, concurrent_requests=None)
    models = [apps.get_model("keys", name) for name in ("APIKey", "Team")]  # there are none while this is imported
    try:
        return any(model.objects.filter(is_limited).exists() for model in models)
    except DatabaseError:
        return False
    finally:
        if not connection.in_atomic_block:
            connection.close()  # nobody else would: it would keep a slot of the worker's pool


def weakness(secret: str) -> str | None:
    """Why a secret cannot be used, in words that follow its name; None if it can."""
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
                f"{name} begins with $, which would make it the name of another variable.",
                hint="Write the value itself, or choose one that begins otherwise.",
                id="gateway.E001",
            )


def _secret_key() -> Iterator[CheckMessage]:
    try:
        found = weakness(settings.SECRET_KEY)
    except ImproperlyConfigured:  # Django's own way to say that it is empty
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
        if found := _is_no_fernet_key(key) or weakness(key):
            yield Error(f"CREDENTIAL_ENCRYPTION_KEYS: key {position} {found}.", hint=NEW_FERNET_KEY, id="gateway.E004")


def _is_no_fernet_key(key: str) -> str | None:
    try:
        Fernet(key)
    except ValueError:
        return "is not a Fernet key"
    return None


def _hosts_and_debug() -> Iterator[CheckMessage]:
    if "*" in settings.ALLOWED_HOSTS:
        yield Error(
            "ALLOWED_HOSTS contains *, so anybody chooses the host names in our links.",
            hint="List the names under which the gateway is reached.",
            id="gateway.E005",
        )
    if settings.DEBUG and settings.HTTPS:
        yield Error(
            "DEBUG is on together with HTTPS: error pages would show settings and code to the world.",
            hint="Set DEBUG=false; for work on this machine set HTTPS=false.",
            id="gateway.E006",
        )


def _is_sqlite() -> bool:
    return settings.DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3"


def _workers() -> Iterator[CheckMessage]:
    if _is_sqlite() and settings.WEB_CONCURRENCY > 1:
        yield Error(
            "WEB_CONCURRENCY is above 1 with SQLite, which lets one process write.",
            hint="Set WEB_CONCURRENCY=1, or DATABASE_URL to a PostgreSQL database.",
            id="gateway.E007",
        )


def _redis() -> Iterator[CheckMessage]:
    try:
        if settings.REDIS_URL:
            parse_url(settings.REDIS_URL)
    except ValueError:
        yield Error(
            "REDIS_URL is not the address of a Redis server.",
            hint="Write it like redis://host:6379/0, rediss://… or unix:///path.",
            id="gateway.E010",
        )


def _transport() -> Iterator[CheckMessage]:
    try:
        is_exposed = not bind.is_loopback(settings.BIND)
    except ValueError:
        yield Error(
            "BIND is not an address and a port.", hint="Write it like 127.0.0.1:8000 or unix:/path.", id="gateway.E008"
        )
        return
    if is_exposed and not settings.HTTPS:
        yield Warning(
            "HTTPS is off while BIND is reachable from other machines: keys, passwords and cookies travel in clear.",
            hint="Set HTTPS=true and put a TLS proxy in front, or bind to 127.0.0.1.",
            id="gateway.W001",
        )


def _proxies() -> Iterator[CheckMessage]:
    try:
        for proxy in settings.TRUSTED_PROXIES:
            ipaddress.ip_network(proxy, strict=False)
    except ValueError:
        yield Error(
            "TRUSTED_PROXIES holds what is neither an address nor a range.",
            hint="Write them like 127.0.0.1,172.16.0.0/12,::1.",
            id="gateway.E013",
        )


def _authorities() -> Iterator[CheckMessage]:
    if not settings.UPSTREAM_CA_FILE:
        return
    try:
        ssl.create_default_context(cafile=settings.UPSTREAM_CA_FILE)
    except OSError:  # TLS errors are such too
        yield Error(
            "UPSTREAM_CA_FILE holds no certificates that the gateway can read, so it would trust no upstream.",
            hint="Name a file in PEM, readable for the gateway, with the certificates of the authorities.",
            id="gateway.E011",
        )


def _alerts() -> Iterator[CheckMessage]:
    if settings.ALERT_WEBHOOK_URL and not settings.ALERT_WEBHOOK_URL.startswith(("https://", "http://")):
        yield Error("ALERT_WEBHOOK_URL is no address of http or https.", id="gateway.E014")
    if not all("@" in address for address in settings.ALERT_EMAILS):
        yield Error("ALERT_EMAILS holds what is no address of mail.", id="gateway.E014")
    if settings.PUBLIC_URL and not re.fullmatch(r"https?://[^/?#\s]+", settings.PUBLIC_URL):
        yield Error("PUBLIC_URL is not like https://gateway.example.org.", id="gateway.E014")


def _two_factor() -> Iterator[CheckMessage]:
    if settings.ADMIN_TWO_FACTOR not in ("off", "optional", "required"):
        yield Error(
            "ADMIN_TWO_FACTOR is none of off, optional and required.",
            hint="off: nobody is asked for a code. optional: who has set it up. required: everybody.",
            id="gateway.E012",
        )
