"""Reader of the content of an OpenAI `message` or `delta`, in the spellings of all providers."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from messages_api.backend.protocol import wire
from messages_api.backend.protocol.types import JSONObject

_EMPTY_FIRST = re.compile(r"\s*\{\s*\}\s*(?=\{)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCallFragment:
    """A tool call, or a piece of one. A field that the piece does not have is empty."""

    index: int | None
    id: str
    name: str
    arguments: str


class ContentPart(NamedTuple):
    """The content of a `message` or `delta`. A field that it does not have is empty."""

    thinking: str
    text: str
    refusal: str
    tool_calls: list[ToolCallFragment]


def read_content(part: JSONObject) -> ContentPart:
    """Return the content of a `message` or `delta`."""
    return ContentPart(_thinking_text(part), _content_text(part), _refusal_text(part), _tool_call_fragments(part))


def _thinking_text(part: JSONObject) -> str:
    """Return the reasoning text: `reasoning_content`, else `reasoning`, else Mistral's thinking parts."""
    thinking = part.get("reasoning_content") or part.get("reasoning")
    if isinstance(thinking, str):
        return thinking
    content = part.get("content")
    if not isinstance(content, list):
        return ""
    return "".join(_joined(item.get("thinking")) for item in content if _is_thinking(item))


def _content_text(part: JSONObject) -> str:
    """Return the text of the content, which is a string or parts."""
    content = part.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return _joined([item for item in content if not _is_thinking(item)])


def _refusal_text(part: JSONObject) -> str:
    refusal = part.get("refusal")
    return refusal if isinstance(refusal, str) else ""


def _tool_call_fragments(part: JSONObject) -> list[ToolCallFragment]:
    """Return the tool calls in order. The deprecated `function_call` counts as one."""
    tool_calls = part.get("tool_calls")
    if not tool_calls:
        function = part.get("function_call")
        tool_calls = [{"function": function}] if function else []
    if not isinstance(tool_calls, list):
        return []
    return [_fragment(tool_call) for tool_call in tool_calls if isinstance(tool_call, dict)]


def parse_arguments(arguments: str) -> JSONObject:
    """Return the input of a tool from its arguments, which models sometimes write wrong.

    Blank arguments are an empty input. Of `{}{…}`, a placeholder before the real arguments, the second object counts.
    Anything else that is not an object is kept as `_unparsed_arguments`: a tool must not run with default values that
    the model did not choose.
    """
    if not arguments.strip():
        return {}
    placeholder = _EMPTY_FIRST.match(arguments)  # at the start alone: a search would be quadratic in white space
    for candidate in (arguments, arguments[placeholder.end() :] if placeholder else ""):
        parsed = parsed_object(candidate)
        if parsed is not None:
            return parsed
    return {"_unparsed_arguments": arguments}


def parsed_object(text: str) -> JSONObject | None:
    """Return the JSON object in a text, or None if it is not one."""
    try:
        value = wire.decode(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _fragment(tool_call: JSONObject) -> ToolCallFragment:
    index, function = tool_call.get("index"), tool_call.get("function")
    if not isinstance(function, dict):
        function = {}
    return ToolCallFragment(
        index=index if type(index) is int else None,
        id=_text(tool_call.get("id")),
        name=_text(function.get("name")),
        arguments=_arguments_text(function.get("arguments")),
    )


def _arguments_text(arguments: object) -> str:
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return wire.encode_text(arguments)


def _is_thinking(item: object) -> bool:
    return isinstance(item, dict) and item.get("type") == "thinking"


def _joined(parts: object) -> str:
    """Return the texts of parts, joined without a separator. A string is returned unchanged."""
    if isinstance(parts, str):
        return parts
    if not isinstance(parts, list):
        return ""
    return "".join(part if isinstance(part, str) else _text(_field(part, "text")) for part in parts)


def _field(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
