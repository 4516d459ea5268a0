"""Types of the plain dicts of the Anthropic API, with the fields that the gateway reads.

Fields that are only passed on are not listed: a dict keeps them, a class would lose them.
"""

from typing import Any, NotRequired, TypeAlias, TypedDict

JSONObject: TypeAlias = dict[str, Any]
"""A decoded JSON object of either dialect."""

Block: TypeAlias = dict[str, Any]
"""A content block: text, image, tool_use, tool_result, … Its `type` decides; unknown types are possible."""


class InputMessage(TypedDict):
    """A message in a request's `messages`."""

    role: str
    content: str | list[Block]


class MessagesRequest(TypedDict):
    """A validated Messages request."""

    model: str
    messages: list[InputMessage]
    max_tokens: int
    system: NotRequired[str | list[Block]]
    stop_sequences: NotRequired[list[str]]
    stream: NotRequired[bool]
    tools: NotRequired[list[JSONObject]]
    tool_choice: NotRequired[JSONObject]
    thinking: NotRequired[JSONObject]
    output_config: NotRequired[JSONObject]
    output_format: NotRequired[JSONObject]
    metadata: NotRequired[JSONObject]
    fallbacks: NotRequired[list[JSONObject]]


class Message(TypedDict):
    """A complete response."""

    id: str
    type: str
    role: str
    model: str
    content: list[Block]
    stop_reason: str | None
    stop_sequence: str | None
    stop_details: NotRequired[JSONObject]
    usage: JSONObject


class Event(TypedDict):
    """A stream event. Its other fields depend on `type`."""

    type: str
    index: NotRequired[int]
    message: NotRequired[Message]
    content_block: NotRequired[Block]
    delta: NotRequired[JSONObject]
    usage: NotRequired[JSONObject]
    error: NotRequired[JSONObject]
