"""The secrets of a key, as its page describes them: which one is new, which one ends, and who may not know it yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from keys.models import KeySecret

LAST_HOURS = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretDisplay:
    secret: KeySecret
    state: str
    """`current`, `ending` or `ended`."""
    warning: str = ""


def described(secrets: Sequence[KeySecret]) -> list[SecretDisplay]:
    """All secrets of one key, the newest first."""
    ordered = sorted(secrets, key=lambda secret: (secret.created_at, secret.pk), reverse=True)
    return [_described(secret, newer=ordered[i - 1] if i else None) for i, secret in enumerate(ordered)]


def _described(secret: KeySecret, *, newer: KeySecret | None) -> SecretDisplay:
    if secret.expires_at is None:
        return SecretDisplay(secret=secret, state="current")
    if secret.expires_at > timezone.now():
        is_used = newer is not None and secret.last_used_at is not None and secret.last_used_at > newer.created_at
        warning = "It is still used: whoever uses it is refused when it ends." if is_used else ""
        return SecretDisplay(secret=secret, state="ending", warning=warning)
    was_used = secret.last_used_at is not None and secret.last_used_at > secret.expires_at - LAST_HOURS
    warning = "It was used until shortly before its end: somebody may not have the new one." if was_used else ""
    return SecretDisplay(secret=secret, state="ended", warning=warning)
