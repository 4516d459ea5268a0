"""OpenAI → Anthropic: whole answers, and streams of chunks."""

from dataclasses import replace

from messages_api.backend.protocol import events, wire
from messages_api.backend.protocol.block_writer import BlockWriter
from messages_api.backend.protocol.error_mapping import (
    FAILED_FINISH_REASONS,
    NO_CHOICES,
    NOT_AN_OBJECT,
    NOT_JSON,
    STREAM_CUT,
    STREAM_CUT_IN_TOOL_CALL,
    MappedError,
    UpstreamResponseError,
    gateway_error,
    map_openai_error,
)
from messages_api.backend.protocol.ids import Ids, tool_ids
from messages_api.backend.protocol.response_content import (
    content_text,
    parse_arguments,
    refusal_text,
    thinking_text,
    tool_call_fragments,
)
from messages_api.backend.protocol.sse import Record
from messages_api.backend.protocol.stop_reasons import stop_fields
from messages_api.backend.protocol.token_estimate import CHARACTERS_PER_TOKEN
from messages_api.backend.protocol.tool_calls import ToolCall, ToolCalls
from messages_api.backend.protocol.types import Block, Event, JSONObject, Message, MessagesRequest
from messages_api.backend.protocol.usage import UNKNOWN, Usage


def message_from_openai(answer: object, *, request: MessagesRequest, ids: Ids) -> Message:
    """Return the Message that a `chat.completion` stands for, under the model name of the request.

    Raise ProtocolFailure for an error inside a 200, an answer without choices, or one whose generation failed.
    """
    if not isinstance(answer, dict):
        raise UpstreamResponseError(NO_CHOICES)
    if _is_error(answer):
        raise UpstreamResponseError(map_openai_error(200, answer))
    choice = _first_choice(answer)
    ids.avoid(tool_ids(request))
    content = _content(choice["message"], ids)
    stop = stop_fields(
        choice,
        has_tools=any(block["type"] == "tool_use" for block in content),
        refused=bool(refusal_text(choice["message"]).strip()),
        asked=request.get("stop_sequences") or (),
    )
    usage = Usage.from_openai(answer.get("usage"))
    return events.message(ids.message(), model=request["model"], content=content, stop=stop, usage=usage)


def _first_choice(answer: JSONObject) -> JSONObject:
    """Return the first choice, which has a message. Raise ProtocolFailure if there is none, or if it failed."""
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise UpstreamResponseError(NO_CHOICES)
    failure = _finish_failure(choice.get("finish_reason"))
    if failure is not None:
        raise UpstreamResponseError(failure)
    if not isinstance(choice.get("message"), dict):
        raise UpstreamResponseError(NO_CHOICES)
    return choice


def _content(answer: JSONObject, ids: Ids) -> list[Block]:
    """Return the blocks of an answer: thinking, text, refusal, tool calls. Blank text would be refused in a history."""
    blocks: list[Block] = []
    thinking = thinking_text(answer)
    if thinking:
        blocks.append({"type": "thinking", "thinking": thinking, "signature": ""})
    blocks += [{"type": "text", "text": text} for text in (content_text(answer), refusal_text(answer)) if text.strip()]
    blocks += [
        {"type": "tool_use", "id": ids.tool(call.id), "name": call.name, "input": parse_arguments(call.arguments)}
        for call in tool_call_fragments(answer)
        if call.name
    ]
    return blocks


def _is_error(chunk: JSONObject) -> bool:
    # Some servers write the field into every chunk, empty.
    return chunk.get("error") not in (None, "", False) or chunk.get("object") == "error"


def _finish_failure(finish: object) -> MappedError | None:
    return FAILED_FINISH_REASONS.get(finish) if isinstance(finish, str) else None


