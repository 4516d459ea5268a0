"""
Keyed checksum of a usage record's figures, so that `verify_figures` finds a record that was changed by hand.

It covers every column that reports, budgets and bills count or group by. A user who can only write to the database
cannot make it: its key is derived from API_KEY_PEPPERS, which is not there. The first pepper signs, all verify.
"""

import hmac
import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.conf import settings
from django.db import models

from keys.models import UsageRecord
from lib.derived_key import derived_key

NOT_FIGURES = (
    "figures_checksum",
    "client_ip",
    "user_agent",
    "attempts",
    "usage_object",
    "reservations",
    "limit_exceeded",
    "interruption",
    "lease_expires_at",
    "boot_id",
)
"""Columns that no report, budget or bill counts."""
_FIGURES = sorted(
    (item for item in UsageRecord._meta.concrete_fields if item.attname not in NOT_FIGURES),
    key=lambda item: item.attname,
)
COLUMNS = tuple(item.attname for item in _FIGURES)
"""The columns that the checksum covers."""
CONVERTED = (models.DateTimeField, models.DecimalField, models.JSONField)
_CONVERTED = [item.attname for item in _FIGURES if isinstance(item, CONVERTED)]
BYTES = 18  # 24 characters of Base64
_encode = msgspec.json.Encoder().encode  # repr takes twice as long


def checksum(row: Mapping[str, Any]) -> str:
    """Return the checksum of a settled record, given by its columns. To be written whenever one of them changes."""
    return _signed(_message(row), _peppers()[0])


def is_valid(row: Mapping[str, Any]) -> bool:
    """Return whether the record has a checksum, made with any pepper, of the figures that it has."""
    message = _message(row)
    return any(hmac.compare_digest(row["figures_checksum"], _signed(message, pepper)) for pepper in _peppers())


def is_current(row: Mapping[str, Any]) -> bool:
    """Return whether the checksum is made with the first pepper."""
    return hmac.compare_digest(row["figures_checksum"], checksum(row))


def _peppers() -> list[str]:
    return settings.API_KEY_PEPPERS or [""]  # project.checks rejects an installation without one


def _signed(message: bytes, pepper: str) -> str:
    digest = hmac.digest(derived_key("figures of usage records", secret=pepper), message, "sha256")
    return b64encode(digest[:BYTES]).decode()


def _message(row: Mapping[str, Any]) -> bytes:
    """Return the figures as bytes, the same before and after the database has stored them.

    Without those that are None, False or empty: a column that is added later leaves older checksums valid.
    """
    found = {
        name: value
        for name, value in zip(COLUMNS, map(row.get, COLUMNS), strict=True)
        if value is not None and value is not False and value != ""
    }
    for name in _CONVERTED:
        if name in found:
            found[name] = _plain(found[name])
    return _encode(found)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()  # of any time zone; to the microsecond for two hundred years
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"  # the database adds zeros
    return json.dumps(value, sort_keys=True)  # PostgreSQL orders the names
