"""Credentials and headers, in both directions. Header names are matched in any case."""

from collections.abc import Mapping
from typing import Literal

VERSION = "2023-06-01"
"""The version of Anthropic's API that still has all the fields of our envelope lane."""

_FORWARDED = ("anthropic-", "x-claude-code-")


class CredentialConflict(ValueError):
    """A caller shows two different keys at once."""


def credential(headers: Mapping[str, str]) -> str | None:
    """Return the key in `Authorization: Bearer` or `x-api-key`, or None. Raise CredentialConflict if they differ."""
    named = {name.lower(): value.strip() for name, value in headers.items()}
    scheme, _, token = named.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    api_key = named.get("x-api-key", "")
    if bearer and api_key and bearer != api_key:
        raise CredentialConflict("Authorization and x-api-key hold two different keys")
    return bearer or api_key or None


def upstream_headers(
    *, lane: Literal["native", "envelope"], style: Literal["bearer", "x-api-key"], key: str, headers: Mapping[str, str]
) -> dict[str, str]:
    """Return the headers for an Anthropic upstream, with names in lower case: `headers` are the caller's.

    The native lane forwards the caller's version, betas and Claude Code's own headers, the envelope lane nothing. The
    caller's credential, cookies and addresses never leave. An empty `key` sends no credential.
    """
    sent = {"content-type": "application/json", "anthropic-version": VERSION}
    if lane == "native":
        named = {name.lower(): value for name, value in headers.items()}
        sent |= {name: value for name, value in named.items() if value and name.startswith(_FORWARDED)}
    if not key:
        return sent
    if style == "x-api-key":
        return sent | {"x-api-key": key}
    return sent | {"authorization": f"Bearer {key}"}
