"""Estimate of a request's tokens, before an upstream counts them: for limits, reservations and context meters."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lib.pace import Pace, no_pace
from messages_api.backend.protocol import wire
from messages_api.backend.protocol.content import block_text, invalid_field
from messages_api.backend.protocol.types import Block, JSONObject, MessagesRequest

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 1600
TOKENS_PER_BINARY_DOCUMENT = 3000
ONE_HOUR = "1h"
"""Lifetime of cache writes that cost more than those of five minutes."""

_MAX_FREE_CHARACTERS = 256
"""A setting, an ID or a URL up to this length is no text that a model reads."""

_SETTINGS = frozenset(
    {
        "billing_policy", "cache_control", "container", "context_management", "diagnostics", "fallback_credit_token",
        "fallbacks", "inference_geo", "max_tokens", "metadata", "model", "service_tier", "speed", "stop_sequences",
        "stream", "temperature", "thinking", "thread", "tool_choice", "top_k", "top_p",
    }
)  # fmt: skip
_FRAMING = frozenset(
    {"cache_control", "caching", "file_id", "id", "is_error", "media_type", "tool_use_id", "type", "url"}
)
"""Fields of blocks, tools and sources that are no content."""

_COUNTED = {
    "text": frozenset({"type", "text"}),
    "thinking": frozenset({"type", "thinking"}),
    "image": frozenset({"type", "source"}),
    "document": frozenset({"type", "source", "title", "context"}),
    "search_result": frozenset({"type", "title", "source", "content"}),
    "tool_reference": frozenset({"type", "tool_name"}),
    "tool_result": frozenset({"type", "content"}),
}
"""Fields of a block that are counted by its type. All its other fields count as they are sent."""
_REQUEST = frozenset({"messages", "system", "tools"})
_MESSAGE = frozenset({"role", "content"})
_TOOL = frozenset({"name", "description", "input_schema"})
_CALL = frozenset({"name", "input"})
_RENDERED_SOURCE = frozenset({"data", "content"})
_FILE_SOURCE = frozenset({"data"})
_NOTHING: frozenset[str] = frozenset()
_FILES = ("image/", "application/pdf")


class Size(NamedTuple):
    """The size of a request, as an upstream will bill it."""

    input_tokens: int
    cache_ttl: str = ""
    """The longest lifetime of cache writes that a `cache_control` asks for: `5m`, `1h`, or empty for none."""
    added_tools: tuple[JSONObject, ...] = ()
    """Tools that blocks add in the middle of the conversation."""


def measure(request: MessagesRequest, *, step: Pace = no_pace) -> Size:
    """Return the size of a request. Every string counts, also those of fields that no documentation has.

    The constants are averages over models. The estimate is for limits and context meters, not for billing a response
    whose usage the upstream reports. `step` is called during long work.
    """
    size = _Size(step)
    messages = request["messages"]
    for message in messages:
        size.add_content(message["content"])
        size.add_fields(message, counted=_MESSAGE)
    size.add_content(request.get("system"))
    size.add_tools(request.get("tools"))
    size.add_fields(request, counted=_REQUEST, free=_SETTINGS)
    return Size(size.tokens + TOKENS_PER_MESSAGE * len(messages), size.cache_ttl, tuple(size.added_tools))


def estimate(request: MessagesRequest, *, step: Pace = no_pace) -> int:
    """Return the estimated input tokens of a request."""
    return measure(request, step=step).input_tokens


def output_limit(request: MessagesRequest) -> int:
    """Return the most tokens that one response to a request may have: a fallback may have a limit of its own."""
    fallbacks = request.get("fallbacks")
    own = (
        [each.get("max_tokens") for each in fallbacks if isinstance(each, dict)] if isinstance(fallbacks, list) else []
    )
    return max([request["max_tokens"], *(limit for limit in own if type(limit) is int)])


def estimated_output(characters: int, request: MessagesRequest) -> int:
    """Return the estimated tokens of a response with so many characters: at most what the request allows."""
    return min(-(-characters // CHARACTERS_PER_TOKEN), output_limit(request))


class _Size:
    """The size counted so far. A block of an unknown shape counts as its JSON."""

    def __init__(self, step: Pace) -> None:
        self._characters = 0
        self._other_tokens = 0
        self._step = step
        self.cache_ttl = ""
        self.added_tools: list[JSONObject] = []

    @property
    def tokens(self) -> int:
        return -(-self._characters // CHARACTERS_PER_TOKEN) + self._other_tokens

    def add_content(self, content: object) -> None:
        if isinstance(content, str):
            self._characters += len(content)
        elif isinstance(content, list):
            for block in content:
                self._step()
                self._add_block(block)
        else:
            self._add_value(content)

    def add_tools(self, tools: object) -> None:
        if not isinstance(tools, list):
            self._add_value(tools)
            return
        for tool in tools:
            self._step()
            if not isinstance(tool, dict):
                self._add_value(tool)
                continue
            self.add_content(tool.get("name"))
            self.add_content(tool.get("description"))
            if "input_schema" in tool:
                self._add_json(tool["input_schema"])
            self.add_fields(tool, counted=_TOOL)

    def add_fields(
        self, fields: Mapping[str, Any], *, counted: frozenset[str], free: frozenset[str] = _FRAMING
    ) -> None:
        """Add the fields that are not counted otherwise. Those in `free` are free unless they are long."""
        for name, value in fields.items():
            if name in counted or value is None:
                continue
            if name == "cache_control":
                self._write_cache(isinstance(value, dict) and value.get("ttl") == ONE_HOUR)
            before = self._characters
            self._add_value(value)
            if name in free and self._characters - before <= _MAX_FREE_CHARACTERS:
                self._characters = before

    def _add_value(self, value: object) -> None:
        """Add text, or other JSON. Numbers and literals are settings."""
        if isinstance(value, str):
            self._characters += len(value)
        elif isinstance(value, (dict, list)):
            self._add_json(value)

    def _add_json(self, value: object) -> None:
        encoded = wire.encode(value)
        self._characters += len(encoded if encoded.isascii() else encoded.decode())
        # The encoder writes a name in one way, however the client escaped it.
        if b'"cache_control":' in encoded:
            self._write_cache(b'"ttl":"1h"' in encoded)

    def _write_cache(self, is_for_an_hour: bool) -> None:
        self.cache_ttl = ONE_HOUR if is_for_an_hour else self.cache_ttl or "5m"

    def _add_block(self, block: Block) -> None:
        if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
            self._characters += len(block["text"])  # most blocks are text: 0.4 µs instead of 1.3
            self.add_fields(block, counted=_COUNTED["text"])
            return
        if invalid_field(block) is not None:
            self._add_json(block)
            return
        kind = block["type"]
        if kind == "tool_addition":
            self._add_tool_addition(block)
        if (text := block_text(block)) is not None:
            self._characters += len(text)
        elif kind == "image":
            self._other_tokens += TOKENS_PER_IMAGE
        elif kind == "document":
            self._other_tokens += TOKENS_PER_BINARY_DOCUMENT
        elif kind == "thinking":
            self._characters += len(block["thinking"])
        elif kind == "tool_result":
            self.add_content(block.get("content"))
        is_call = kind not in _COUNTED and "name" in block and "input" in block
        if is_call:
            self.add_content(block["name"])
            self._add_json(block["input"])
        self.add_fields(block, counted=_CALL if is_call else _COUNTED.get(kind, _NOTHING))
        if kind in ("image", "document"):
            self._add_source(block["source"], is_rendered=text is not None)
        elif kind == "search_result":
            self._add_text_blocks(block["content"])

    def _add_tool_addition(self, block: Block) -> None:
        tool = block.get("tool")
        definition = tool.get("definition") if isinstance(tool, dict) else None
        if isinstance(definition, dict):
            self.added_tools.append(definition)

    def _add_source(self, source: JSONObject, *, is_rendered: bool) -> None:
        """Add the fields of a source that neither its text nor the constant for a file covers."""
        counted = _RENDERED_SOURCE if is_rendered else _NOTHING
        if source["type"] == "base64" and source["media_type"].startswith(_FILES):
            counted = _FILE_SOURCE
        self.add_fields(source, counted=counted)
        if is_rendered and source["type"] == "content":
            self._add_text_blocks(source["content"])

    def _add_text_blocks(self, blocks: object) -> None:
        """Add the fields of blocks whose text is counted."""
        for block in blocks if isinstance(blocks, list) else []:
            self._step()
            self.add_fields(block, counted=_COUNTED["text"])
