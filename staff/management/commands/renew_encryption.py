"""Command: re-encrypt stored secrets with the current key, and list API keys that need an older pepper."""

from typing import Any

from auditlog.context import disable_auditlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from django.utils import timezone

from keys.domain import raw_key
from keys.models import APIKey, KeySecret
from lib.encryption import CredentialUnreadable
from messages_api.models import Upstream
from staff.models import Authenticator


class Command(BaseCommand):
    help = (
        "Re-encrypt stored secrets with the first of CREDENTIAL_ENCRYPTION_KEYS, so that older keys can be removed. "
        "List API keys that only an older one of API_KEY_PEPPERS verifies. The command can be repeated, also while the "
        "gateway is running."
    )

    def handle(self, **options: Any) -> None:
        renewed, unreadable = 0, []
        for field, rows in (
            ("credential_ciphertext", Upstream.objects.exclude(credential_ciphertext="")),
            ("secret_token", Authenticator.objects.select_related("user")),
        ):
            for row in rows:
                try:
                    if row.renew_encryption():
                        with disable_auditlog():  # the secret itself is unchanged
                            row.save(update_fields=[field])
                        renewed += 1
                        self.stderr.write(f"Re-encrypted: {_name(row)}.", str)
                except CredentialUnreadable:
                    unreadable.append(_name(row))
        if not renewed and not unreadable:
            self.stderr.write("Nothing to re-encrypt.", str)
        for api_key in _needing_an_old_pepper():
            self.stderr.write(f"Needs an older pepper: {api_key}. Rotate it before you remove the pepper.", str)
        if unreadable:
            raise CommandError(f"None of CREDENTIAL_ENCRYPTION_KEYS decrypts: {', '.join(unreadable)}.")


def _name(row: Upstream | Authenticator) -> str:
    return f"upstream {row.name}" if isinstance(row, Upstream) else f"authenticator of {row.user}"


def _needing_an_old_pepper() -> QuerySet[APIKey]:
    current = raw_key.pepper_id(settings.API_KEY_PEPPERS[0])
    secrets = KeySecret.objects.live(timezone.now()).exclude(pepper_id=current)
    # Disabled and expired keys too: once enabled or extended, they would still be rejected.
    return APIKey.objects.filter(revoked_at=None, pk__in=secrets.values("api_key")).order_by("pk")
