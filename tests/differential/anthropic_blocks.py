"""Content blocks of Anthropic's dialect: the events of each, and what they add up to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.differential.randomness import chance, cut, cut_into_halves, json_object, json_text, text

NAMES = ("get_weather", "Bash", "mcp__files__read")
SERVER_NAMES = ("web_search", "web_fetch", "code_execution", "bash_code_execution")


@dataclass(kw_only=True)
class GeneratedBlock:
    start: dict[str, Any]
    deltas: list[dict[str, Any]] = field(default_factory=list)
    intended: dict[str, Any]
    """The block of the complete message, without fields that are null."""
    arguments: str = ""
    """What the deltas of a tool call add up to."""


class _Block:
    """The index and the source of randomness of one block."""

    def __init__(self, random: Random, index: int) -> None:
        self.random = random
        self.index = index

    def start(self, block: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_start", "index": self.index, "content_block": block}

    def delta(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self.index, "delta": {"type": kind, **fields}}

    def deltas(self, kind: str, name: str, whole: str) -> list[dict[str, Any]]:
        pieces = (cut_into_halves if chance(self.random, 0.05) else cut)(self.random, whole)
        return [self.delta(kind, **{name: piece}) for piece in pieces if piece or chance(self.random, 0.5)]

    def whole(self, block: dict[str, Any]) -> GeneratedBlock:
        """Return a block that arrives complete in its start event."""
        return GeneratedBlock(start=self.start(block), intended=block)


def random_block(random: Random, index: int, *, needs_beta: bool) -> GeneratedBlock:
    kinds = (*BLOCKS, *BETA_BLOCKS) if needs_beta else BLOCKS
    return random.choice(kinds)(_Block(random, index))


def _text(block: _Block) -> GeneratedBlock:
    random = block.random
    whole = text(random, longest=25) if chance(random, 0.95) else ""
    first, rest = (whole, "") if chance(random, 0.03) else ("", whole)
    empty = {"type": "text", "text": first, **random.choice(({}, {"citations": None}))}
    return GeneratedBlock(
        start=block.start(empty),
        deltas=block.deltas("text_delta", "text", rest) if rest else [],
        intended={"type": "text", "text": whole},
    )


def _cited_text(block: _Block) -> GeneratedBlock:
    random = block.random
    whole = text(random)
    citations = [_citation(random) for _ in range(random.randrange(1, 3))]
    deltas = [
        *block.deltas("text_delta", "text", whole),
        *(block.delta("citations_delta", citation=citation) for citation in citations),
    ]
    return GeneratedBlock(
        start=block.start({"type": "text", "text": "", "citations": []}),
        deltas=deltas,
        intended={"type": "text", "text": whole, "citations": citations},
    )


def _citation(random: Random) -> dict[str, Any]:
    cited = {"cited_text": text(random, longest=4)}
    return (
        random.choice(
            (
                {
                    "type": "char_location",
                    "document_index": 0,
                    "document_title": "T",
                    "start_char_index": 0,
                    "end_char_index": 9,
                },
                {"type": "web_search_result_location", "url": "https://e.x", "title": "é", "encrypted_index": "Eo8"},
            )
        )
        | cited
    )


def _thinking(block: _Block) -> GeneratedBlock:
    random = block.random
    whole = text(random, longest=25) if chance(random, 0.9) else ""  # omitted thinking has a signature alone
    signature = "EqQBCgIYAhIM+/" * random.randrange(1, 4)
    empty = {"type": "thinking", "thinking": "", "signature": ""}
    return GeneratedBlock(
        start=block.start(empty),
        deltas=[
            *(block.deltas("thinking_delta", "thinking", whole) if whole else []),
            block.delta("signature_delta", signature=signature),
        ],
        intended={"type": "thinking", "thinking": whole, "signature": signature},
    )


def _redacted(block: _Block) -> GeneratedBlock:
    return block.whole({"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3"})


def _tool_use(block: _Block, *, kind: str = "tool_use", **fields: Any) -> GeneratedBlock:
    random = block.random
    given = json_object(random)
    head = {"type": kind, "id": f"{_PREFIXES[kind]}{block.index}x", "name": random.choice(NAMES), **fields}
    if kind == "server_tool_use":
        head["name"] = random.choice(SERVER_NAMES)
    elif kind == "tool_use" and chance(random, 0.2):
        head["caller"] = {"type": "direct"}
    if chance(random, 0.05):  # the whole input in the start event
        return GeneratedBlock(start=block.start({**head, "input": given}), intended={**head, "input": given})
    arguments = json_text(random, given) if given or chance(random, 0.3) else ""
    deltas = [block.delta("input_json_delta", partial_json="")] if chance(random, 0.7) else []
    deltas += block.deltas("input_json_delta", "partial_json", arguments) if arguments else []
    return GeneratedBlock(
        start=block.start({**head, "input": {}}), deltas=deltas, intended={**head, "input": given}, arguments=arguments
    )


_PREFIXES = {"tool_use": "toolu_01", "server_tool_use": "srvtoolu_01", "mcp_tool_use": "mcptoolu_01"}


def cut_tool_use(random: Random, index: int) -> GeneratedBlock:
    """Return a tool call that ends after a member of its input, and that no stop event follows."""
    block = _Block(random, index)
    given = {"first": text(random), "second": random.choice((1, "x", [1], None))}
    arguments = json_text(random, given).rstrip("}").rstrip() + ","
    head = {"type": "tool_use", "id": f"toolu_01{index}x", "name": "Bash"}
    return GeneratedBlock(
        start=block.start({**head, "input": {}}),
        deltas=block.deltas("input_json_delta", "partial_json", arguments),
        intended={**head, "input": given},
        arguments=arguments,
    )


def _server_tool_use(block: _Block) -> GeneratedBlock:
    return _tool_use(block, kind="server_tool_use")


def _web_search_result(block: _Block) -> GeneratedBlock:
    result = {
        "type": "web_search_result",
        "url": "https://e.x/é",
        "title": text(block.random),
        "encrypted_content": "E",
    }
    error = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    content: Any = _content(block.random, [result] * block.random.randrange(3), error)
    return block.whole({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_01", "content": content})


def _web_fetch_result(block: _Block) -> GeneratedBlock:
    source = {"type": "text", "media_type": "text/plain", "data": text(block.random)}
    content = {
        "type": "web_fetch_result",
        "url": "https://e.x",
        "retrieved_at": "2026-01-01T00:00:00Z",
        "content": {"type": "document", "source": source, "title": "T"},
    }
    return block.whole({"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_01", "content": content})


def _code_result(block: _Block) -> GeneratedBlock:
    kind = block.random.choice(("code_execution", "bash_code_execution"))
    result = {"type": f"{kind}_result", "stdout": text(block.random), "stderr": "", "return_code": 0, "content": []}
    error = {"type": f"{kind}_tool_result_error", "error_code": "unavailable"}
    content = _content(block.random, result, error)
    return block.whole({"type": f"{kind}_tool_result", "tool_use_id": "srvtoolu_01", "content": content})


def _container_upload(block: _Block) -> GeneratedBlock:
    return block.whole({"type": "container_upload", "file_id": "file_01"})


def _content(random: Random, result: Any, error: Any) -> Any:
    return error if chance(random, 0.2) else result


def _mcp_tool_use(block: _Block) -> GeneratedBlock:
    return _tool_use(block, kind="mcp_tool_use", server_name="files")


def _mcp_result(block: _Block) -> GeneratedBlock:
    content = [{"type": "text", "text": text(block.random)}]
    return block.whole({"type": "mcp_tool_result", "tool_use_id": "mcptoolu_01", "is_error": False, "content": content})


def _compaction(block: _Block) -> GeneratedBlock:
    whole = text(block.random)
    return GeneratedBlock(
        start=block.start({"type": "compaction", "content": None}),
        deltas=[block.delta("compaction_delta", content=whole)],
        intended={"type": "compaction", "content": whole},
    )


BLOCKS: tuple[Callable[[_Block], GeneratedBlock], ...] = (
    *(_text,) * 4,
    _cited_text,
    *(_thinking,) * 2,
    _redacted,
    *(_tool_use,) * 4,
    _server_tool_use,
    _web_search_result,
    _web_fetch_result,
    _code_result,
    _container_upload,
)
BETA_BLOCKS = (_mcp_tool_use, _mcp_result, _compaction)
