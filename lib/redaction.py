"""Redaction of credentials in text: log lines, error messages of upstreams, and raw API keys in form fields. Pure."""

import logging
import re
from urllib.parse import urlsplit

from lib.key_format import RAW_KEY_PREFIX

MASK = "[redacted]"
MIN_CREDENTIAL_LENGTH = 4  # a shorter credential would mask ordinary words

# Longer than the hint of a key, which is six characters and shown in the admin.
_RAW_KEY = re.compile(rf"{RAW_KEY_PREFIX}[0-9A-Za-z]{{7,}}")
_CREDENTIAL = re.compile(
    rf"(?i:{_RAW_KEY.pattern})"
    r"|\bsk-[A-Za-z0-9_-]{6,}"  # keys of Anthropic, OpenAI and many others
    r"|(?i:bearer)\s+[^\s'\",;]+"
    r"|(?i:x-api-key|authorization)['\"]?\s*[:=]\s*['\"]?(?!(?i:bearer))[^\s'\",;]+"
)
_HINTS = (RAW_KEY_PREFIX.lower(), "sk-", "bearer", "x-api-key", "authorization")
"""What an ASCII text has in lower case if it has a credential."""
_BREAKS_LINE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def find_raw_key(text: str) -> str | None:
    """Return the first part of a text that is a raw key or longer than the hint of one; else None."""
    found = _RAW_KEY.search(text)
    return found[0] if found else None


def redact(text: str) -> str:
    """Mask everything that looks like a credential."""
    if text.isascii():  # most log lines have none, and the search takes eight times longer
        lower = text.lower()
        if not any(hint in lower for hint in _HINTS):
            return text
    return _CREDENTIAL.sub(MASK, text)


def redact_upstream(text: str, *, credential: str, base_url: str) -> str:
    """Mask an upstream's credential and its URLs, and everything that looks like a credential."""
    if len(credential) >= MIN_CREDENTIAL_LENGTH:
        text = text.replace(credential, MASK)
    host = urlsplit(base_url).netloc
    if host:
        text = re.sub(rf"(?:https?://)?{re.escape(host)}[^\s'\",;)]*", MASK, text, flags=re.IGNORECASE)
    return redact(text)


def one_line(text: str) -> str:
    """Escape control characters and line separators, as in a Python literal."""
    return _BREAKS_LINE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class RedactingFilter(logging.Filter):
    """Log filter that redacts the finished message and keeps it on one line. It never drops a record.

    Messages quote what clients send: a line break in a query string would begin a forged line. Django logs a rejected
    parameter with the traceback of its check, which says no more than the message.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("django.security."):
            record.exc_info = None
        message = record.getMessage()
        redacted = one_line(redact(message))
        if redacted != message:
            record.msg, record.args = redacted, None
        return True
