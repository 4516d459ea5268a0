"""Recorded conversations: requests of an official client, replies of the upstream, and the client's results.

`conversations.json` is the same for every client: `how` is the client's method. As long as the model calls tools, each
tool call gets `toolResult` and the client sends the next request.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tests.upstream import Reply, ToolCall

FOLDER = Path(__file__).parent


def offline(proxy: str) -> dict[str, str]:
    """Return Claude Code's variables against traffic that is not to the gateway, and a proxy for what remains of it."""
    return {
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
        "HTTP_PROXY": proxy,
        "HTTPS_PROXY": proxy,
        "NO_PROXY": "127.0.0.1",
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversation:
    name: str
    how: str
    request: dict[str, Any]
    replies: list[Reply]
    gives: list[Any]
    """For each turn the Message in the form of `turn_of`, and the texts of a stream."""
    tool_result: str


def turn_of(message: dict[str, Any], texts: list[str] | None = None) -> dict[str, Any]:
    """Return a client's result of one turn: the Message without its ID, and the streamed texts, if any.

    Signatures are omitted, because only Anthropic signs thinking; so are `parsed_output`, which clients add, and null.
    """
    turn = _cleaned({name: value for name, value in message.items() if name != "id"})
    return turn if texts is None else turn | {"texts": texts}


def _cleaned(value: Any) -> Any:
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if not isinstance(value, dict):
        return value
    left_out = ("signature", "parsed_output")
    return {name: _cleaned(item) for name, item in value.items() if item is not None and name not in left_out}


def _reply(*, tool_calls: list[dict[str, Any]] | None = None, **fields: Any) -> Reply:
    return Reply(tool_calls=[ToolCall(**call) for call in tool_calls or []], **fields)


def _conversation(recorded: dict[str, Any]) -> Conversation:
    head = {"type": "message", "role": "assistant", "model": recorded["request"]["model"]}
    return Conversation(
        name=recorded["name"],
        how=recorded["how"],
        request=recorded["request"],
        replies=[_reply(**reply) for reply in recorded["replies"]],
        gives=[head | turn for turn in recorded["gives"]],
        tool_result=recorded.get("toolResult", ""),
    )


CONVERSATIONS = [_conversation(recorded) for recorded in json.loads((FOLDER / "conversations.json").read_text())]
