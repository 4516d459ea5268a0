"""Encryption keys and peppers can be replaced without a failed request."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from keys.models import APIKey
from messages_api.models import Upstream
from staff.models import Authenticator

NEW_KEY = Fernet.generate_key().decode()
NOTHING = "Nothing to re-encrypt.\n"
NEW_PEPPER = "a new pepper that signs from now on, and is long"

pytestmark = pytest.mark.django_db


def renew() -> str:
    said = StringIO()
    call_command("renew_encryption", stderr=said)
    return said.getvalue()


@pytest.fixture
def upstream() -> Upstream:
    row = Upstream(name="local", dialect="openai", base_url="http://127.0.0.1:9/v1")
    row.set_credential("sk-canary")
    row.save()
    return row


def test_after_the_command_the_old_encryption_key_is_not_needed(upstream: Upstream, owner: User, settings: Any) -> None:
    authenticator = Authenticator.start(owner)
    secret, set_at = authenticator.secret(), upstream.credential_set_at
    entries = LogEntry.objects.count()
    settings.CREDENTIAL_ENCRYPTION_KEYS = [NEW_KEY, *settings.CREDENTIAL_ENCRYPTION_KEYS]
    Upstream.objects.create(name="open", dialect="openai", base_url="http://127.0.0.1:9/v1")
    assert upstream.endpoint().credential == "sk-canary"

    said = renew()

    settings.CREDENTIAL_ENCRYPTION_KEYS = [NEW_KEY]
    upstream.refresh_from_db()
    authenticator.refresh_from_db()
    assert said == "Re-encrypted: upstream local.\nRe-encrypted: authenticator of owner.\n"
    assert (upstream.endpoint().credential, authenticator.secret()) == ("sk-canary", secret)
    assert upstream.credential_set_at == set_at
    assert LogEntry.objects.count() == entries + 1  # for the upstream of this test


def test_a_second_run_changes_nothing(upstream: Upstream) -> None:
    before = upstream.credential_ciphertext

    assert renew() == NOTHING

    upstream.refresh_from_db()
    assert upstream.credential_ciphertext == before


def test_an_undecryptable_credential_is_reported_and_kept(upstream: Upstream, settings: Any) -> None:
    settings.CREDENTIAL_ENCRYPTION_KEYS = [NEW_KEY]

    with pytest.raises(CommandError, match="decrypts: upstream local"):
        renew()

    assert Upstream.objects.get().credential_ciphertext == upstream.credential_ciphertext


def test_keys_that_need_an_older_pepper_are_listed_until_they_are_rotated(owner: User, settings: Any) -> None:
    api_key, _ = APIKey.objects.issue(name="app", owner=owner)
    paused, _ = APIKey.objects.issue(name="paused", owner=owner)
    paused.disable()
    ended, _ = APIKey.objects.issue(name="ended", owner=owner)
    ended.revoke()
    settings.API_KEY_PEPPERS = [NEW_PEPPER, *settings.API_KEY_PEPPERS]

    advice = "Rotate it before you remove the pepper."
    assert renew() == NOTHING + "".join(f"Needs an older pepper: {each}. {advice}\n" for each in (api_key, paused))
    api_key.rotate(overlap=timedelta(0))
    paused.rotate(overlap=timedelta(0))
    assert renew() == NOTHING
