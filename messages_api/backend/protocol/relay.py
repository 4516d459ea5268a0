"""Relay from Anthropic to Anthropic: pass events on, record usage and stop reason, and reject invalid streams."""

from collections.abc import Callable

from messages_api.backend.protocol import events, wire
from messages_api.backend.protocol.block_relay import BlockRelay, unchanged
from messages_api.backend.protocol.client_fields import checked_message, checked_stop, checked_usage
from messages_api.backend.protocol.error_mapping import (
    INVALID_EVENT,
    NO_MESSAGE,
    NOT_AN_OBJECT,
    NOT_JSON,
    OUT_OF_ORDER,
    STREAM_CUT,
    MappedError,
    UpstreamResponseError,
    map_anthropic_error,
)
from messages_api.backend.protocol.healing import has_texts, healed_block, healed_message
from messages_api.backend.protocol.ids import Ids
from messages_api.backend.protocol.served import Served
from messages_api.backend.protocol.sse import Record
from messages_api.backend.protocol.token_estimate import estimated_output
from messages_api.backend.protocol.types import Event, JSONObject, Message, MessagesRequest
from messages_api.backend.protocol.usage import Usage
from messages_api.backend.protocol.whole import events_of


def message_from_anthropic(response: object, *, request: MessagesRequest, ids: Ids | None = None) -> Message:
    """Return a complete response unchanged, but with the model name of the request.

    Fields without which SDKs fail are added. Missing usage becomes counts of 0. Raise UpstreamResponseError for an
    error inside a 200, and for anything that is not a Message.
    """
    if not isinstance(response, dict):
        raise UpstreamResponseError(NO_MESSAGE)
    if response.get("type") == "error":
        raise UpstreamResponseError(map_anthropic_error(200, response))
    response = checked_message(response)
    content = response.get("content")
    if content is None and isinstance(response.get("stop_reason"), str):
        content = []
    if not isinstance(content, list):
        raise UpstreamResponseError(NO_MESSAGE)
    try:
        message = healed_message(response, model=request["model"], ids=ids)
        healed = [healed_block(block, ids) for block in content]
    except UpstreamResponseError as error:
        raise UpstreamResponseError(NO_MESSAGE) from error
    usage = message.get("usage")
    if not isinstance(usage, dict):
        usage = Usage().anthropic()
    whole: Message = {**message, "model": request["model"], "content": healed, "usage": usage}  # type: ignore[typeddict-item]
    return whole


_PING = {"type": "ping"}


