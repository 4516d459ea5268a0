"""Random IDs of messages and tool calls."""

import os


def new_id(kind: str) -> str:
    """Return an ID such as `msg_7f3a…`, for a kind such as `msg`."""
    return f"{kind}_{os.urandom(12).hex()}"
