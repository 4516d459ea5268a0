"""What a generated response means, and how a reader of either API must see it."""

import json
from dataclasses import dataclass, field
from typing import Any

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "compaction": "length",
    "refusal": "content_filter",
}
NEW_ID = "toolu_"
"""Stands for an ID that the gateway makes up."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Tokens as Anthropic counts them."""

    input: int
    cache_read: int = 0
    cache_write: int = 0
    output: int
    thinking: int = 0

    @property
    def prompt(self) -> int:
        return self.input + self.cache_read + self.cache_write


@dataclass(kw_only=True)
class Intended:
    """A response. Each generator states it without the gateway's code."""

    content: list[dict[str, Any]]
    """The blocks of the message."""
    stop_reason: str
    stop_sequence: str | None = None
    counts: Counts | None
    """None: the upstream reports none, and the gateway estimates them."""
    cut_arguments: str | None = None
    """The arguments of the last tool call, if the response ends inside them."""

    def message(self) -> dict[str, Any]:
        """Return the response as a client of the Anthropic API must read it, in the form of `readings`."""
        counts = self.counts
        return {
            "content": self.content,
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "usage": counts and [counts.input, counts.cache_read, counts.cache_write, counts.output, counts.thinking],
        }

    def completion(self) -> dict[str, Any]:
        """Return the response as a client of the envelope API must read it, in the form of `readings`."""
        counts = self.counts
        calls = [
            {"id": block["id"], "name": block["name"], "input": block["input"]}
            for block in self.content
            if block["type"] == "tool_use"
        ]
        if self.cut_arguments is not None:
            calls[-1]["input"] = self.cut_arguments
        return {
            "text": "".join(block["text"] for block in self.content if block["type"] == "text"),
            "thinking": "".join(block["thinking"] for block in self.content if block["type"] == "thinking"),
            "thinking_blocks": [block for block in self.content if _is_signed(block)],
            "calls": calls,
            "finish_reason": FINISH_REASONS[self.stop_reason],
            "usage": counts
            and [
                counts.prompt,
                counts.output,
                counts.prompt + counts.output,
                counts.cache_read,
                counts.cache_write,
                counts.thinking,
            ],
        }


def _is_signed(block: dict[str, Any]) -> bool:
    return block["type"] == "redacted_thinking" or (block["type"] == "thinking" and "signature" in block)


@dataclass(kw_only=True)
class GeneratedStream:
    """The bytes of an upstream, in the pieces in which they arrive, and what they mean."""

    seed: int
    dialect: str
    request: dict[str, Any]
    pieces: list[bytes]
    intended: Intended
    needs_beta: bool = False
    """Whether it has blocks that only the beta interface of the SDKs reads."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the decoder."""

    def expected(self, api: str) -> dict[str, Any]:
        return self.intended.message() if api == "anthropic" else self.intended.completion()


def differences(stream: GeneratedStream, api: str, reading: dict[str, Any]) -> list[str]:
    """Return what differs between a response and its reading, as lines."""
    expected = stream.expected(api)
    if "error" in reading:
        return [f"error: {reading['error']}"]
    found = []
    for name, value in expected.items():
        seen: Any = reading[name]
        if name == "usage" and value is None:
            is_equal = all(count >= 0 for count in seen) and seen[0] > 0
        elif name in ("content", "calls"):
            is_equal = _same_content(value, seen, stream.dialect)
        else:
            is_equal = seen == value
        if not is_equal:
            found.append(f"{name}:\n    intended {_short(value)}\n    read     {_short(seen)}")
    return found


def _same_content(expected: list[Any], seen: list[Any], dialect: str) -> bool:
    """Whether blocks or tool calls are equal, but for new IDs, which must be unique."""
    if len(expected) != len(seen):
        return False
    ids = [block["id"] for block in seen if "id" in block]
    return len(set(ids)) == len(ids) and all(
        _same_block(block, other, dialect) for block, other in zip(expected, seen, strict=True)
    )


def _same_block(expected: dict[str, Any], seen: dict[str, Any], dialect: str) -> bool:
    if expected.get("id") == NEW_ID:
        if not str(seen.get("id")).startswith(NEW_ID):
            return False
        seen = {**seen, "id": NEW_ID}
    if dialect == "openai" and seen.get("type") == "thinking":  # only Anthropic signs
        seen = {name: value for name, value in seen.items() if name != "signature"}
    return seen == expected


def _short(value: Any) -> str:
    return json.dumps(value)[:1500]
