"""Preparation of an installation before its processes start. A repeated run changes nothing."""

import os
import sys
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import Error as DatabaseError

from messages_api.management.commands.run_local_model import ALIAS, HOST
from messages_api.models import Dialect
from project import checks
from project.quickstart import pages, rows, secrets_file
from project.quickstart.errors import CannotStart
from project.quickstart.terminal import Terminal, shown
from project.settings import env

SAMPLE_MODELS = {Dialect.ANTHROPIC: "claude-3-opus-20240229", Dialect.OPENAI: "gpt-4o-mini"}


def prepare(terminal: Terminal) -> None:
    """Prepare secrets, database, static files, upstream and route. Raise CannotStart if that is not possible."""
    _ensure_secrets(terminal)
    _check_settings()
    _migrate(terminal)
    if pages.collect():
        terminal.say("static files collected", label="Pages")
    _register_upstream()


def uses_local_model() -> bool:
    """Return whether the embedded model is used, because the environment has no upstream."""
    return not settings.UPSTREAM_URL


def model_to_use() -> str:
    """Return the model name of the first requests."""
    if uses_local_model():
        return ALIAS
    return settings.UPSTREAM_MODEL or SAMPLE_MODELS[Dialect(settings.UPSTREAM_DIALECT)]


def advice_after_failure() -> str:
    """Return advice for an operator whose first request failed."""
    if uses_local_model():
        return "See the logs for details."
    return "Check UPSTREAM_URL, UPSTREAM_API_KEY, UPSTREAM_DIALECT and UPSTREAM_MODEL."


def _ensure_secrets(terminal: Terminal) -> None:
    """Write missing secrets, then restart the program: it reads its settings only once."""
    try:
        written = secrets_file.complete(settings.ENV_FILE, missing=_missing_secrets())
    except OSError as error:
        raise CannotStart(f"Cannot write {shown(settings.ENV_FILE)}: {error.strerror}.") from error
    if written:
        terminal.say(f"written to {shown(settings.ENV_FILE)}, readable by you only", label="Secrets")
        for name in written:
            env.ENVIRON.pop(name, None)  # an empty variable would take precedence over the file
        os.execv(sys.executable, sys.orig_argv)


def _missing_secrets() -> set[str]:
    missing = {name for name in ("API_KEY_PEPPERS", "CREDENTIAL_ENCRYPTION_KEYS") if not getattr(settings, name)}
    try:
        _ = settings.SECRET_KEY
    except ImproperlyConfigured:  # raised by Django if it is empty
        missing.add("SECRET_KEY")
    return missing


def _check_settings() -> None:
    try:
        checks.refuse_to_start()
    except ImproperlyConfigured as error:
        raise CannotStart(str(error)) from error
    if settings.UPSTREAM_DIALECT not in Dialect.values:
        raise CannotStart(f"UPSTREAM_DIALECT is not one of {', '.join(Dialect.values)}.")


def _migrate(terminal: Terminal) -> None:
    try:
        settings.STATE_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"STATE_DIR {shown(settings.STATE_DIR)} cannot be created: {error.strerror}.") from error
    database = settings.DATABASES["default"]
    terminal.begin("Database", "migrating")
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except DatabaseError as error:
        reason = str(error).partition("\n")[0]
        raise CannotStart(f"The database of DATABASE_URL cannot be used: {reason}") from error
    terminal.say(f"ready: {database['ENGINE'].rpartition('.')[2]}, {shown(Path(database['NAME']))}")


def _register_upstream() -> None:
    if uses_local_model():
        rows.register_local_model(f"http://{HOST}:{settings.LOCAL_MODEL_PORT}", model=ALIAS)
        return
    rows.register_given(
        settings.UPSTREAM_URL,
        dialect=settings.UPSTREAM_DIALECT,
        credential=settings.UPSTREAM_API_KEY,
        model=settings.UPSTREAM_MODEL,
    )
