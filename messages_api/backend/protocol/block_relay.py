"""Content blocks of an Anthropic stream: passed on, or put in order where an upstream interleaves them."""

from messages_api.backend.protocol import events
from messages_api.backend.protocol.error_mapping import (
    INVALID_EVENT,
    OUT_OF_ORDER,
    TOO_MUCH_HELD,
    UpstreamResponseError,
)
from messages_api.backend.protocol.healing import CALLS, healed_block
from messages_api.backend.protocol.ids import Ids
from messages_api.backend.protocol.surrogates import SurrogateJoiner
from messages_api.backend.protocol.tool_arguments import Structure
from messages_api.backend.protocol.types import Block, Event, JSONObject

MAX_HELD_CHARACTERS = 16 * 1024 * 1024
"""Characters of the events that a stream may hold in memory behind an incomplete tool call."""
EVENT_OVERHEAD = 64
"""Characters that each held event counts for at least."""

_BLOCK_OF_DELTA = {"text_delta": "text", "thinking_delta": "thinking"}


class BlockRelay:
    """Pass blocks on so that one is open at a time, and each delta is of the kind of its block.

    A block that starts while another is open ends that one, and text of another kind than its block starts a block of
    its own. An incomplete tool call is not interrupted: what follows it is held until it ends. Events for blocks that
    are not open are dropped. The methods raise UpstreamResponseError for an event that cannot be read.
    """

    def __init__(self, ids: Ids | None) -> None:
        self.characters = 0
        """Characters passed on: text, thinking and arguments."""
        self.has_changed = False
        """Whether events differ from those that were received. The reader sets it to False."""
        self._ids = ids
        self._started = 0
        self._index = -1
        self._open: int | None = None
        """The upstream's index of the open block."""
        self._kind = ""
        self._has_input = False
        self._interrupted: set[int] = set()
        """The upstream's indexes of blocks whose stop was sent before the upstream sent it."""
        self._structure = Structure()
        self._unread: list[str] = []
        self._half = SurrogateJoiner()
        self._waiting: dict[int, list[JSONObject]] = {}
        """The events of each block whose start is held, by the upstream's index."""
        self._texts: list[JSONObject] = []
        """Held text of the open tool call."""
        self._held_characters = 0

    def start(self, event: JSONObject) -> list[Event]:
        """Return the events for the start of a block. One that has started before is dropped."""
        index = event.get("index")
        if type(index) is int and index < self._started:
            return []
        block = healed_block(event.get("content_block"), self._ids)
        if type(index) is not int or index != self._started:
            raise UpstreamResponseError(OUT_OF_ORDER)
        self._started += 1
        if block is not event["content_block"]:
            self.has_changed = True
            event = {**event, "content_block": block}
        return self._begin(event)

    def delta(self, event: JSONObject) -> list[Event]:
        """Return the events for a delta."""
        return self._delta(event) + self._release_early()

    def _delta(self, event: JSONObject) -> list[Event]:
        index = event.get("index")
        if type(index) is not int:
            return []
        if index in self._waiting:
            return self._hold(event, self._waiting[index])
        if self._open is None or index != self._open:
            return self._late(event) if index in self._interrupted else []
        delta = event.get("delta")
        if not isinstance(delta, dict) or not isinstance(delta.get("type"), str):
            raise UpstreamResponseError(INVALID_EVENT)
        kind = _BLOCK_OF_DELTA.get(delta["type"])
        if kind is not None and kind != self._kind and (self._kind in events.EMPTY_BLOCKS or self._kind in CALLS):
            return self._late(event)
        return self._pass(event, delta)

    def stop(self, event: JSONObject) -> list[Event]:
        """Return the events for the end of a block."""
        index = event.get("index")
        if type(index) is not int:
            return []
        if index in self._waiting:
            return self._hold(event, self._waiting[index])
        if self._open is None or index != self._open:
            return []
        return self._stop(event) + self._release()

    def end(self) -> list[Event]:
        """Return the events for the end of the message: the missing stop of an open block, and all that was held.

        Anthropic sends no stop when `max_tokens` cuts a tool call.
        """
        out: list[Event] = []
        while self._open is not None or self._waiting or self._texts:
            out += self._stop() + self._release()
        return out

    # ---- the open block

    def _begin(self, event: JSONObject) -> list[Event]:
        if self._must_wait():
            return self._hold(event, self._waiting.setdefault(event["index"], []))
        return self._interrupt() + self._start(event["index"], event["content_block"], event)

    def _start(self, index: int, block: Block, event: JSONObject | None) -> list[Event]:
        self._index += 1
        self._open, self._kind = index, block["type"]
        self._has_input = bool(block.get("input"))
        self._structure = Structure()
        self._unread = []
        if event is None or self._index != index:
            self.has_changed = True
            return [events.block_start(self._index, block)]
        return unchanged(event)

    def _pass(self, event: JSONObject, delta: JSONObject) -> list[Event]:
        """Return a delta of the open block, with its index and without half a character."""
        field = events.PAYLOADS.get(delta["type"])
        if field is not None:
            payload = delta.get(field)
            if not isinstance(payload, str):
                raise UpstreamResponseError(INVALID_EVENT)
            if field == "partial_json":
                self._unread.append(payload)
            whole = self._half.join(payload)
            self.characters += len(whole)
            if whole != payload:
                self.has_changed = True
                event = {**event, "delta": {**delta, field: whole}}
        if self._index != event["index"]:
            self.has_changed = True
            event = {**event, "index": self._index}
        return unchanged(event)

    def _stop(self, event: JSONObject | None = None) -> list[Event]:
        """Return the stop of the open block, if there is one: the upstream's `event` where it is right."""
        if self._open is None:
            return []
        index, self._open = self._open, None
        out: list[Event] = []
        if half := self._half.end():
            out.append(events.block_delta(self._index, events.DELTA_OF_BLOCK.get(self._kind, "text_delta"), half))
        if event is None or self._index != index:
            self.has_changed = True
            return [*out, events.block_stop(self._index)]
        return out + unchanged(event)

    def _interrupt(self) -> list[Event]:
        if self._open is not None:
            self._interrupted.add(self._open)
        return self._stop()

    def _late(self, event: JSONObject) -> list[Event]:
        """Return the events for text that its block cannot have any more: in a block of its own."""
        self.has_changed = True
        delta, index = event.get("delta"), event["index"]
        kind = _BLOCK_OF_DELTA.get(delta.get("type", "")) if isinstance(delta, dict) else None
        if kind is None or not isinstance(delta, dict) or not delta.get(events.PAYLOADS[delta["type"]]):
            return []  # arguments that a complete tool call repeats, or nothing
        if self._must_wait():
            self._interrupted.add(index)
            return self._hold(event, self._texts)
        if self._open is not None and self._kind == kind:
            return self._pass(event, delta)
        return self._interrupt() + self._start(index, events.EMPTY_BLOCKS[kind], None) + self._pass(event, delta)

    # ---- held events

    def _must_wait(self) -> bool:
        """Whether an incomplete tool call is open."""
        if self._open is None or self._kind not in CALLS or self._has_input:
            return False
        for piece in self._unread:
            self._structure.read(piece)
        self._unread = []
        return not self._structure.is_closed

    def _hold(self, event: JSONObject, events_held: list[JSONObject]) -> list[Event]:
        self.has_changed = True
        events_held.append(event)
        delta = event.get("delta")
        payloads = delta.values() if isinstance(delta, dict) else ()
        self._held_characters += EVENT_OVERHEAD + sum(len(each) for each in payloads if isinstance(each, str))
        if self._held_characters > MAX_HELD_CHARACTERS:
            raise UpstreamResponseError(TOO_MUCH_HELD)
        return []

    def _release_early(self) -> list[Event]:
        """Return the held events once the tool call before them is complete."""
        if not (self._waiting or self._texts) or self._must_wait():
            return []
        return self._interrupt() + self._release()

    def _release(self) -> list[Event]:
        """Return the held events up to the next incomplete tool call. Each event is released once."""
        out: list[Event] = []
        while (self._texts or self._waiting) and not self._must_wait():
            if self._texts:
                held, self._texts = self._texts, []
            else:
                held = self._waiting.pop(next(iter(self._waiting)))
            for event in held:
                out += self._replay(event)
        return out

    def _replay(self, event: JSONObject) -> list[Event]:
        if event["type"] == "content_block_start":
            return self._begin(event)
        if event["type"] == "content_block_delta":
            return self._delta(event)
        return self._stop(event) if event["index"] == self._open else []


def unchanged(event: JSONObject) -> list[Event]:
    """Return an event of the upstream, passed on."""
    passed: Event = event  # type: ignore[assignment]
    return [passed]
