"""IDs of messages and tool calls, unique within a conversation."""

from collections.abc import Iterable

from messages_api.backend.protocol.tool_extras import split_id
from messages_api.backend.protocol.types import MessagesRequest


class Ids:
    """The IDs of one response: `msg_7f3a…` of the message, `toolu_7f3a…_1` of its first tool call.

    `random` makes them unique: 24 random hex digits. It is passed in because this package has no source of randomness.
    `taken` are tool IDs that must not be used again.
    """

    def __init__(self, random: str, *, taken: Iterable[str] = ()) -> None:
        self._random = random
        self._tools = 0
        self._taken = set(taken)

    def avoid(self, taken: Iterable[str]) -> None:
        """Treat these tool IDs as used."""
        self._taken.update(taken)

    def message(self) -> str:
        return f"msg_{self._random}"

    def tool(self, upstream_id: str) -> str:
        """Return the upstream's ID, or a new one if it is empty or already used in the conversation."""
        tool_id = upstream_id
        while not tool_id or tool_id in self._taken:
            self._tools += 1
            tool_id = f"toolu_{self._random}_{self._tools}"
        self._taken.add(tool_id)
        return tool_id


def tool_ids(request: MessagesRequest) -> set[str]:
    """Return the IDs of the tool calls in a request's history, as upstreams know them."""
    return {
        split_id(block["id"])[0]
        for turn in request["messages"]
        if isinstance(turn["content"], list)  # a text would be walked character by character
        for block in turn["content"]
        if isinstance(block, dict) and block.get("type") == "tool_use" and isinstance(block.get("id"), str)
    }
