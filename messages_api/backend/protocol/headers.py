"""Request headers for Anthropic upstreams. Header names are matched case-insensitively."""

from collections.abc import Mapping
from typing import Literal

VERSION = "2023-06-01"
"""The version of Anthropic's API with all the fields of the envelope API."""

_FORWARDED = ("anthropic-", "x-claude-code-")


def upstream_headers(
    *,
    api_format: Literal["anthropic", "envelope"],
    style: Literal["bearer", "x-api-key"],
    key: str,
    headers: Mapping[str, str],
) -> dict[str, str]:
    """Return the headers for an Anthropic upstream, with names in lower case. `headers` are the client's.

    The Anthropic API forwards the client's version, betas and Claude Code's own headers; the envelope API forwards
    none. The client's API key, cookies and IP address are never forwarded. An empty `key` sends no credential.
    """
    sent = {"content-type": "application/json", "anthropic-version": VERSION}
    if api_format == "anthropic":
        named = {name.lower(): value for name, value in headers.items()}
        sent |= {name: value for name, value in named.items() if value and name.startswith(_FORWARDED)}
    if not key:
        return sent
    if style == "x-api-key":
        return sent | {"x-api-key": key}
    return sent | {"authorization": f"Bearer {key}"}
