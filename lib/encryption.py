"""
What we show to an upstream, encrypted at rest.

A credential is bound to its upstream's row and address: copied to another row, or after the base URL was changed by
whatever road, it does not decrypt. So whoever may edit addresses cannot have the credential sent elsewhere.
"""

import json

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class CredentialUnreadable(Exception):
    """It was encrypted with another key, or for another row or address."""


def encrypt(credential: str, *, bound_to: list[str]) -> str:
    """The form in which a credential is stored. Two of the same credential differ."""
    return _fernet().encrypt(json.dumps([credential, bound_to]).encode()).decode()


def decrypt(token: str, *, bound_to: list[str]) -> str:
    """The credential. Raise CredentialUnreadable unless it was encrypted by one of our keys for the same binding."""
    try:
        credential, binding = json.loads(_fernet().decrypt(token.encode()))
    except InvalidToken as error:
        raise CredentialUnreadable from error
    if binding != bound_to:
        raise CredentialUnreadable
    return str(credential)


def renewed(token: str, *, bound_to: list[str]) -> str:
    """The same under the first of the keys: as it is if that one encrypted it. Raise CredentialUnreadable."""
    credential = decrypt(token, bound_to=bound_to)
    try:
        Fernet(settings.CREDENTIAL_ENCRYPTION_KEYS[0]).decrypt(token.encode())
    except InvalidToken:
        return encrypt(credential, bound_to=bound_to)
    return token


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.CREDENTIAL_ENCRYPTION_KEYS])
