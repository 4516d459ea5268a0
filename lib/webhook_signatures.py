"""Signatures of webhook requests in the Standard Webhooks format (https://www.standardwebhooks.com). Pure."""

import base64
import binascii
import hashlib
import hmac

SECRET_PREFIX = "whsec_"
KEY_BYTES = range(24, 65)
"""The length of a key that the format allows."""


class SecretInvalid(ValueError):
    """The text is not `whsec_` and 24 to 64 bytes in Base64."""


def key_of(secret: str) -> bytes:
    """Return the key of a secret. Raise SecretInvalid."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: a character outside ASCII
        raise SecretInvalid from error
    if not secret.startswith(SECRET_PREFIX) or len(key) not in KEY_BYTES:
        raise SecretInvalid
    return key


def signature(id: str, timestamp: int, body: bytes, *, secret: str) -> str:
    """Return the signature of a request by a secret, as in the header. Raise SecretInvalid."""
    signed = f"{id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), signed, hashlib.sha256)).decode()


def headers(id: str, timestamp: int, body: bytes, *, secrets: list[str]) -> dict[str, str]:
    """Return the headers of a request, with a signature for each secret; without any, it is not signed."""
    found = {"webhook-id": id, "webhook-timestamp": str(timestamp)}
    if secrets:
        found["webhook-signature"] = " ".join(signature(id, timestamp, body, secret=secret) for secret in secrets)
    return found
