"""The headers that an Anthropic upstream gets. Header names are matched in any case."""

from collections.abc import Mapping
from typing import Literal

VERSION = "2023-06-01"
"""The version of Anthropic's API that still has all the fields of our envelope lane."""

_FORWARDED = ("anthropic-", "x-claude-code-")


def upstream_headers(
    *,
    api_format: Literal["anthropic", "envelope"],
    style: Literal["bearer", "x-api-key"],
    key: str,
    headers: Mapping[str, str],
) -> dict[str, str]:
    """Return the headers for an Anthropic upstream, with names in lower case: `headers` are the caller's.

    The native lane forwards the caller's version, betas and Claude Code's own headers, the envelope lane nothing. The
    caller's credential, cookies and addresses never leave. An empty `key` sends no credential.
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
