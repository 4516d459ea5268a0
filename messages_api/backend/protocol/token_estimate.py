"""Estimate of a request's input tokens, for upstreams that do not count them."""

from messages_api.backend.protocol import wire
from messages_api.backend.protocol.content import block_text, invalid_field
from messages_api.backend.protocol.types import Block, MessagesRequest

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 1600
TOKENS_PER_BINARY_DOCUMENT = 3000


def estimate(request: MessagesRequest) -> int:
    """Return the estimated input tokens of a request: its system prompt, messages and tools.

    The constants are averages over models. The estimate is for limits and context meters, not for billing a response
    whose usage the upstream reports.
    """
    size = _Size()
    size.add_content(request.get("system"))
    for turn in request["messages"]:
        size.add_content(turn["content"])
    size.add_tools(request.get("tools"))
    return (
        -(-size.characters // CHARACTERS_PER_TOKEN) + TOKENS_PER_MESSAGE * len(request["messages"]) + size.other_tokens
    )


class _Size:
    """The size counted so far. A block of an unknown shape counts as its JSON."""

    def __init__(self) -> None:
        self.characters = 0
        self.other_tokens = 0

    def add_content(self, content: object) -> None:
        if isinstance(content, str):
            self.characters += len(content)
        elif isinstance(content, list):
            for block in content:
                self._add_block(block)

    def add_tools(self, tools: object) -> None:
        for tool in tools if isinstance(tools, list) else []:
            if not isinstance(tool, dict):
                continue
            for text in (tool.get("name"), tool.get("description")):
                self.add_content(text)
            if "input_schema" in tool:
                self._add_json(tool["input_schema"])

    def _add_json(self, value: object) -> None:
        self.characters += len(wire.encode_text(value))

    def _add_block(self, block: Block) -> None:
        if invalid_field(block) is not None:
            self._add_json(block)
            return
        text = block_text(block)
        if text is not None:
            self.characters += len(text)
            return
        kind = block["type"]
        if kind == "image":
            self.other_tokens += TOKENS_PER_IMAGE
        elif kind == "document":
            self.other_tokens += TOKENS_PER_BINARY_DOCUMENT
        elif kind == "thinking":
            self.characters += len(block["thinking"])
        elif kind == "tool_result":
            self.add_content(block.get("content"))
        elif "name" in block and "input" in block:
            self.add_content(block["name"])
            self._add_json(block["input"])
