"""Decoding of streams from OpenAI to Anthropic: the chunks of a completion."""

from dataclasses import replace

from messages_api.backend.protocol import events, wire
from messages_api.backend.protocol.completion import choices_of
from messages_api.backend.protocol.content_writer import ContentWriter
from messages_api.backend.protocol.error_mapping import (
    NO_CHOICES,
    NOT_AN_OBJECT,
    NOT_JSON,
    STREAM_CUT,
    STREAM_CUT_IN_TOOL_CALL,
    TOO_MUCH_HELD,
    MappedError,
    UpstreamResponseError,
    map_openai_error,
)
from messages_api.backend.protocol.ids import Ids, tool_ids
from messages_api.backend.protocol.openai_counts import find_usage
from messages_api.backend.protocol.response_content import ContentPart, read_content
from messages_api.backend.protocol.response_errors import choice_error, is_error
from messages_api.backend.protocol.served import Served
from messages_api.backend.protocol.sse import Record
from messages_api.backend.protocol.stop_reasons import is_cut_by_length, known_finish, stop_fields
from messages_api.backend.protocol.thinking_signature import ThinkingSigner
from messages_api.backend.protocol.token_estimate import estimated_output
from messages_api.backend.protocol.types import Event, JSONObject, MessagesRequest
from messages_api.backend.protocol.usage import Usage


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
        self.served = Served()
        self.is_whole = False
        """The response is complete, including its end mark."""
        self._request = request
        self._ids = ids
        self._input_estimate = input_estimate
        self._is_started = False
        self._final: JSONObject = {}
        """The last choice with a finish reason."""
        self.is_complete = False
        """The finish reason is known, and no content has followed it. Some servers send one with each chunk."""
        self._message = ContentPart("", "", "", [], has_content=False)
        self._has_delta = False
        self._content = ContentWriter(request, ids=ids, buffer_tool_calls=buffer_tool_calls, signer=signer)

    @property
    def characters(self) -> int:
        """Characters emitted: text, thinking and arguments."""
        return self._content.characters

    @property
    def has_generated(self) -> bool:
        """Whether content or usage was seen."""
        return self._content.has_content or self.usage != Usage()

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
        if not is_error(body):
            try:
                choices_of(body)
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
        if is_error(chunk):
            return self._fail(map_openai_error(200, chunk))
        usage = find_usage(chunk)
        if usage:
            self._read_usage(usage)
        if usage or not self._is_started:
            self.served.read_chunk(chunk)
        choices = chunk.get("choices") or []
        if not isinstance(choices, list):
            return self._fail(NO_CHOICES)

        out = self.start()
        was_complete = self.is_complete
        for choice in choices:
            if self.error is None:
                out += self._choice(choice)
        if self.is_complete and not was_complete:
            self.served.read_chunk(chunk)
        return out

    def _read_usage(self, usage: object) -> None:
        known = self.usage
        self.usage = known.replaced(Usage.from_openai(usage))
        if not isinstance(usage, dict):
            return
        if self.usage is not known:
            self.served.read_latest_usage(usage)
        elif "cost" in usage:  # its counts are a placeholder
            self.served.read_usage(usage)

    def done(self) -> list[Event]:
        """Return the events for `[DONE]`."""
        if self.is_ended:
            return []
        if not self.is_complete and self._content.has_unfinished_tool_call():
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
        if part.has_content:
            self.is_complete = False
        out = self._content.write(part, choice.get("index"))
        if self._content.holds_too_much:
            return out + self._fail(TOO_MUCH_HELD)
        if not (choice.get("finish_reason") or choice.get("error")):
            return out
        error = choice_error(choice)
        if error is not None:
            return out + self._fail(error)
        if known_finish(choice.get("finish_reason")) is not None:
            self._final = choice
            self._content.is_cut_by_length = is_cut_by_length(choice.get("finish_reason"))
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

    def _finish(self) -> list[Event]:
        """Return the deferred events and the end of the response."""
        out = self.start() + self._content.end()
        stop = stop_fields(
            self._final,
            has_tools=self._content.has_tools,
            is_refusal=self._content.is_refusal,
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
