"""Keys for one purpose each, derived from a secret of the installation."""

import hashlib
import hmac
from functools import lru_cache

from django.conf import settings


def derived_key(purpose: str, *, secret: str | None = None) -> bytes:
    """Return the key for a purpose, the same in each process of a gateway.

    It changes with `SECRET_KEY`, or with another secret that is given.
    """
    return _derived(settings.SECRET_KEY if secret is None else secret, purpose)


@lru_cache(maxsize=32)
def _derived(secret: str, purpose: str) -> bytes:
    return hmac.digest(secret.encode(), purpose.encode(), hashlib.sha256)
