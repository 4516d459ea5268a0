"""The second step of changing CREDENTIAL_ENCRYPTION_KEYS, and a look at what API_KEY_PEPPERS is still needed for."""

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
        "Encrypt everything with the first of CREDENTIAL_ENCRYPTION_KEYS, so that older ones can be removed, and name "
        "the usable API keys that an older one of API_KEY_PEPPERS still verifies. May be run again, and while the "
        "gateway serves."
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
                        with disable_auditlog():  # what is encrypted is the same
                            row.save(update_fields=[field])
                        renewed += 1
                        self.stderr.write(f"Encrypted anew: {_name(row)}.", str)
                except CredentialUnreadable:
                    unreadable.append(_name(row))
        if not renewed and not unreadable:
            self.stderr.write("Nothing had to be encrypted anew.", str)
        for api_key in _needing_an_old_pepper():
            self.stderr.write(f"Needs an older pepper: {api_key}. Rotate it before you remove that pepper.", str)
        if unreadable:
            raise CommandError(f"None of CREDENTIAL_ENCRYPTION_KEYS reads: {', '.join(unreadable)}.")


def _name(row: Upstream | Authenticator) -> str:
    return f"the upstream {row.name}" if isinstance(row, Upstream) else f"the second factor of {row.user}"


def _needing_an_old_pepper() -> QuerySet[APIKey]:
    current = raw_key.pepper_id(settings.API_KEY_PEPPERS[0])
    secrets = KeySecret.objects.live(timezone.now()).exclude(pepper_id=current)
    # Paused and expired ones too: enabled or extended, they would be refused for ever.
    return APIKey.objects.filter(revoked_at=None, pk__in=secrets.values("api_key")).order_by("pk")
