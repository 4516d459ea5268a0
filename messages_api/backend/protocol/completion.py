"""Decoding of complete responses from OpenAI to Anthropic: `chat.completion` objects."""

from messages_api.backend.protocol import events
from messages_api.backend.protocol.error_mapping import NO_CHOICES, UpstreamResponseError, map_openai_error
from messages_api.backend.protocol.ids import Ids, tool_ids
from messages_api.backend.protocol.openai_counts import find_usage
from messages_api.backend.protocol.response_content import (
    ContentPart,
    merged_content,
    parse_arguments,
    read_content,
)
from messages_api.backend.protocol.response_errors import choice_error, error_without_choices, is_error
from messages_api.backend.protocol.stop_reasons import is_cut_by_length, stop_fields
from messages_api.backend.protocol.surrogates import encodable
from messages_api.backend.protocol.thinking_signature import ThinkingSigner
from messages_api.backend.protocol.tool_extras import with_extra
from messages_api.backend.protocol.types import Block, JSONObject, Message, MessagesRequest
from messages_api.backend.protocol.usage import Usage


def message_from_openai(
    response: object, *, request: MessagesRequest, ids: Ids, signer: ThinkingSigner | None = None
) -> Message:
    """Return the Message for a `chat.completion`, with the model name of the request. `signer` signs its thinking.

    Raise UpstreamResponseError for an error inside a 200, for a response without choices and for a failed generation.
    """
    if not isinstance(response, dict):
        raise UpstreamResponseError(NO_CHOICES)
    if is_error(response):
        raise UpstreamResponseError(map_openai_error(200, response))
    choice, part = choices_of(response)
    ids.avoid(tool_ids(request))
    content = _content(part, ids, signer)
    stop = stop_fields(
        choice,
        has_tools=any(block["type"] == "tool_use" for block in content),
        is_refusal=bool(part.refusal.strip()),
        stop_sequences=request.get("stop_sequences") or (),
    )
    usage = Usage.from_openai(find_usage(response))
    return events.message(ids.message(), model=request["model"], content=content, stop=stop, usage=usage)


def choices_of(response: JSONObject) -> tuple[JSONObject, ContentPart]:
    """Return the choice that ended the response, and the content of all choices.

    Only one choice is requested. Where a server sends several, it has split one response, such as into text and tool
    calls. Raise UpstreamResponseError if there is no message, or if a generation failed.
    """
    choices = response.get("choices")
    parts: list[ContentPart] = []
    last: JSONObject = {}
    for choice in choices if isinstance(choices, list) else []:
        if not isinstance(choice, dict):
            continue
        error = choice_error(choice)
        if error is not None:
            raise UpstreamResponseError(error)
        message = choice.get("message")
        if isinstance(message, dict):
            parts.append(read_content(message))
            last = choice if not last or is_cut_by_length(choice.get("finish_reason")) else last
    if not parts:
        raise UpstreamResponseError(error_without_choices(response))
    return last, merged_content(parts)


def _content(part: ContentPart, ids: Ids, signer: ThinkingSigner | None) -> list[Block]:
    """Return the blocks of a message. Blank text is left out: Anthropic rejects it in a history."""
    blocks: list[Block] = []
    if part.thinking:
        thinking = encodable(part.thinking)
        signature = signer.signature(thinking) if signer is not None else ""
        blocks.append({"type": "thinking", "thinking": thinking, "signature": signature})
    blocks += [{"type": "text", "text": encodable(text)} for text in (part.text, part.refusal) if text.strip()]
    blocks += [
        {
            "type": "tool_use",
            "id": with_extra(ids.tool(fragment.id), fragment.extra),
            "name": fragment.name,
            "input": parse_arguments(fragment.arguments),
        }
        for fragment in part.tool_calls
        if fragment.name
    ]
    return blocks
