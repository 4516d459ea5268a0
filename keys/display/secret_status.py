"""Status of the secrets of an API key: which one is current, and which clients have not switched to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from keys.models import KeySecret

LAST_HOURS = timedelta(hours=6)
"""How long before the expiry of a secret its use suggests that a client has not switched."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretStatus:
    secret: KeySecret
    state: str
    """`current`, `previous` (still valid) or `expired`."""
    warning: str = ""


def secret_statuses(secrets: Sequence[KeySecret]) -> list[SecretStatus]:
    """Return the status of all secrets of one key, the newest first."""
    ordered = sorted(secrets, key=lambda secret: (secret.created_at, secret.pk), reverse=True)
    return [_status(secret, newer=ordered[i - 1] if i else None) for i, secret in enumerate(ordered)]


def _status(secret: KeySecret, *, newer: KeySecret | None) -> SecretStatus:
    if secret.expires_at is None:
        return SecretStatus(secret=secret, state="current")
    if secret.expires_at > timezone.now():
        is_used = newer is not None and secret.last_used_at is not None and secret.last_used_at > newer.created_at
        warning = "Still in use: clients that use it are rejected when it expires." if is_used else ""
        return SecretStatus(secret=secret, state="previous", warning=warning)
    was_used = secret.last_used_at is not None and secret.last_used_at > secret.expires_at - LAST_HOURS
    warning = "Used until shortly before its expiry: a client may not have the new secret." if was_used else ""
    return SecretStatus(secret=secret, state="expired", warning=warning)
