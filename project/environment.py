"""Strict reader of environment variables: an invalid value is an error that names the variable."""

import math
from collections.abc import Collection
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

TRUE = {"true", "yes", "on", "1"}
FALSE = {"false", "no", "off", "0"}
MAX_SECONDS = 86_400.0
"""A day. Sockets and locks overflow with times beyond any use."""


class Environment(environ.FileAwareEnv):
    """django-environ without its guesses: it reads `50ms` as 50 and any unknown word as false.

    An empty variable counts as not set. Methods raise ImproperlyConfigured for an invalid value. The message names the
    variable and never shows the value.
    """

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        text = self._text(name).lower()
        if text in TRUE | FALSE:
            return text in TRUE
        if text:
            raise ImproperlyConfigured(f"{name} is not true or false.")
        return default

    def count(self, name: str, *, default: int, at_least: int = 0) -> int:
        """Return a whole number."""
        text = self._text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= at_least):
            raise ImproperlyConfigured(f"{name} is not a whole number of at least {at_least}.")
        return int(text)

    def seconds(self, name: str, *, default: float, may_be_none: bool = False) -> float:
        """Return a number of seconds, at most a day, and more than 0 unless `may_be_none`."""
        text = self._text(name)
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= MAX_SECONDS or (value == 0 and not may_be_none):
            bound = f"from 0 to {MAX_SECONDS:g}" if may_be_none else f"more than 0 and at most {MAX_SECONDS:g}"
            raise ImproperlyConfigured(f"{name} is not a number of seconds, {bound}, such as {default:g}.")
        return value

    def choice(self, name: str, choices: Collection[str], *, default: str) -> str:
        """Return one of the choices."""
        text = self._text(name) or default
        if text not in choices:
            raise ImproperlyConfigured(f"{name} is not one of {', '.join(choices)}.")
        return text

    def database(self, url: str) -> dict[str, Any]:
        """Return the database settings for a URL."""
        if not url.startswith(("sqlite:///", "postgres://", "postgresql://")):
            raise ImproperlyConfigured("DATABASE_URL is not sqlite:///path or postgres://user:password@host/name.")
        return environ.Env.db_url_config(url)

    def _text(self, name: str) -> str:
        return self.str(name, default="").strip()
