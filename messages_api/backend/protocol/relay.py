"""Relay from Anthropic to Anthropic: pass events on, record usage and stop reason, and reject invalid streams."""

from collections.abc import Callable

from messages_api.backend.protocol import events, wire
from messages_api.backend.protocol.error_mapping import (
    INVALID_EVENT,
    NO_MESSAGE,
    NOT_AN_OBJECT,
    NOT_JSON,
    OUT_OF_ORDER,
    STREAM_CUT,
    MappedError,
    UpstreamResponseError,
    gateway_error,
    map_anthropic_error,
)
from messages_api.backend.protocol.sse import Record
from messages_api.backend.protocol.token_estimate import estimated_output
from messages_api.backend.protocol.types import Event, JSONObject, Message, MessagesRequest
from messages_api.backend.protocol.usage import Usage


def message_from_anthropic(response: object, *, request: MessagesRequest) -> Message:
    """Return a complete response unchanged, but with the model name of the request.

    Missing usage becomes counts of 0. Raise UpstreamResponseError for an error inside a 200, and for anything that is
    not a Message.
    """
    if not isinstance(response, dict):
        raise UpstreamResponseError(NO_MESSAGE)
    if response.get("type") == "error":
        raise UpstreamResponseError(map_anthropic_error(200, response))
    content = response.get("content")
    if not _has_texts(response, "id", "model"):
        raise UpstreamResponseError(NO_MESSAGE)
    if not isinstance(content, list) or not all(_is_block(block) for block in content):
        raise UpstreamResponseError(NO_MESSAGE)
    message: Message = response  # type: ignore[assignment]
    if not isinstance(response.get("usage"), dict):
        message = {**message, "usage": Usage().anthropic()}
    return {**message, "model": request["model"]}


