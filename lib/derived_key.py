"""Keys for one purpose each, derived from the secret key of the project."""

import hashlib
import hmac
from functools import lru_cache

from django.conf import settings


def derived_key(purpose: str) -> bytes:
    """Return the key for a purpose, the same in each process of a gateway. It changes with `SECRET_KEY`."""
    return _derived(settings.SECRET_KEY, purpose)


@lru_cache(maxsize=32)
def _derived(secret: str, purpose: str) -> bytes:
    return hmac.digest(secret.encode(), purpose.encode(), hashlib.sha256)