class OpenAIDecoder:
    """Turn the chunks of an OpenAI stream into Anthropic events.

    Whatever the chunks, the events keep Anthropic's grammar: one open block at a time, indexes without gaps, and one
    end, which is `message_stop` or an `error` event. Only a finish reason or `[DONE]` makes an answer whole.

    `input_estimate` (tokens) replaces counts that the upstream does not report. With `buffer_tool_calls`, a tool call
    is emitted when it is complete, with arguments that are valid JSON; otherwise its arguments are passed on in pieces.
    """

    has_changed = True
    """Chunks are never the events that they become."""

    def __init__(
        self, request: MessagesRequest, *, ids: Ids, input_estimate: int = 0, buffer_tool_calls: bool = False
    ) -> None:
        ids.avoid(tool_ids(request))
        self.error: MappedError | None = None
        """Why the stream ended in an error. Until something was sent, it can still be an HTTP error."""
        self.usage = Usage()
        """The upstream's last counts."""
        self.is_whole = False
        """The answer ended as it should."""
        self._request = request
        self._ids = ids
        self._input_estimate = input_estimate
        self._buffer_tool_calls = buffer_tool_calls
        self._is_started = False
        self._final: JSONObject | None = None
        self._calls = ToolCalls()
        self._has_tools = False
        self._is_refusal = False
        self._blocks = BlockWriter()
        self._late: list[tuple[str, str]] = []

    @property
    def characters(self) -> int:
        """How much was emitted: text, thinking and arguments."""
        return self._blocks.characters

    @property
    def is_ended(self) -> bool:
        """No event follows any more."""
        return self.is_whole or self.error is not None

    @property
    def is_complete(self) -> bool:
        """The finish reason is known."""
        return self._final is not None

    @property
    def is_finishing(self) -> bool:
        """The answer is complete; only its usage and `[DONE]` are still to come."""
        return self.is_complete and not self.is_ended

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

    def start(self) -> list[Event]:
        """Return `message_start` if it has not been sent, for a client that waits for an upstream that thinks."""
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
        usage = chunk.get("usage")
        if usage:
            self._note(Usage.from_openai(usage))
        if self._final is not None:
            return []
        choices = chunk.get("choices", [])
        if choices is None and usage:
            choices = []
        if not isinstance(choices, list):
            return self._fail(NO_CHOICES)

        out = self.start()
        for choice in choices:
            if self._final is None and self.error is None:
                out += self._choice(choice)
        return out

    def done(self) -> list[Event]:
        """Return the events for `[DONE]`."""
        if self.is_ended:
            return []
        if self._final is None and self._calls.has_unfinished():
            return self._fail(STREAM_CUT_IN_TOOL_CALL)
        return self._finish()

    def eof(self) -> list[Event]:
        """Return the events for the end of the bytes, which proves nothing: without a finish reason it is a cut."""
        if self.is_ended:
            return []
        if self._final is None:
            return self._fail(STREAM_CUT)
        return self._finish()

    def fail(self, error_type: str, message: str) -> list[Event]:
        """Return the events for an end that the gateway puts to the stream, such as a timeout."""
        if self.is_ended:
            return []
        return self._fail(gateway_error(error_type, message))

    def _fail(self, failure: MappedError) -> list[Event]:
        self.error = failure
        return [events.error(failure.type, failure.message)]

    def _note(self, usage: Usage) -> None:
        """Replace the counts: the last ones hold, unless they say nothing."""
        if usage != UNKNOWN:
            self.usage = usage

    def _choice(self, choice: object) -> list[Event]:
        if not isinstance(choice, dict):
            return self._fail(NO_CHOICES)
        if choice.get("index"):
            return []
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            return self._fail(NOT_AN_OBJECT)

        out = self._delta(delta)
        finish = choice.get("finish_reason")
        if finish:
            failure = _finish_failure(finish)
            if failure is not None:
                return out + self._fail(failure)
            self._final = choice
        return out

    def _delta(self, delta: JSONObject) -> list[Event]:
        out: list[Event] = []
        thinking = thinking_text(delta)
        if thinking:
            out += self._say("thinking", thinking)
        text = content_text(delta)
        if text:
            out += self._say("text", text)
        refusal = refusal_text(delta)
        if refusal:
            self._is_refusal = self._is_refusal or not refusal.isspace()
            out += self._say("text", refusal)
        for position, fragment in enumerate(tool_call_fragments(delta)):
            self._calls.add(fragment, position=position)
            out += self._advance_calls()
        return out

    def _say(self, kind: str, piece: str) -> list[Event]:
        """Return the events for a piece of text or thinking, unless it has to wait for a tool call to end."""
        call = self._calls.live
        if call is None:
            return self._blocks.say(kind, piece)
        if kind == "text" and not self._late and piece.isspace():
            return []
        self._late.append((kind, piece))
        if not call.is_complete():
            return []
        return self._end_call(call) + self._say_late()

    def _say_late(self) -> list[Event]:
        late, self._late = self._late, []
        return [event for kind, piece in late for event in self._blocks.say(kind, piece)]

    def _advance_calls(self) -> list[Event]:
        """Return what may go out of the live call. It ends when it is complete and another one waits behind it."""
        out: list[Event] = []
        while (call := self._calls.live) is not None:
            if not self._buffer_tool_calls:
                out += self._begin_call(call) + self._blocks.arguments(call.take())
            if not (self._calls.has_waiting() and call.is_complete()):
                break
            out += self._end_call(call)
        return out

    def _begin_call(self, call: ToolCall) -> list[Event]:
        if call.is_begun:
            return []
        call.is_begun = True
        self._has_tools = True
        return self._blocks.call(self._ids.tool(call.id), call.name)

    def _end_call(self, call: ToolCall) -> list[Event]:
        """Return the rest of the live call and its stop."""
        arguments = call.take(at_end=True)
        # An answer that was cut by its length keeps its cut arguments: they are nobody's mistake to repair.
        if self._buffer_tool_calls and not self._is_cut_by_length():
            arguments = wire.encode_text(parse_arguments(arguments))
        self._calls.end_live()
        return self._begin_call(call) + self._blocks.arguments(arguments) + self._blocks.stop()

    def _is_cut_by_length(self) -> bool:
        return self._final is not None and self._final["finish_reason"] == "length"

    def _finish(self) -> list[Event]:
        """Return what was held back, and the end of the answer."""
        out = self.start()
        self._calls.drop_nameless()
        while (call := self._calls.live) is not None:
            out += self._end_call(call)
        out += self._say_late() + self._blocks.stop()
        stop = stop_fields(
            self._final or {},
            has_tools=self._has_tools,
            refused=self._is_refusal,
            asked=self._request.get("stop_sequences") or (),
        )
        self.is_whole = True
        return [*out, events.message_delta(stop=stop, usage=self._known_usage()), events.message_stop()]

    def _known_usage(self) -> Usage:
        """Return the upstream's counts, with estimates in the place of those that it does not give."""
        usage = self.usage
        if usage.input is None:
            usage = replace(usage, input=self._input_estimate)
        if usage.output is None:
            usage = replace(usage, output=-(-self.characters // CHARACTERS_PER_TOKEN))
        return usage
