"""Secrets are masked in every log line, whoever wrote it."""

import logging
import re

SECRET = re.compile(
    r"mgw_[0-9A-Za-z]{6,}"  # raw keys
    r"|bearer\s+[^\s'\",;]+"
    r"|(?:x-api-key|authorization)['\"]?\s*[:=]\s*['\"]?(?!bearer)[^\s'\",;]+",
    re.IGNORECASE,
)
MASK = "[secret]"


class MaskSecrets(logging.Filter):
    """Replace what looks like a credential in the finished message. Never drops a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        masked = SECRET.sub(MASK, message)
        if masked != message:
            record.msg, record.args = masked, None
        return True
