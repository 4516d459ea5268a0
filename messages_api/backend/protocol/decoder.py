"""Decoding from OpenAI to Anthropic: `chat.completion` objects, and streams of chunks."""

from dataclasses import replace

from messages_api.backend.protocol import events, wire
from messages_api.backend.protocol.error_mapping import (
    FAILED_FINISH_REASONS,
    NO_CHOICES,
    NOT_AN_OBJECT,
    NOT_JSON,
    STREAM_CUT,
    STREAM_CUT_IN_TOOL_CALL,
    TOO_MUCH_HELD,
    MappedError,
    UpstreamResponseError,
    is_minimax_error,
    map_openai_error,
)
from messages_api.backend.protocol.events import BlockWriter
from messages_api.backend.protocol.ids import Ids, tool_ids
from messages_api.backend.protocol.openai_counts import find_usage
from messages_api.backend.protocol.response_content import (
    ContentPart,
    merged_content,
    parse_arguments,
    read_content,
)
from messages_api.backend.protocol.sse import Record
from messages_api.backend.protocol.stop_reasons import is_cut_by_length, known_finish, stop_fields
from messages_api.backend.protocol.surrogates import encodable
from messages_api.backend.protocol.thinking_signature import ThinkingSigner
from messages_api.backend.protocol.token_estimate import estimated_output
from messages_api.backend.protocol.tool_calls import ToolCall, ToolCalls
from messages_api.backend.protocol.tool_extras import with_extra
from messages_api.backend.protocol.types import Block, Event, JSONObject, Message, MessagesRequest
from messages_api.backend.protocol.usage import Usage

# Some servers send an empty `error` field in every chunk.
_NO_ERROR = (None, "", False)

# Fields of an error that has no `error`.
_ERROR_FIELDS = ("errors", "detail", "msg", "error_msg", "message")

MAX_HELD_CHARACTERS = 16 * 1024 * 1024
"""Characters of tool arguments, and of text behind an unfinished tool call, that a stream may hold in memory."""
TOOL_CALL_OVERHEAD = 64
"""Characters that each fragment of a tool call counts for at least: an empty one takes memory, too."""


def message_from_openai(
    response: object, *, request: MessagesRequest, ids: Ids, signer: ThinkingSigner | None = None
) -> Message:
    """Return the Message for a `chat.completion`, with the model name of the request. `signer` signs its thinking.

    Raise UpstreamResponseError for an error inside a 200, for a response without choices and for a failed generation.
    """
    if not isinstance(response, dict):
        raise UpstreamResponseError(NO_CHOICES)
    if _is_error(response):
        raise UpstreamResponseError(map_openai_error(200, response))
    choice, part = _choices(response)
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


def _choices(response: JSONObject) -> tuple[JSONObject, ContentPart]:
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
        error = _choice_error(choice)
        if error is not None:
            raise UpstreamResponseError(error)
        message = choice.get("message")
        if isinstance(message, dict):
            parts.append(read_content(message))
            last = choice if not last or is_cut_by_length(choice.get("finish_reason")) else last
    if not parts:
        raise UpstreamResponseError(_error_without_choices(response))
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


def _is_error(chunk: JSONObject) -> bool:
    if chunk.get("error") not in _NO_ERROR or chunk.get("object") == "error" or chunk.get("type") == "error":
        return True
    return "base_resp" in chunk and is_minimax_error(chunk)


def _error_without_choices(response: JSONObject) -> MappedError:
    """Return the error of a response without choices, in the server's words if it has some."""
    if response.get("success") is False or any(response.get(field) for field in _ERROR_FIELDS):
        return map_openai_error(200, response)
    return NO_CHOICES


def _choice_error(choice: JSONObject) -> MappedError | None:
    """Return the error of a failed generation: with the provider's own words if the choice has them."""
    failed = FAILED_FINISH_REASONS.get(known_finish(choice.get("finish_reason")) or "")
    if choice.get("error") not in _NO_ERROR:
        return map_openai_error(200, choice)
    return failed


