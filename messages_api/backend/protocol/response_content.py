"""Reader of the content of an OpenAI `message` or `delta`, in the spellings of all providers."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from messages_api.backend.protocol import wire
from messages_api.backend.protocol.types import JSONObject

# Providers fill several of them with the same text: the first one counts.
_REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks")
_REASONING_TEXTS = ("text", "thinking", "summary", "content")
_EXTRA_FIELDS = ("extra_content", "provider_specific_fields")

_EMPTY_FIRST = re.compile(r"\s*\{\s*\}\s*(?=\{)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCallFragment:
    """A tool call, or a piece of one. A field that the piece does not have is empty."""

    index: int | None
    id: str
    name: str
    arguments: str
    extra: JSONObject
    """Fields of the provider that the next request must return, such as Gemini's thought signature."""


class ContentPart(NamedTuple):
    """The content of a `message` or `delta`. A field that it does not have is empty."""

    thinking: str
    text: str
    refusal: str
    tool_calls: list[ToolCallFragment]
    has_content: bool
    """Whether the part adds something to the response. Blank text does not."""


def read_content(part: JSONObject) -> ContentPart:
    """Return the content of a `message` or `delta`."""
    thinking, text, refusal = _thinking_text(part), _content_text(part), _refusal_text(part)
    tool_calls = _tool_call_fragments(part)
    return _content_part(thinking, text, refusal, tool_calls)


def _content_part(thinking: str, text: str, refusal: str, tool_calls: list[ToolCallFragment]) -> ContentPart:
    has_content = bool(tool_calls or thinking.strip() or text.strip() or refusal.strip())
    return ContentPart(thinking, text, refusal, tool_calls, has_content)


def merged_content(parts: list[ContentPart]) -> ContentPart:
    """Return the content of several parts, in order."""
    if len(parts) == 1:
        return parts[0]
    return _content_part(
        "".join(part.thinking for part in parts),
        "".join(part.text for part in parts),
        "".join(part.refusal for part in parts),
        [fragment for part in parts for fragment in part.tool_calls],
    )


def _thinking_text(part: JSONObject) -> str:
    """Return the reasoning text, from the first field that has some."""
    for field in _REASONING_FIELDS:
        if (value := part.get(field)) and (thinking := _reasoning_text(value)):
            return thinking
    content = part.get("content")
    if not isinstance(content, list):
        return ""
    return "".join(_joined(item.get("thinking")) for item in content if _is_thinking(item))


def _reasoning_text(value: object) -> str:
    """Return the text of a reasoning field: text, an object with text, or a list of both. Encrypted parts have none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_reasoning_text(item) for item in value if not isinstance(item, list))
    if not isinstance(value, dict):
        return ""
    return next((text for name in _REASONING_TEXTS if isinstance(text := value.get(name), str) and text), "")


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
    A JSON string that contains an object is decoded once more.
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
    """Return the JSON object in a text, or None if it is not one. A JSON string may contain it."""
    value = _decoded(text)
    if isinstance(value, str):
        value = _decoded(value)
    return value if isinstance(value, dict) else None


def unquoted_object(text: str) -> str | None:
    """Return the text inside a JSON string if it is an object, else None."""
    value = _decoded(text)
    return value if isinstance(value, str) and isinstance(_decoded(value), dict) else None


def _decoded(text: str) -> object:
    try:
        return wire.decode(text)
    except ValueError:
        return None


def _fragment(tool_call: JSONObject) -> ToolCallFragment:
    index, function = tool_call.get("index"), tool_call.get("function")
    if not isinstance(function, dict):
        function = {}
    return ToolCallFragment(
        index=index if type(index) is int else None,
        id=_text(tool_call.get("id")),
        name=_text(function.get("name")),
        arguments=_arguments_text(function.get("arguments")),
        extra={name: value for name in _EXTRA_FIELDS if (value := tool_call.get(name)) and isinstance(value, dict)},
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
