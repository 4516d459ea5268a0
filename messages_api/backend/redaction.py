"""What an upstream says of a request may name our credential or its own address. The caller gets it without them."""

import re
from urllib.parse import urlsplit

from messages_api.backend.endpoint import Endpoint

MASK = "[hidden]"
_CREDENTIAL = re.compile(r"(?i:bearer)\s+[^\s'\",;]+|\bsk-[A-Za-z0-9_-]{6,}")
SHORTEST = 4  # a credential of fewer characters would mask words


def redacted(text: str, endpoint: Endpoint) -> str:
    """The text without the endpoint's credential and address, and without whatever else looks like a credential."""
    if len(endpoint.credential) >= SHORTEST:
        text = text.replace(endpoint.credential, MASK)
    host = urlsplit(endpoint.base_url).netloc
    if host:
        text = re.sub(rf"(?:https?://)?{re.escape(host)}[^\s'\",;)]*", MASK, text, flags=re.IGNORECASE)
    return _CREDENTIAL.sub(MASK, text)
