"""Encoding from Anthropic to OpenAI: Messages as `chat.completion`, events as lines of `chat.completion.chunk`."""

from collections.abc import Callable

from messages_api.backend.protocol import sse, wire
from messages_api.backend.protocol.error_mapping import STREAM_CUT
from messages_api.backend.protocol.stop_reasons import finish_reason
from messages_api.backend.protocol.types import Block, Event, JSONObject, Message
from messages_api.backend.protocol.usage import Usage

_TAIL = b',"finish_reason":null}]}\n\n'


def completion_from_message(message: Message, *, created: int, with_signatures: bool = False) -> JSONObject:
    """Return the `chat.completion` for a Message. `created` is in seconds since the epoch.

    `with_signatures` adds signed thinking as `thinking_blocks`, which clients return in a history. It equals
    the sum of the chunks of the same response. Citations and server tools have no counterpart and are left out.
    """
    blocks = message["content"]
    tool_calls = [_tool_call(block) for block in blocks if block["type"] == "tool_use"]
    text = _joined(blocks, "text")
    assistant: JSONObject = {"role": "assistant", "content": None if tool_calls and not text else text}
    thinking = _joined(blocks, "thinking")
    if thinking:
        assistant["reasoning_content"] = thinking
    if with_signatures and (signed := [block for block in blocks if _is_signed(block)]):
        assistant["thinking_blocks"] = signed
    if tool_calls:
        assistant["tool_calls"] = tool_calls
    choice = {"index": 0, "message": assistant, "finish_reason": finish_reason(message.get("stop_reason"))}
    return {
        "id": message["id"],
        "object": "chat.completion",
        "created": created,
        "model": message["model"],
        "choices": [choice],
        "usage": Usage.from_anthropic(message["usage"]).openai(),
    }


def _joined(blocks: list[Block], kind: str) -> str:
    """Return the texts of one type of block, joined without a separator: citations split sentences into blocks."""
    return "".join(block.get(kind, "") for block in blocks if block["type"] == kind)


def _is_signed(block: Block) -> bool:
    return block["type"] == "redacted_thinking" or (block["type"] == "thinking" and bool(block.get("signature")))


def _tool_call(block: Block) -> JSONObject:
    function = {"name": block["name"], "arguments": wire.encode_text(block.get("input") or {})}
    return {"id": block["id"], "type": "function", "function": function}


class _Tool:
    """A tool call being sent. Its number counts tool calls, not blocks."""

    def __init__(self, number: int, block: Block) -> None:
        self.number = number
        self.input = block.get("input") or {}
        self.has_arguments = False


