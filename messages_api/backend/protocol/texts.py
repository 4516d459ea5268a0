"""Texts of messages to OpenAI upstreams: system prompt, parts with cache breakpoints, joined and merged content."""

import re
from typing import Any

from messages_api.backend.protocol.content import blocks_of, text_part
from messages_api.backend.protocol.profile import Profile
from messages_api.backend.protocol.types import Block, JSONObject
from messages_api.backend.protocol.unsupported import UnsupportedRequest

TOOL_CHANGES = ("tool_addition", "tool_removal")
"""Changes of the visible tools. Chat Completions defers none: every tool is visible."""

# Claude Code's attribution for Anthropic. It changes with each request and would defeat a prefix cache.
_ATTRIBUTION = re.compile(r"^x-anthropic-billing-header:[^\n]*\n?", re.MULTILINE)


def system_parts(content: str | list[Block] | None, profile: Profile, *, path: str) -> list[JSONObject]:
    """Return the non-empty texts of a system prompt, without Claude Code's attribution.

    Raise UnsupportedRequest for a block that is no text.
    """
    parts = []
    for i, block in enumerate(blocks_of(content or [])):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind in TOOL_CHANGES:
            continue
        if kind != "text" or not isinstance(block.get("text"), str):
            raise UnsupportedRequest(f"{path}[{i}]: must be a text block", f"{path}[{i}]")
        if text := _ATTRIBUTION.sub("", block["text"]):
            parts.append(part_of(text, block, profile))
    return parts


def part_of(text: str, block: Block, profile: Profile) -> JSONObject:
    """Return a text with the cache breakpoint of its block, where the upstream accepts one."""
    part = text_part(text)
    if profile.cache_control and block.get("cache_control"):
        part["cache_control"] = block["cache_control"]
    return part


def joined(parts: list[JSONObject], separator: str = "\n\n") -> str | list[JSONObject]:
    """Join texts into one string, which every server accepts, unless a part has a cache breakpoint."""
    if any("cache_control" in part for part in parts):
        return parts
    return separator.join(part["text"] for part in parts)


def append_message(messages: list[JSONObject], message: JSONObject) -> None:
    """Append a message. One that follows its own role is merged: the turn between them had nothing to send."""
    last = messages[-1] if messages else {}
    if message["role"] != last.get("role") or message["role"] not in ("user", "assistant"):
        messages.append(message)
        return
    separator = "\n\n" if message["role"] == "user" else ""
    merged = {**last, **message, "content": concatenated(last["content"], message["content"], separator)}
    if "tool_calls" in last or "tool_calls" in message:
        merged["tool_calls"] = [*last.get("tool_calls", []), *message.get("tool_calls", [])]
    messages[-1] = merged


def concatenated(first: Any, second: Any, separator: str = "\n\n") -> Any:
    """Return the content of two messages: one string, or the parts of both. Empty content adds nothing."""
    if not first or not second:
        return first or second
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}{separator}{second}"
    return [part for content in (first, second) for part in blocks_of(content)]
