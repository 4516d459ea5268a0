"""Translation of the conversation to OpenAI: system prompt, user turns, tool results, assistant turns."""

from typing import NamedTuple

from lib.pace import Pace, no_pace
from messages_api.backend.protocol import wire
from messages_api.backend.protocol.content import (
    attachment_part,
    block_text,
    blocks_of,
    invalid_content_field,
    text_part,
)
from messages_api.backend.protocol.profile import Profile
from messages_api.backend.protocol.texts import (
    TOOL_CHANGES,
    append_message,
    concatenated,
    joined,
    part_of,
    system_parts,
)
from messages_api.backend.protocol.thinking_signature import ThinkingSigner
from messages_api.backend.protocol.tool_extras import split_id, upstream_id
from messages_api.backend.protocol.types import Block, JSONObject, MessagesRequest
from messages_api.backend.protocol.unsupported import UnsupportedRequest

# Blocks of an assistant turn that only Anthropic can use. The text beside them is kept.
_WITHOUT_COUNTERPART = {"redacted_thinking", "server_tool_use", "mcp_tool_use", "compaction", "fallback", "advisor"}

_BRIDGE = "(continued)"
"""Text of an assistant between a tool's output and what only a user can send, such as an image."""


class Piece(NamedTuple):
    """A block and its path in the request."""

    block: Block
    path: str


class ConversationTurn(NamedTuple):
    """Consecutive messages of one role."""

    role: str
    pieces: list[Piece]


def messages_for(
    request: MessagesRequest, profile: Profile, *, step: Pace = no_pace, signer: ThinkingSigner | None = None
) -> list[JSONObject]:
    """Return the `messages` of Chat Completions. Raise UnsupportedRequest for content without a counterpart."""
    system, turns = _split(request, profile, step)
    messages: list[JSONObject] = []
    if system:
        messages.append({"role": profile.system_role, "content": joined(system)})
    _check_pairing(turns)
    translated: list[JSONObject] = []
    for turn in turns:
        step()
        translated = _translated(turn, profile, signer)
        for message in translated:
            append_message(messages, message)
    if turns:
        _check_end(turns[-1], messages, is_empty=not translated, profile=profile)
    return messages


def _translated(turn: ConversationTurn, profile: Profile, signer: ThinkingSigner | None) -> list[JSONObject]:
    """Return the messages of a turn, which may be none."""
    if turn.role == "assistant":
        return _assistant(turn, profile, signer)
    if turn.role == "system":
        return [{"role": profile.system_role, "content": piece.block["text"]} for piece in turn.pieces]
    return _user(turn, profile)


def _check_end(last: ConversationTurn, messages: list[JSONObject], *, is_empty: bool, profile: Profile) -> None:
    """Check that the conversation ends with something to respond to."""
    if last.role == "assistant" and not is_empty and profile.prefill == "reject":
        raise UnsupportedRequest(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
            "messages",
        )
    is_forwarded = bool(messages) and messages[-1]["role"] == "assistant" and profile.prefill == "forward"
    is_response_due = bool(messages) and messages[-1]["role"] in ("user", "tool")
    if last.role == "user" and is_empty and not (is_forwarded or is_response_due):
        raise UnsupportedRequest("messages: the last message of the user must not be empty", "messages")


def _split(request: MessagesRequest, profile: Profile, step: Pace) -> tuple[list[JSONObject], list[ConversationTurn]]:
    """Return the texts of the leading system message, and the turns.

    A later system message stays where it is or becomes a part of the user's turn, depending on the profile.
    """
    system = system_parts(request.get("system"), profile, path="system")
    turns: list[ConversationTurn] = []
    for i, message in enumerate(request["messages"]):
        step()
        path, role = f"messages[{i}]", message["role"]
        if role in ("user", "assistant"):
            _add(turns, role, _pieces(message["content"], path=path))
            continue
        if role != "system":
            raise UnsupportedRequest(f"{path}.role: must be user, assistant or system", f"{path}.role")
        parts = system_parts(message["content"], profile, path=f"{path}.content")
        if not turns:
            system += parts
        elif parts:
            text = "\n\n".join(part["text"] for part in parts)
            folded = profile.mid_system == "fold"
            block = text_part(f"<system>\n{text}\n</system>" if folded else text)
            _add(turns, "user" if folded else "system", [Piece(block, f"{path}.content")])
    return system, turns


def _add(turns: list[ConversationTurn], role: str, pieces: list[Piece]) -> None:
    if turns and turns[-1].role == role:
        turns[-1].pieces.extend(pieces)
    else:
        turns.append(ConversationTurn(role, pieces))


def _pieces(content: str | list[Block], *, path: str) -> list[Piece]:
    invalid = invalid_content_field(content)
    if invalid is not None:
        raise UnsupportedRequest(f"{path}{invalid}: missing or of the wrong type", f"{path}{invalid}")
    pieces = [Piece(block, f"{path}.content[{i}]") for i, block in enumerate(blocks_of(content))]
    return [piece for piece in pieces if piece.block["type"] not in TOOL_CHANGES]


