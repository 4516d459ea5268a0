"""Request headers for Anthropic upstreams. Header names are matched case-insensitively."""

from collections.abc import Mapping, Sequence
from typing import Literal

VERSION = "2023-06-01"
"""The version of Anthropic's API with all the fields of the envelope API."""

FORWARDED = {
    "anthropic-version": "the version of the API whose request and response the client understands",
    "anthropic-beta": "the beta features whose fields the body has; without them the upstream rejects the body",
    "x-claude-code-session-id": "the session of Claude Code, by which an upstream attributes its cost",
    "x-claude-code-agent-id": "the agent in that session",
    "x-claude-code-parent-agent-id": "the agent that started it",
}
"""The client's headers that the Anthropic API forwards, with the reason. No other header reaches an upstream: the
account, the workspace and the customer that pay are those of the gateway's credential (`anthropic-workspace-id`,
`anthropic-user-profile-id`, and what Anthropic may add)."""


def upstream_headers(
    *,
    api_format: Literal["anthropic", "envelope"],
    style: Literal["bearer", "x-api-key"],
    key: str,
    headers: Mapping[str, str],
    betas: Sequence[str] = (),
) -> dict[str, str]:
    """Return the headers for an Anthropic upstream, with names in lower case. `headers` are the client's.

    The Anthropic API forwards those in FORWARDED. The envelope API forwards none and sends the names of the `betas`
    that the request uses. An empty `key` sends no credential.
    """
    sent = {"content-type": "application/json", "anthropic-version": VERSION}
    if api_format == "anthropic":
        named = {name.lower(): value for name, value in headers.items()}
        sent |= {name: value for name, value in named.items() if value and name in FORWARDED}
    elif betas:
        sent["anthropic-beta"] = ",".join(betas)
    if not key:
        return sent
    if style == "x-api-key":
        return sent | {"x-api-key": key}
    return sent | {"authorization": f"Bearer {key}"}
