"""Encryption of stored credentials and secrets.

A ciphertext is bound to its row and, for an upstream's credential, to the base URL. In another row or after a change of
the base URL it does not decrypt, so a user who can edit URLs cannot send the credential to another server.
"""

import json

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class CredentialUnreadable(Exception):
    """The text was encrypted with an unknown key or is bound to another row or URL."""


def encrypt(credential: str, *, bound_to: list[str]) -> str:
    """Encrypt a credential. Two ciphertexts of the same credential differ."""
    return _fernet().encrypt(json.dumps([credential, bound_to]).encode()).decode()


def decrypt(ciphertext: str, *, bound_to: list[str]) -> str:
    """Decrypt a credential. Raise CredentialUnreadable if the key is unknown or the binding differs."""
    try:
        credential, binding = json.loads(_fernet().decrypt(ciphertext.encode()))
    except InvalidToken as error:
        raise CredentialUnreadable from error
    if binding != bound_to:
        raise CredentialUnreadable
    return str(credential)


def renewed(ciphertext: str, *, bound_to: list[str]) -> str:
    """Encrypt a ciphertext again with the first key, unless it was used already. Raise CredentialUnreadable."""
    credential = decrypt(ciphertext, bound_to=bound_to)
    try:
        Fernet(settings.CREDENTIAL_ENCRYPTION_KEYS[0]).decrypt(ciphertext.encode())
    except InvalidToken:
        return encrypt(credential, bound_to=bound_to)
    return ciphertext


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.CREDENTIAL_ENCRYPTION_KEYS])