def _check_pairing(turns: list[ConversationTurn]) -> None:
    """Check that each tool call has one result in the next turn, and each result a tool call."""
    pending: dict[str, str] = {}
    for turn in turns:
        for block, path in turn.pieces:
            if block["type"] == "tool_result":
                _add_result(pending, block["tool_use_id"], path=path)
        _check_complete(pending)
        for block, path in turn.pieces:
            if block["type"] == "tool_use" and pending.setdefault(block["id"], path) != path:
                raise UnsupportedRequest(f"{path}.id: '{block['id']}' is the id of another tool_use", f"{path}.id")
    _check_complete(pending)


def _add_result(pending: dict[str, str], tool_use_id: str, *, path: str) -> None:
    if pending.pop(tool_use_id, None) is None:
        raise UnsupportedRequest(
            f"{path}: unexpected `tool_use_id` found in `tool_result` blocks: {tool_use_id}. "
            "Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
            f"{path}.tool_use_id",
        )


def _check_complete(pending: dict[str, str]) -> None:
    if pending:
        raise UnsupportedRequest(
            f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(pending)}. "
            "Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
            next(iter(pending.values())),
        )


def _user(turn: ConversationTurn, profile: Profile) -> list[JSONObject]:
    """Return the tool messages of a turn, followed by one message with everything else."""
    results: list[JSONObject] = []
    parts: list[JSONObject] = []
    for piece in turn.pieces:
        if piece.block["type"] == "tool_result":
            text, attachments = _tool_result(piece, profile)
            tool_id = upstream_id(piece.block["tool_use_id"], profile.tool_id_format)
            content = joined([part_of(text, piece.block, profile)])
            results.append({"role": "tool", "tool_call_id": tool_id, "content": content})
            parts += attachments
        else:
            parts += _parts(piece, profile)
    if not parts:
        return results
    following: JSONObject = {"role": "user", "content": _collapsed(parts, profile)}
    if not results or profile.text_after_tool_result == "user":
        return [*results, following]
    if any(part["type"] != "text" for part in parts):
        return [*results, {"role": "assistant", "content": _BRIDGE}, following]
    results[-1]["content"] = concatenated(results[-1]["content"], joined(parts))
    return results


def _parts(piece: Piece, profile: Profile) -> list[JSONObject]:
    text = block_text(piece.block)
    if text is None:
        return [attachment_part(piece.block, files=profile.files, path=piece.path)]
    return [part_of(text, piece.block, profile)] if text else []


def _collapsed(parts: list[JSONObject], profile: Profile) -> str | list[JSONObject]:
    """Join content that is all text into one string, which every server accepts."""
    is_text = all(part["type"] == "text" for part in parts)
    if not is_text or (profile.text_parts and len(parts) > 1):
        return parts
    return joined(parts)


def _tool_result(piece: Piece, profile: Profile) -> tuple[str, list[JSONObject]]:
    """Return a tool's output as text, and its images and files, which a tool message cannot contain."""
    block = piece.block
    inner = [Piece(item, f"{piece.path}.content[{i}]") for i, item in enumerate(blocks_of(block.get("content") or []))]
    parts = [part for item in inner for part in _parts(item, profile)]
    attachments = [part for part in parts if part["type"] != "text"]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    if attachments:
        text = text or "(image attached below)"
        tool_id = upstream_id(block["tool_use_id"], profile.tool_id_format)
        attachments.insert(0, text_part(f"Output of tool call {tool_id}:"))
    if block.get("is_error") and not text.lower().startswith("error"):
        text = f"Error: {text or '(no output)'}"
    return text, attachments


def _assistant(turn: ConversationTurn, profile: Profile, signer: ThinkingSigner | None) -> list[JSONObject]:
    """Return the message of an assistant turn, or none if none of its blocks has a counterpart."""
    texts: list[JSONObject] = []
    thoughts: list[str] = []
    tool_calls: list[JSONObject] = []
    for block, path in turn.pieces:
        kind = block["type"]
        if kind == "text":
            texts.append(part_of(block["text"], block, profile))
        elif kind == "thinking":
            if signer is None or not signer.is_forged(block):
                thoughts.append(block["thinking"])
        elif kind == "tool_use":
            tool_calls.append(_tool_call(block, profile))
        elif kind not in _WITHOUT_COUNTERPART and not kind.endswith("_tool_result"):
            raise UnsupportedRequest(f"{path}: content block type '{kind}' is not supported by this model", path)

    field = profile.reasoning_history
    text, thinking = joined(texts, ""), "".join(thoughts) if field else ""
    if not (text or thinking or tool_calls):
        return []
    message: JSONObject = {"role": "assistant", "content": None if tool_calls and not text else text}
    if field and (thinking or (tool_calls and profile.reasoning_required)):
        message[field] = thinking
    if tool_calls:
        message["tool_calls"] = tool_calls
    return [message]


def _tool_call(block: Block, profile: Profile) -> JSONObject:
    _, extra = split_id(block["id"])
    tool_id = upstream_id(block["id"], profile.tool_id_format)
    function = {"name": block["name"], "arguments": wire.encode_text(block["input"])}
    return {"id": tool_id, "type": "function", "function": function, **(extra if profile.tool_extras else {})}
