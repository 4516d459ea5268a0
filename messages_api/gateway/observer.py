"""What the ledger wants to know of an answer, noted while its events go by. Keeps counts, never content."""

import time
from collections.abc import Iterable
from dataclasses import replace

from messages_api.backend.protocol import wire
from messages_api.backend.protocol.token_estimate import CHARACTERS_PER_TOKEN
from messages_api.backend.protocol.types import Event, Message
from messages_api.backend.protocol.usage import Usage
from messages_api.backend.reported_usage import ReportedUsage

REPORTED, PARTIAL, ESTIMATED, NONE = "reported", "partial", "estimated", "none"
_TEXT_FIELDS = ("text", "thinking", "partial_json")


class Observer:
    """Sees the events of one call, or its Message."""

    def __init__(self) -> None:
        self._started_at = time.monotonic()
        self._characters = 0
        self.first_at: float | None = None
        self.message_id = ""
        self.stop_reason = ""
        self.is_whole = False
        """`message_stop` was seen. The end of the bytes proves nothing."""

    def see(self, events: Iterable[Event]) -> None:
        for event in events:
            self._see_one(event)

    def _see_one(self, event: Event) -> None:
        kind = event["type"]
        if kind == "content_block_delta":
            delta = event["delta"]
            for field in _TEXT_FIELDS:
                if field in delta:
                    self._characters += len(delta[field])
            if self.first_at is None:
                self.first_at = time.monotonic()
        elif kind == "message_start":
            self.message_id = event["message"].get("id") or ""
        elif kind == "message_delta":
            self.stop_reason = event["delta"].get("stop_reason") or ""
        elif kind == "message_stop":
            self.is_whole = True

    def see_message(self, message: Message, *, is_counted: bool) -> None:
        """A whole answer at once: there is no first token to time. `is_counted`: its upstream said all counts."""
        self.message_id = message.get("id") or ""
        self.stop_reason = message.get("stop_reason") or ""
        self.is_whole = True
        if is_counted:
            return  # nothing is estimated
        for block in message["content"]:
            self._characters += sum(len(block[field]) for field in _TEXT_FIELDS if isinstance(block.get(field), str))
            if block["type"] == "tool_use":
                self._characters += len(wire.encode_text(block.get("input")))

    @property
    def ttft_ms(self) -> int | None:
        """Milliseconds from the start of the call to the first piece of content, in a stream."""
        return None if self.first_at is None else round((self.first_at - self._started_at) * 1000)

    @property
    def duration_ms(self) -> int:
        return round((time.monotonic() - self._started_at) * 1000)

    def usage(self, figures: ReportedUsage, *, input_estimate: int, was_asked: bool) -> tuple[Usage, str]:
        """The tokens of this call and where they come from.

        `reported` when the upstream's final figures came; `partial` when only some did and the rest is estimated;
        `estimated` when it gave none; `none` when it was never asked, or refused without an answer.
        """
        if figures.usage is not None and figures.is_final:
            return figures.usage, REPORTED
        if not was_asked:
            return Usage(), NONE
        estimate = Usage(input=input_estimate, output=-(-self._characters // CHARACTERS_PER_TOKEN))
        if figures.usage is None:
            return estimate, ESTIMATED
        completed = figures.usage.completed_by(estimate)
        if self.is_whole and figures.usage.output is not None:  # a count of the whole answer, however small
            completed = replace(completed, output=figures.usage.output)
        return completed, PARTIAL