class AnthropicDecoder:
    """Check the events of an Anthropic stream and pass them on.

    Duplicate and unattached events are dropped: a second `message_start`, a delta or a stop for a block that is not
    open, and anything after the end. What SDKs cannot read is repaired where its meaning is clear; a gap is an error.
    Events of unknown types are passed on. The response has the model name of the request. Usage that the upstream does
    not report and clients need is added: `input_estimate` (tokens), and an output count from the characters that were
    passed on. `ids` replaces missing IDs.
    """

    def __init__(self, request: MessagesRequest, *, input_estimate: int = 0, ids: Ids | None = None) -> None:
        self.error: MappedError | None = None
        """The error that ended the stream. Before the first byte was sent, it can still be an HTTP error."""
        self.usage = Usage()
        """The counts that the upstream reported so far. They are cumulative."""
        self.served = Served()
        self.is_whole = False
        """Whether `message_stop` was seen."""
        self.has_changed = False
        """Whether the last events differ from the record, such as in the name of the model."""
        self.message_id: str | None = None
        self.stop_reason: str | None = None
        self._stop_sequence: object = None
        self._request = request
        self._model = request["model"]
        self._input_estimate = input_estimate
        self._ids = ids
        self._is_started = False
        self._has_delta = False
        self._has_content = False
        self._blocks = BlockRelay(ids)

    @property
    def characters(self) -> int:
        """Characters passed on: text, thinking and arguments."""
        return self._blocks.characters

    @property
    def has_generated(self) -> bool:
        """Whether content or its usage was seen."""
        return self._has_content or bool(self.usage.output)

    @property
    def is_ended(self) -> bool:
        """No event follows."""
        return self.is_whole or self.error is not None

    @property
    def is_complete(self) -> bool:
        """The stop reason and the counts are known."""
        return self.stop_reason is not None

    def read(self, record: Record) -> list[Event]:
        """Return the events for one record of the stream: mostly the record itself."""
        data = record.data.strip()
        self.has_changed = False
        if self.is_ended or not data:
            return []
        if data == "[DONE]":  # the end mark of another dialect
            return self.eof()
        try:
            decoded = wire.decode(data)
        except ValueError:
            return self._fail(NOT_JSON)
        event = _named(decoded, record.event)
        out = self.feed(event)
        is_renamed = isinstance(event, dict) and record.event != event.get("type")
        if is_renamed or (event is not decoded and event != decoded):
            self.has_changed = True  # SDKs read an event by its name and its type
        return out

    def read_body(self, body: object) -> list[Event]:
        """Return the events for a complete response that the upstream sent instead of a stream."""
        if self.is_ended:
            return []
        try:
            message = message_from_anthropic(body, request=self._request, ids=self._ids)
        except UpstreamResponseError as error:
            return self._fail(error.mapped)
        assert isinstance(body, dict)
        self.served.read_model(body.get("model"))
        sent = events_of({**message, "usage": body.get("usage")})
        return [event for each in sent for event in self.feed(each)]

    def feed(self, event: object) -> list[Event]:
        """Return the events for one decoded event."""
        if self.is_ended:
            return []
        if not isinstance(event, dict):
            return self._fail(NOT_AN_OBJECT)
        if not isinstance(event.get("type"), str):
            return self._fail(INVALID_EVENT)
        handle = _HANDLERS.get(event["type"])
        if handle is None:
            return unchanged(event)
        self._blocks.has_changed = False
        self._has_content = self._has_content or event["type"] == "content_block_delta"
        try:
            out = handle(self, event)
        except UpstreamResponseError as error:
            return self._fail(error.mapped)
        self.has_changed = self.has_changed or self._blocks.has_changed
        return out

    def eof(self) -> list[Event]:
        """Return the events for the end of the bytes: an error unless the stop reason was seen."""
        if self.is_ended:
            return []
        if self.stop_reason is None:
            return self._fail(STREAM_CUT)
        self.is_whole = True
        self.has_changed = True
        return [*self._blocks.end(), events.message_stop()]

    def _fail(self, error: MappedError) -> list[Event]:
        self.error = error
        return [events.error(error.type, error.message)]

    def _message_start(self, event: JSONObject) -> list[Event]:
        if self._is_started:
            return []
        received = event.get("message")
        if not isinstance(received, dict):
            return self._fail(INVALID_EVENT)
        self.served.read_model(received.get("model"))
        message = healed_message(checked_message(received), model=self._model, ids=self._ids)
        self._is_started = True
        self.message_id = message["id"]
        self.usage = Usage.from_anthropic(message.get("usage"))
        self.served.read_usage(received.get("usage"))
        changes: JSONObject = {}
        if message["model"] != self._model:
            changes["model"] = self._model
        if not isinstance(message.get("content"), list):
            changes["content"] = []
        if not isinstance(message.get("usage"), dict):
            changes["usage"] = {"input_tokens": self._input_estimate, "output_tokens": 0}
        if message is received and not changes:
            return unchanged(event)
        self.has_changed = True
        return unchanged({**event, "message": {**message, **changes}})

    def _block_start(self, event: JSONObject) -> list[Event]:
        if not self._is_started:
            return []
        if self.stop_reason is not None:
            return self._fail(OUT_OF_ORDER)
        self.served.read_block(event.get("content_block"))
        return self._blocks.start(event)

    def _block_delta(self, event: JSONObject) -> list[Event]:
        return self._blocks.delta(event)

    def _block_stop(self, event: JSONObject) -> list[Event]:
        return self._blocks.stop(event)

    def _message_delta(self, event: JSONObject) -> list[Event]:
        if not self._is_started:
            return []
        if not isinstance(event.get("delta"), dict):
            return self._fail(INVALID_EVENT)
        delta = checked_stop(event["delta"])
        if delta is not event["delta"]:
            self.has_changed = True
            event = {**event, "delta": delta}
        self._has_delta = True
        closing: list[Event] = []
        if has_texts(delta, "stop_reason"):
            closing = self._blocks.end()
            self.stop_reason = delta["stop_reason"]
            self._stop_sequence = delta.get("stop_sequence")
        elif self.stop_reason is not None:  # clients take the last one, which may only add usage
            self.has_changed = True
            stop = {"stop_reason": self.stop_reason, "stop_sequence": self._stop_sequence}
            event = {**event, "delta": {**delta, **stop}}
        self.usage = self.usage.merged(Usage.from_anthropic(event.get("usage")))
        self.served.read_usage(event.get("usage"))
        self.served.read_stop(delta)
        return closing + unchanged(self._with_usage(event))

    def _with_usage(self, event: JSONObject) -> JSONObject:
        """Return the event with an output count, which clients rely on, and without an input of 0, which none has."""
        usage = event.get("usage")
        checked = checked_usage(usage) if isinstance(usage, dict) else {}
        has_output = checked.get("output_tokens") is not None
        has_no_input = self.usage.input == 0 and not self.usage.cached
        if checked is usage and has_output and not has_no_input:
            return event
        self.has_changed = True
        added: JSONObject = {}
        if not has_output:
            added["output_tokens"] = self.usage.output
            if self.usage.output is None:
                added["output_tokens"] = estimated_output(self.characters, self._request)
        if has_no_input:
            added["input_tokens"] = self._input_estimate
        return {**event, "usage": {**checked, **added}}

    def _message_stop(self, event: JSONObject) -> list[Event]:
        if not self._has_delta:
            return self._fail(STREAM_CUT)
        self.is_whole = True
        return self._blocks.end() + unchanged(event)

    def _ping(self, event: JSONObject) -> list[Event]:
        self.has_changed = self.has_changed or event != _PING
        return [{"type": "ping"}]

    def _error(self, event: JSONObject) -> list[Event]:
        return self._fail(map_anthropic_error(200, event))


_HANDLERS: dict[str, Callable[[AnthropicDecoder, JSONObject], list[Event]]] = {
    "message_start": AnthropicDecoder._message_start,
    "content_block_start": AnthropicDecoder._block_start,
    "content_block_delta": AnthropicDecoder._block_delta,
    "content_block_stop": AnthropicDecoder._block_stop,
    "message_delta": AnthropicDecoder._message_delta,
    "message_stop": AnthropicDecoder._message_stop,
    "ping": AnthropicDecoder._ping,
    "error": AnthropicDecoder._error,
}


def _named(event: object, name: str | None) -> object:
    """Return an event with a type: that of the record, where the data has none. Any ping is a ping."""
    if name == _PING["type"]:
        return _PING
    if isinstance(event, dict) and "type" not in event and name:
        return {"type": name, **event}
    return event
