"""
Raw keys and their digests. Pure.

A raw key is a prefix, 40 base62 characters from the system's random source (238 bits) and the CRC-32 of both as 6
base62 characters: 50 characters that a double click selects and secret scanners recognize.

The database stores HMAC-SHA-256(pepper, raw key). One keyed hash is enough, because 238 bits cannot be guessed; a
password hash would cost 337 ms per request (6 requests/s per machine) instead of 1.8 µs. The pepper is not in the
database: a stolen table does not allow to verify a key, and a row written by SQL injection is not accepted.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Iterable

from lib.key_format import RAW_KEY_PREFIX

PREFIX = RAW_KEY_PREFIX
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 40
CHECKSUM_LENGTH = 6
LENGTH = len(PREFIX) + RANDOM_LENGTH + CHECKSUM_LENGTH
HINT_LENGTH = 6

_SHAPE = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}")


def generate() -> str:
    body = PREFIX + random_text(RANDOM_LENGTH)
    return body + checksum(body)


def random_text(length: int) -> str:
    """Return base62 characters from the system's random source."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def checksum(body: str) -> str:
    """Return the CRC-32 of a raw key without its checksum, as 6 base62 characters."""
    value = zlib.crc32(body.encode("ascii"))
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        value, digit = divmod(value, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def is_well_formed(raw: str) -> bool:
    """Return whether length, characters, prefix and checksum are those of a raw key. Takes about 2 µs."""
    if len(raw) != LENGTH or not _SHAPE.fullmatch(raw):
        return False
    return raw[-CHECKSUM_LENGTH:] == checksum(raw[:-CHECKSUM_LENGTH])


def digest(raw: str, *, pepper: str) -> bytes:
    """Return the 32 bytes that are stored of a raw key."""
    return hmac.digest(pepper.encode(), raw.encode("ascii"), "sha256")


def possible_digests(raw: str, *, peppers: Iterable[str]) -> list[bytes]:
    """Return the possible digests of a raw key: one per pepper that is still accepted."""
    return [digest(raw, pepper=pepper) for pepper in peppers]


def pepper_id(pepper: str) -> str:
    """Return an identifier that does not disclose the pepper. It shows which secrets still need a previous pepper."""
    return hashlib.sha256(b"pepper id\0" + pepper.encode()).hexdigest()[:8]


def hint(raw: str) -> str:
    """Return the first six random characters, to be shown in the admin. The last six are the checksum."""
    return raw[len(PREFIX) : len(PREFIX) + HINT_LENGTH]


def shown_hint(hint: str) -> str:
    """Return a hint as users see it: the start of the raw key."""
    return f"{PREFIX}{hint}…"
