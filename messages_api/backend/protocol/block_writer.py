"""Writer of a stream's content blocks, one open block at a time."""

from messages_api.backend.protocol import events
from messages_api.backend.protocol.types import Block, Event


class BlockWriter:
    """Write blocks so that one is open at a time, indexes have no gaps, and each block has one stop event."""

    def __init__(self) -> None:
        self.characters = 0
        """Characters written: text, thinking and arguments."""
        self._open: str | None = None
        self._index = -1
        self._space = ""

    def write(self, kind: str, piece: str) -> list[Event]:
        """Return the delta for a piece of `text` or `thinking`, in a new block if another kind is open.

        Whitespace at the start of a text is buffered until more follows: Anthropic rejects a blank block in a history.
        """
        if kind == self._open:
            return [self._delta(f"{kind}_delta", piece)]
        if kind == "text":
            piece = self._space + piece
            self._space = piece if piece.isspace() else ""
            if self._space:
                return []
        return [*self._start(kind, events.EMPTY_BLOCKS[kind]), self._delta(f"{kind}_delta", piece)]

    def start_tool_call(self, tool_id: str, name: str) -> list[Event]:
        """Return the start of a tool call. Buffered whitespace is dropped."""
        self._space = ""
        return self._start("tool_use", {"type": "tool_use", "id": tool_id, "name": name, "input": {}})

    def arguments(self, piece: str) -> list[Event]:
        return [self._delta("input_json_delta", piece)] if piece else []

    def stop(self) -> list[Event]:
        """Return the stop event of the open block, if there is one."""
        if self._open is None:
            return []
        self._open = None
        return [events.block_stop(self._index)]

    def _start(self, kind: str, block: Block) -> list[Event]:
        out = self.stop()
        self._open = kind
        self._index += 1
        return [*out, events.block_start(self._index, block)]

    def _delta(self, kind: str, payload: str) -> Event:
        self.characters += len(payload)
        return events.block_delta(self._index, kind, payload)