class ChunkEncoder:
    """Encode the events of one response as the lines of a chunk stream.

    It ends with a finish chunk, which has the usage, and `[DONE]`; or with an error line and without `[DONE]`.
    `created` is in seconds since the epoch.
    """

    def __init__(self, *, created: int, with_signatures: bool = False) -> None:
        self._created = created
        self._with_signatures = with_signatures
        self._pieces: list[str] = []
        """The text of the open thinking block."""
        self._signature = ""
        self._signed: list[Block] = []
        self._is_ended = False
        self._usage = Usage()
        self._stop_reason: str | None = None
        self._tools: dict[int, _Tool] = {}
        self._tool_count = 0
        self._name_chunks("", "")

    def feed(self, event: Event) -> list[bytes]:
        """Return the lines for an event; none after the end."""
        if self._is_ended:
            return []
        encode = _ENCODERS.get(event["type"])
        return [] if encode is None else encode(self, event)

    def eof(self) -> list[bytes]:
        """Return the lines for the end of the events: an error if no stop reason was seen."""
        if self._is_ended:
            return []
        if self._stop_reason is None:
            return self._fail(STREAM_CUT.type, STREAM_CUT.message)
        return self._finish()

    def _name_chunks(self, message_id: str, model: str) -> None:
        """Encode the bytes that all chunks of the stream start with once, so that a piece of text is cheap."""
        chunk = {"id": message_id, "object": "chat.completion.chunk", "created": self._created, "model": model}
        self._head = b"data: " + wire.encode_line(chunk)[:-1] + b',"choices":[{"index":0,"delta":'
        self._text_head = self._head + b'{"content":'
        self._thinking_head = self._head + b'{"reasoning_content":'

    def _chunk(self, delta: JSONObject) -> bytes:
        return self._head + wire.encode_line(delta) + _TAIL

    def _text(self, text: str) -> list[bytes]:
        return [self._text_head + wire.encode_line(text) + b"}" + _TAIL] if text else []

    def _thinking(self, thinking: str) -> list[bytes]:
        return [self._thinking_head + wire.encode_line(thinking) + b"}" + _TAIL] if thinking else []

    def _arguments(self, tool: _Tool, arguments: str) -> bytes:
        tool.has_arguments = True
        return self._chunk({"tool_calls": [{"index": tool.number, "function": {"arguments": arguments}}]})

    def _message_start(self, event: Event) -> list[bytes]:
        message = event["message"]
        self._usage = Usage.from_anthropic(message.get("usage"))
        self._name_chunks(message["id"], message["model"])
        return [self._chunk({"role": "assistant", "content": ""})]

    def _block_start(self, event: Event) -> list[bytes]:
        block = event["content_block"]
        if block["type"] == "text":
            return self._text(block.get("text", ""))
        if block["type"] == "thinking":
            thinking = block.get("thinking", "")
            self._pieces, self._signature = [thinking], block.get("signature") or ""
            return self._thinking(thinking)
        if block["type"] == "redacted_thinking":
            self._signed.append(block)
        if block["type"] != "tool_use":
            return []
        tool = self._tools[event["index"]] = _Tool(self._tool_count, block)
        self._tool_count += 1
        function = {"name": block["name"], "arguments": ""}
        tool_call = {"index": tool.number, "id": block["id"], "type": "function", "function": function}
        return [self._chunk({"tool_calls": [tool_call]})]

    def _block_delta(self, event: Event) -> list[bytes]:
        delta = event["delta"]
        kind = delta["type"]
        if kind == "text_delta":
            return self._text(delta["text"])
        if kind == "thinking_delta":
            if self._with_signatures:
                self._pieces.append(delta["thinking"])
            return self._thinking(delta["thinking"])
        if kind == "signature_delta":
            self._signature = delta.get("signature") or ""
            return []
        tool = self._tools.get(event["index"])
        if kind == "input_json_delta" and tool is not None and delta["partial_json"]:
            return [self._arguments(tool, delta["partial_json"])]
        return []

    def _block_stop(self, event: Event) -> list[bytes]:
        """Return the lines for a block's end: the `input` of its start, if no arguments followed it."""
        if self._signature:
            thinking = "".join(self._pieces)
            self._signed.append({"type": "thinking", "thinking": thinking, "signature": self._signature})
            self._pieces, self._signature = [], ""
        tool = self._tools.pop(event["index"], None)
        if tool is None or tool.has_arguments:
            return []
        return [self._arguments(tool, wire.encode_text(tool.input))]

    def _message_delta(self, event: Event) -> list[bytes]:
        self._stop_reason = event["delta"].get("stop_reason") or self._stop_reason
        self._usage = self._usage.merged(Usage.from_anthropic(event.get("usage")))
        return []

    def _message_stop(self, event: Event) -> list[bytes]:
        return self._finish()

    def _ping(self, event: Event) -> list[bytes]:
        return [sse.comment("ping")]

    def _error(self, event: Event) -> list[bytes]:
        return self._fail(event["error"]["type"], event["error"]["message"])

    def _finish(self) -> list[bytes]:
        self._is_ended = True
        tail = {"finish_reason": finish_reason(self._stop_reason)}
        end = b"{}," + wire.encode(tail)[1:] + b'],"usage":' + wire.encode(self._usage.openai()) + b"}\n\n"
        # In one piece: at a second list, the helper of OpenAI's Python SDK raises, and that of the TypeScript SDK
        # forgets the first.
        signed = [self._chunk({"thinking_blocks": self._signed})] if self._signed and self._with_signatures else []
        return [*signed, self._head + end, sse.done()]

    def _fail(self, error_type: str, message: str) -> list[bytes]:
        self._is_ended = True
        error = {"type": error_type, "message": message, "param": None, "code": error_type}
        return [sse.frame({"error": error})]


_ENCODERS: dict[str, Callable[[ChunkEncoder, Event], list[bytes]]] = {
    "message_start": ChunkEncoder._message_start,
    "content_block_start": ChunkEncoder._block_start,
    "content_block_delta": ChunkEncoder._block_delta,
    "content_block_stop": ChunkEncoder._block_stop,
    "message_delta": ChunkEncoder._message_delta,
    "message_stop": ChunkEncoder._message_stop,
    "ping": ChunkEncoder._ping,
    "error": ChunkEncoder._error,
}