class AnthropicDecoder:
    """Check the events of an Anthropic stream and pass them on.

    Duplicate and unattached events are dropped: a second `message_start`, a delta or a stop for a block that is not
    open, and anything after the end. A gap is an error. Events of unknown types are passed on. The response has the
    model name of the request. Usage that the upstream does not report and clients need is added: `input_estimate`
    (tokens), and an output count from the characters that were passed on.
    """

    def __init__(self, request: MessagesRequest, *, input_estimate: int = 0) -> None:
        self.error: MappedError | None = None
        """The error that ended the stream. Before the first byte was sent, it can still be an HTTP error."""
        self.usage = Usage()
        """The counts that the upstream reported so far. They are cumulative."""
        self.characters = 0
        """Characters passed on: text, thinking and arguments."""
        self.is_whole = False
        """Whether `message_stop` was seen."""
        self.has_changed = False
        """Whether the last event differs from the record: the upstream has another name for the model, or no usage."""
        self.message_id: str | None = None
        self.stop_reason: str | None = None
        self._stop_sequence: object = None
        self._request = request
        self._model = request["model"]
        self._input_estimate = input_estimate
        self._is_started = False
        self._has_stop = False
        self._open: int | None = None
        self._blocks = 0

    @property
    def is_ended(self) -> bool:
        """No event follows."""
        return self.is_whole or self.error is not None

    @property
    def is_complete(self) -> bool:
        """The stop reason and the counts are known."""
        return self.stop_reason is not None

    @property
    def is_finishing(self) -> bool:
        """The response is complete; only `message_stop` may follow."""
        return self.is_complete and not self.is_ended

    def read(self, record: Record) -> list[Event]:
        """Return the events for one record of the stream: the record itself, none, or an error."""
        data = record.data.strip()
        self.has_changed = False
        if self.is_ended or not data:
            return []
        try:
            event = wire.decode(data)
        except ValueError:
            return self._fail(NOT_JSON)
        return self.feed(event)

    def feed(self, event: object) -> list[Event]:
        """Return the events for one decoded event."""
        if self.is_ended:
            return []
        if not isinstance(event, dict):
            return self._fail(NOT_AN_OBJECT)
        if not isinstance(event.get("type"), str):
            return self._fail(INVALID_EVENT)
        handle = _HANDLERS.get(event["type"])
        if handle is not None:
            return handle(self, event)
        passed: Event = event  # type: ignore[assignment]
        return [passed]

    def eof(self) -> list[Event]:
        """Return the events for the end of the bytes: an error unless `message_stop` was seen."""
        if self.is_ended:
            return []
        return self._fail(STREAM_CUT)

    def fail(self, error_type: str, message: str) -> list[Event]:
        """Return the events for a stream that the gateway ends, such as after a timeout."""
        if self.is_ended:
            return []
        return self._fail(gateway_error(error_type, message))

    def _fail(self, error: MappedError) -> list[Event]:
        self.error = error
        return [events.error(error.type, error.message)]

    def _message_start(self, event: JSONObject) -> list[Event]:
        if self._is_started:
            return []
        message = event.get("message")
        if not isinstance(message, dict) or not _has_texts(message, "id", "model"):
            return self._fail(INVALID_EVENT)
        self._is_started = True
        self.message_id = message["id"]
        self.usage = Usage.from_anthropic(message.get("usage"))
        has_usage = isinstance(message.get("usage"), dict)
        self.has_changed = message["model"] != self._model or not has_usage
        if not has_usage:
            message = {**message, "usage": {"input_tokens": self._input_estimate, "output_tokens": 0}}
        return _unchanged({**event, "message": {**message, "model": self._model}})

    def _block_start(self, event: JSONObject) -> list[Event]:
        index = event.get("index")
        if not self._is_started or (type(index) is int and index < self._blocks):
            return []
        if not _is_block(event.get("content_block")):
            return self._fail(INVALID_EVENT)
        if index != self._blocks or self._open is not None or self._has_stop:
            return self._fail(OUT_OF_ORDER)
        self._open = index
        self._blocks += 1
        return _unchanged(event)

    def _block_delta(self, event: JSONObject) -> list[Event]:
        if self._open is None or event.get("index") != self._open:
            return []
        delta = event.get("delta")
        if not isinstance(delta, dict) or not _has_texts(delta, "type"):
            return self._fail(INVALID_EVENT)
        field = events.PAYLOADS.get(delta["type"])
        if field is not None:
            payload = delta.get(field)
            if not isinstance(payload, str):
                return self._fail(INVALID_EVENT)
            self.characters += len(payload)
        return _unchanged(event)

    def _block_stop(self, event: JSONObject) -> list[Event]:
        if self._open is None or event.get("index") != self._open:
            return []
        self._open = None
        return _unchanged(event)

    def _message_delta(self, event: JSONObject) -> list[Event]:
        if not self._is_started:
            return []
        delta = event.get("delta")
        if not isinstance(delta, dict):
            return self._fail(INVALID_EVENT)
        closing = self._closing()
        self._has_stop = True
        if _has_texts(delta, "stop_reason"):
            self.stop_reason = delta["stop_reason"]
            self._stop_sequence = delta.get("stop_sequence")
        elif self.stop_reason is not None:  # clients take the last one, which may only add usage
            self.has_changed = True
            stop = {"stop_reason": self.stop_reason, "stop_sequence": self._stop_sequence}
            event = {**event, "delta": {**delta, **stop}}
        self.usage = self.usage.merged(Usage.from_anthropic(event.get("usage")))
        return closing + _unchanged(self._with_usage(event))

    def _closing(self) -> list[Event]:
        """Return the missing stop of an open block: Anthropic sends none when `max_tokens` cuts a tool call."""
        index, self._open = self._open, None
        return [] if index is None else [events.block_stop(index)]

    def _with_usage(self, event: JSONObject) -> JSONObject:
        """Return the event with an output count, which clients rely on."""
        usage = event.get("usage")
        if isinstance(usage, dict) and "output_tokens" in usage:
            return event
        self.has_changed = True
        output = self.usage.output
        if output is None:
            output = estimated_output(self.characters, self._request)
        return {**event, "usage": {**(usage if isinstance(usage, dict) else {}), "output_tokens": output}}

    def _message_stop(self, event: JSONObject) -> list[Event]:
        if not self._has_stop:
            return self._fail(STREAM_CUT)
        self.is_whole = True
        return _unchanged(event)

    def _error(self, event: JSONObject) -> list[Event]:
        return self._fail(map_anthropic_error(200, event))


_HANDLERS: dict[str, Callable[[AnthropicDecoder, JSONObject], list[Event]]] = {
    "message_start": AnthropicDecoder._message_start,
    "content_block_start": AnthropicDecoder._block_start,
    "content_block_delta": AnthropicDecoder._block_delta,
    "content_block_stop": AnthropicDecoder._block_stop,
    "message_delta": AnthropicDecoder._message_delta,
    "message_stop": AnthropicDecoder._message_stop,
    "error": AnthropicDecoder._error,
}


def _is_block(value: object) -> bool:
    """Whether a value is a content block with the fields that the encoders read. Unknown types are valid."""
    if not isinstance(value, dict) or not _has_texts(value, "type"):
        return False
    if value["type"] == "tool_use":
        return _has_texts(value, "id", "name")
    return value["type"] not in events.EMPTY_BLOCKS or isinstance(value.get(value["type"], ""), str)


def _has_texts(value: JSONObject, *fields: str) -> bool:
    return all(isinstance(value.get(field), str) for field in fields)


def _unchanged(event: JSONObject) -> list[Event]:
    passed: Event = event  # type: ignore[assignment]
    return [passed]