class OpenAIDecoder:
    """Decode the chunks of an OpenAI stream into Anthropic events.

    For any chunks, the events keep Anthropic's grammar: one open block at a time, indexes without gaps, and one end,
    which is `message_stop` or an `error` event. Only a finish reason or `[DONE]` makes a response complete.

    `input_estimate` (tokens) replaces counts that the upstream does not report. With `buffer_tool_calls`, a tool call
    is emitted when it is complete, with arguments that are valid JSON; otherwise its arguments are passed on in pieces.
    `signer` signs thinking.
    """

    has_changed = True
    """Events always differ from the chunks they are decoded from."""

    def __init__(
        self,
        request: MessagesRequest,
        *,
        ids: Ids,
        input_estimate: int = 0,
        buffer_tool_calls: bool = False,
        signer: ThinkingSigner | None = None,
    ) -> None:
        ids.avoid(tool_ids(request))
        self.error: MappedError | None = None
        """The error that ended the stream. Before the first byte was sent, it can still be an HTTP error."""
        self.usage = Usage()
        """The last counts that the upstream reported."""
        self.is_whole = False
        """The response is complete, including its end mark."""
        self._request = request
        self._ids = ids
        self._input_estimate = input_estimate
        self._buffer_tool_calls = buffer_tool_calls
        self._is_started = False
        self._final: JSONObject = {}
        """The last choice with a finish reason."""
        self.is_complete = False
        """The finish reason is known, and no content has followed it. Some servers send one with each chunk."""
        self._first_choice: int | None = None
        self._message = ContentPart("", "", "", [], has_content=False)
        self._has_delta = False
        self._tool_calls = ToolCalls(_tool_names(request))
        self._has_tools = False
        self._is_refusal = False
        self._blocks = BlockWriter(signer)
        self._deferred: list[tuple[str, str]] = []
        self._held = 0

    @property
    def characters(self) -> int:
        """Characters emitted: text, thinking and arguments."""
        return self._blocks.characters

    @property
    def has_generated(self) -> bool:
        """Whether content or usage was seen."""
        return bool(self.characters or self._held) or self.usage != Usage()

    @property
    def is_ended(self) -> bool:
        """No event follows."""
        return self.is_whole or self.error is not None

    def read(self, record: Record) -> list[Event]:
        """Return the events for one record of the stream: a chunk, or `[DONE]`."""
        data = record.data.strip()
        if self.is_ended or not data:
            return []
        if data == "[DONE]":
            return self.done()
        try:
            chunk = wire.decode(data)
        except ValueError:
            return self._fail(NOT_JSON)
        if record.event == "error":
            return self._fail(map_openai_error(200, chunk))
        return self.feed(chunk)

    def read_body(self, body: object) -> list[Event]:
        """Return the events for a complete response that the upstream sent instead of a stream."""
        if self.is_ended:
            return []
        if not isinstance(body, dict):
            return self._fail(NO_CHOICES)
        if not _is_error(body):
            try:
                _choices(body)
            except UpstreamResponseError as error:
                return self._fail(error.mapped)
        return self.feed(body) + self.done()

    def start(self) -> list[Event]:
        """Return `message_start`, unless it was returned before. It is a heartbeat while the model is thinking."""
        if self._is_started or self.is_ended:
            return []
        self._is_started = True
        usage = self._known_usage()
        return [events.message_start(self._ids.message(), model=self._request["model"], usage=usage)]

    def feed(self, chunk: object) -> list[Event]:
        """Return the events for one decoded chunk."""
        if self.is_ended:
            return []
        if not isinstance(chunk, dict):
            return self._fail(NOT_AN_OBJECT)
        if _is_error(chunk):
            return self._fail(map_openai_error(200, chunk))
        usage = find_usage(chunk)
        if usage:
            self.usage = self.usage.replaced(Usage.from_openai(usage))
        choices = chunk.get("choices") or []
        if not isinstance(choices, list):
            return self._fail(NO_CHOICES)

        out = self.start()
        for choice in choices:
            if self.error is None:
                out += self._choice(choice)
        return out

    def done(self) -> list[Event]:
        """Return the events for `[DONE]`."""
        if self.is_ended:
            return []
        if not self.is_complete and self._tool_calls.has_unfinished():
            return self._fail(STREAM_CUT_IN_TOOL_CALL)
        return self._finish()

    def eof(self) -> list[Event]:
        """Return the events for the end of the bytes: an error unless the finish reason was seen."""
        if self.is_ended:
            return []
        if not self.is_complete:
            return self._fail(STREAM_CUT)
        return self._finish()

    def _fail(self, error: MappedError) -> list[Event]:
        self.error = error
        return [events.error(error.type, error.message)]

    def _choice(self, choice: object) -> list[Event]:
        if not isinstance(choice, dict):
            return self._fail(NO_CHOICES)
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            return self._fail(NOT_AN_OBJECT)

        message = choice.get("message")
        self._has_delta = self._has_delta or bool(delta)
        if self._has_delta or not isinstance(message, dict):
            part = read_content(delta)
        else:
            part = self._added_by(read_content(message))
        out = self._part(part, choice.get("index"))
        if self._held > MAX_HELD_CHARACTERS:
            return out + self._fail(TOO_MUCH_HELD)
        if not (choice.get("finish_reason") or choice.get("error")):
            return out
        error = _choice_error(choice)
        if error is not None:
            return out + self._fail(error)
        if known_finish(choice.get("finish_reason")) is not None:
            self._final = choice
            self.is_complete = True
        return out

    def _added_by(self, message: ContentPart) -> ContentPart:
        """Return what a message adds to the last one: some servers send all of the content again, without deltas."""
        last, self._message = self._message, message
        return message._replace(
            thinking=_after(last.thinking, message.thinking),
            text=_after(last.text, message.text),
            refusal=_after(last.refusal, message.refusal),
        )

    def _part(self, part: ContentPart, index: object) -> list[Event]:
        """Return the events for the content of one choice. Another choice than the first follows it."""
        choice = index if type(index) is int else 0
        if part.has_content:
            self.is_complete = False
            self._first_choice = choice if self._first_choice is None else self._first_choice
        is_first = choice == (self._first_choice or 0)
        out: list[Event] = []
        for kind, text in (("thinking", part.thinking), ("text", part.text), ("text", part.refusal)):
            if text:
                out += self._write(kind, text) if is_first else self._defer(kind, text)
        self._is_refusal = self._is_refusal or bool(part.refusal.strip())
        for position, fragment in enumerate(part.tool_calls):
            self._held += TOOL_CALL_OVERHEAD + len(fragment.arguments)
            self._tool_calls.add(fragment, position=position, choice=choice)
            out += self._advance_tool_calls()
        return out

    def _write(self, kind: str, piece: str) -> list[Event]:
        """Return the events for a piece of text or thinking, or defer it until the open tool call ends."""
        tool_call = self._tool_calls.active
        if tool_call is None:
            return self._blocks.write(kind, piece)
        if kind == "text" and not self._deferred and piece.isspace():
            return []
        self._defer(kind, piece)
        if not tool_call.is_complete():
            return []
        return self._end_tool_call(tool_call) + self._write_deferred()

    def _defer(self, kind: str, piece: str) -> list[Event]:
        self._held += len(piece)
        self._deferred.append((kind, piece))
        return []

    def _write_deferred(self) -> list[Event]:
        deferred, self._deferred = self._deferred, []
        return [event for kind, piece in deferred for event in self._blocks.write(kind, piece)]

    def _advance_tool_calls(self) -> list[Event]:
        """Return the events that the active tool call has ready. It ends when it is complete and another one waits."""
        out: list[Event] = []
        while (tool_call := self._tool_calls.active) is not None:
            is_named = self._tool_calls.is_named(tool_call) or self._tool_calls.has_waiting()
            if is_named and not self._buffer_tool_calls:
                out += self._start_tool_call(tool_call) + self._blocks.arguments(tool_call.arguments.take())
            if not (self._tool_calls.has_waiting() and tool_call.is_complete()):
                break
            out += self._end_tool_call(tool_call)
        return out

    def _start_tool_call(self, tool_call: ToolCall) -> list[Event]:
        if tool_call.is_started:
            return []
        tool_call.is_started = True
        self._has_tools = True
        tool_id = with_extra(self._ids.tool(tool_call.id), tool_call.extra)
        return self._blocks.start_tool_call(tool_id, tool_call.name)

    def _end_tool_call(self, tool_call: ToolCall) -> list[Event]:
        """Return the rest of the active tool call and its stop event."""
        arguments = tool_call.arguments.take(at_end=True)
        # After `finish_reason: length` the arguments are incomplete on purpose and are not repaired.
        if self._buffer_tool_calls and not is_cut_by_length(self._final.get("finish_reason")):
            arguments = wire.encode_text(parse_arguments(arguments))
        self._tool_calls.end_active()
        return self._start_tool_call(tool_call) + self._blocks.arguments(arguments) + self._blocks.stop()

    def _finish(self) -> list[Event]:
        """Return the deferred events and the end of the response."""
        out = self.start()
        self._tool_calls.drop_nameless()
        while (tool_call := self._tool_calls.active) is not None:
            out += self._end_tool_call(tool_call)
        out += self._write_deferred() + self._blocks.stop()
        stop = stop_fields(
            self._final,
            has_tools=self._has_tools,
            is_refusal=self._is_refusal,
            stop_sequences=self._request.get("stop_sequences") or (),
        )
        self.is_whole = True
        return [*out, events.message_delta(stop=stop, usage=self._known_usage()), events.message_stop()]

    def _known_usage(self) -> Usage:
        """Return the upstream's counts, with estimates for those that it does not report."""
        usage = self.usage
        if usage.input is None:
            usage = replace(usage, input=self._input_estimate)
        if usage.output is None:
            usage = replace(usage, output=estimated_output(self.characters, self._request))
        return usage


def _after(known: str, text: str) -> str:
    return text[len(known) :] if text.startswith(known) else text


def _tool_names(request: MessagesRequest) -> list[str]:
    tools = request.get("tools")
    named = [tool.get("name") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return [name for name in named if isinstance(name, str)]
