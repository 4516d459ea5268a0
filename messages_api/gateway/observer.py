"""Observation of a response for the usage record: counts and times, never content."""

import re
import time
from collections.abc import Iterable
from dataclasses import replace

from messages_api.backend.protocol import wire
from messages_api.backend.protocol.token_estimate import estimated_output
from messages_api.backend.protocol.types import Event, Message, MessagesRequest
from messages_api.backend.protocol.usage import ReportedUsage, Usage

REPORTED, PARTIAL, ESTIMATED, NONE = "reported", "partial", "estimated", "none"
IDENTIFIER = re.compile(r"[A-Za-z0-9_.:/+=@-]{1,128}")
_TEXT_FIELDS = ("text", "thinking", "partial_json")


class Observer:
    """Observes the events of one request, or its complete message."""

    def __init__(self) -> None:
        self._started_at = time.monotonic()
        self._characters = 0
        self._first_content_at: float | None = None
        self.message_id = ""
        self.stop_reason = ""
        self.is_complete = False
        """Whether `message_stop` was seen. The end of the bytes proves nothing."""

    def observe_events(self, events: Iterable[Event]) -> None:
        for event in events:
            self._observe(event)

    def _observe(self, event: Event) -> None:
        kind = event["type"]
        if kind == "content_block_delta":
            delta = event["delta"]
            for field in _TEXT_FIELDS:
                if isinstance(text := delta.get(field), str):
                    self._characters += len(text)
            if self._first_content_at is None:
                self._first_content_at = time.monotonic()
        elif kind == "message_start":
            self.message_id = _identifier(event["message"].get("id"))
        elif kind == "message_delta":
            self.stop_reason = _identifier(event["delta"].get("stop_reason")) or self.stop_reason
        elif kind == "message_stop":
            self.is_complete = True

    def observe_message(self, message: Message, *, is_counted: bool) -> None:
        """Observe a complete message. It has no time to first token. `is_counted`: the upstream reported all counts."""
        self.message_id = _identifier(message.get("id"))
        self.stop_reason = _identifier(message.get("stop_reason"))
        self.is_complete = True
        if is_counted:
            return  # no estimate is needed
        for block in message["content"]:
            self._characters += sum(len(block[field]) for field in _TEXT_FIELDS if isinstance(block.get(field), str))
            if block["type"] == "tool_use":
                self._characters += len(wire.encode_text(block.get("input")))

    @property
    def ttft_ms(self) -> int | None:
        """Milliseconds from the start of the request to the first content of a stream."""
        return None if self._first_content_at is None else round((self._first_content_at - self._started_at) * 1000)

    @property
    def duration_ms(self) -> int:
        return round((time.monotonic() - self._started_at) * 1000)

    def usage(
        self, reported: ReportedUsage, *, request: MessagesRequest, input_estimate: int, was_sent: bool
    ) -> tuple[Usage, str]:
        """Return the tokens of this request and their usage source.

        `reported`: the upstream's final counts. `partial`: it reported some, the rest is estimated. `estimated`: it
        reported none. `none`: the request was never sent, or was rejected without a response.
        """
        if reported.usage is not None and reported.is_final:
            return reported.usage, REPORTED
        if not was_sent:
            return Usage(), NONE
        estimate = Usage(input=input_estimate, output=estimated_output(self._characters, request))
        if reported.usage is None:
            return estimate, ESTIMATED
        completed = reported.usage.completed_by(estimate)
        if self.is_complete and reported.usage.output is not None:  # it counts the complete response, however small
            completed = replace(completed, output=reported.usage.output)
        return completed, PARTIAL


def _identifier(value: object) -> str:
    """Return an upstream's identifier, empty for none. Records keep no other text of it: it may quote a prompt."""
    if not isinstance(value, str) or not value:
        return ""
    return value if IDENTIFIER.fullmatch(value) else "?"
