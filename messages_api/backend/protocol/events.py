"""Anthropic stream events, the writer of their content blocks, and the Message that they add up to."""

from messages_api.backend.protocol.surrogates import SurrogateJoiner
from messages_api.backend.protocol.thinking_signature import ThinkingSigner
from messages_api.backend.protocol.types import Block, Event, JSONObject, Message
from messages_api.backend.protocol.usage import Usage

PAYLOADS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
"""The field of each delta type that has the model's output."""

DELTA_OF_BLOCK = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}
"""The delta of each block that the gateway writes."""

EMPTY_BLOCKS: dict[str, Block] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
"""Blocks that start empty."""


def message(message_id: str, *, model: str, content: list[Block], stop: JSONObject, usage: Usage) -> Message:
    """Return a Message. `stop` has `stop_reason`, `stop_sequence` and optionally `stop_details`."""
    built: Message = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop["stop_reason"],
        "stop_sequence": stop["stop_sequence"],
        "usage": usage.anthropic(),
    }
    if "stop_details" in stop:
        built["stop_details"] = stop["stop_details"]
    return built


def message_start(message_id: str, *, model: str, usage: Usage) -> Event:
    """Return the first event. Its output count is 0 for any usage: no output exists yet."""
    started = message(
        message_id, model=model, content=[], stop={"stop_reason": None, "stop_sequence": None}, usage=usage
    )
    started["usage"] = {**started["usage"], "output_tokens": 0}
    started["usage"].pop("output_tokens_details", None)
    return {"type": "message_start", "message": started}


def block_start(index: int, block: Block) -> Event:
    return {"type": "content_block_start", "index": index, "content_block": dict(block)}


def block_delta(index: int, kind: str, payload: str) -> Event:
    """Return a delta of one of the `PAYLOADS`."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, PAYLOADS[kind]: payload}}


def signature_delta(index: int, signature: str) -> Event:
    delta = {"type": "signature_delta", "signature": signature}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def block_stop(index: int) -> Event:
    return {"type": "content_block_stop", "index": index}


def message_delta(*, stop: JSONObject, usage: Usage) -> Event:
    return {"type": "message_delta", "delta": stop, "usage": usage.anthropic()}


def message_stop() -> Event:
    return {"type": "message_stop"}


def error(error_type: str, text: str) -> Event:
    return {"type": "error", "error": {"type": error_type, "message": text}}


class BlockWriter:
    """Write blocks so that one is open at a time, indexes have no gaps, and each block has one stop event.

    Thinking gets a signature at its end if there is a `signer`.
    """

    def __init__(self, signer: ThinkingSigner | None = None) -> None:
        self.characters = 0
        """Characters written: text, thinking and arguments."""
        self._signer = signer
        self._thinking: list[str] = []
        self._open: str | None = None
        self._index = -1
        self._space = ""
        self._halves = {kind: SurrogateJoiner() for kind in DELTA_OF_BLOCK}

    def write(self, kind: str, piece: str) -> list[Event]:
        """Return the delta for a piece of `text` or `thinking`, in a new block if another kind is open.

        Whitespace at the start of a text is buffered until more follows: Anthropic rejects a blank block in a history.
        """
        piece = self._joined(kind, piece)
        if not piece:
            return []
        if kind == self._open:
            return [self._delta(kind, piece)]
        if kind == "text":
            piece = self._space + piece
            self._space = piece if piece.isspace() else ""
            if self._space:
                return []
        return [*self._start(kind, EMPTY_BLOCKS[kind]), self._delta(kind, piece)]

    def start_tool_call(self, tool_id: str, name: str) -> list[Event]:
        """Return the start of a tool call. Buffered whitespace is dropped."""
        self._space = ""
        return self._start("tool_use", {"type": "tool_use", "id": tool_id, "name": name, "input": {}})

    def arguments(self, piece: str) -> list[Event]:
        piece = self._joined("tool_use", piece)
        return [self._delta("tool_use", piece)] if piece else []

    def stop(self) -> list[Event]:
        """Return the stop event of the open block, if there is one."""
        kind, self._open = self._open, None
        if kind is None:
            return []
        rest = [self._delta(kind, self._halves[kind].end())] if self._halves[kind].half else []
        if kind == "thinking" and self._signer is not None:
            thinking, self._thinking = "".join(self._thinking), []
            rest.append(signature_delta(self._index, self._signer.signature(thinking)))
        return [*rest, block_stop(self._index)]

    def _joined(self, kind: str, piece: str) -> str:
        """Return a piece of text with whole characters."""
        halves = self._halves[kind]
        return piece if piece.isascii() and not halves.half else halves.join(piece)

    def _start(self, kind: str, block: Block) -> list[Event]:
        out = self.stop()
        self._open = kind
        self._index += 1
        return [*out, block_start(self._index, block)]

    def _delta(self, kind: str, payload: str) -> Event:
        self.characters += len(payload)
        if self._signer is not None and kind == "thinking":
            self._thinking.append(payload)
        return block_delta(self._index, DELTA_OF_BLOCK[kind], payload)
