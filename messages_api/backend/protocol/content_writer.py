"""Writer of the content of an OpenAI stream as Anthropic blocks."""

from messages_api.backend.protocol import wire
from messages_api.backend.protocol.events import BlockWriter
from messages_api.backend.protocol.ids import Ids
from messages_api.backend.protocol.response_content import ContentPart, parse_arguments
from messages_api.backend.protocol.thinking_signature import ThinkingSigner
from messages_api.backend.protocol.tool_calls import ToolCall, ToolCalls
from messages_api.backend.protocol.tool_extras import with_extra
from messages_api.backend.protocol.types import Event, MessagesRequest

MAX_HELD_CHARACTERS = 16 * 1024 * 1024
"""Characters of tool arguments, and of text behind an unfinished tool call, that a stream may hold in memory."""
TOOL_CALL_OVERHEAD = 64
"""Characters that each fragment of a tool call counts for at least: an empty one takes memory, too."""


class ContentWriter:
    """Write the content of chunks as blocks: one is open, and they have the order of the chunks.

    A tool call is not interrupted: text that arrives inside one follows it, and precedes the tool calls that start
    after the text.

    With `buffer_tool_calls`, a tool call is written when it is complete, with arguments that are valid JSON; otherwise
    its arguments are written in pieces. `signer` signs thinking.
    """

    def __init__(
        self, request: MessagesRequest, *, ids: Ids, buffer_tool_calls: bool, signer: ThinkingSigner | None
    ) -> None:
        self.has_tools = False
        """Whether a tool call was started."""
        self.is_refusal = False
        self.is_cut_by_length = False
        """Whether the response ended at a limit of tokens: its last arguments are incomplete on purpose."""
        self.holds_too_much = False
        """Whether more than MAX_HELD_CHARACTERS were held."""
        self._ids = ids
        self._buffer_tool_calls = buffer_tool_calls
        self._first_choice: int | None = None
        self._tool_calls = ToolCalls(_tool_names(request))
        self._blocks = BlockWriter(signer)
        self._other_choices: list[tuple[str, str]] = []
        self._held = 0

    @property
    def characters(self) -> int:
        """Characters written: text, thinking and arguments."""
        return self._blocks.characters

    @property
    def has_content(self) -> bool:
        """Whether any content was received."""
        return bool(self.characters or self._held)

    def has_unfinished_tool_call(self) -> bool:
        return self._tool_calls.has_unfinished()

    def write(self, part: ContentPart, index: object) -> list[Event]:
        """Return the events for the content of one choice. Another choice than the first follows it."""
        choice = index if type(index) is int else 0
        if part.has_content and self._first_choice is None:
            self._first_choice = choice
        write = self._write if choice == (self._first_choice or 0) else self._write_last
        out: list[Event] = []
        if part.thinking:
            out += write("thinking", part.thinking)
        if part.text:
            out += write("text", part.text)
        if part.refusal:
            out += write("text", part.refusal)
            self.is_refusal = self.is_refusal or bool(part.refusal.strip())
        for position, fragment in enumerate(part.tool_calls):
            self._hold(TOOL_CALL_OVERHEAD + len(fragment.arguments))
            self._tool_calls.add(fragment, position=position, choice=choice)
            out += self._advance_tool_calls()
        return out

    def end(self) -> list[Event]:
        """Return the events for everything that is held, and the stop of the open block."""
        out: list[Event] = []
        self._tool_calls.drop_nameless()
        while (tool_call := self._tool_calls.active) is not None:
            out += self._end_tool_call(tool_call)
        return out + self._write_all(self._other_choices) + self._blocks.stop()

    def _write(self, kind: str, piece: str) -> list[Event]:
        """Return the events for a piece of text or thinking, or keep it until the tool calls before it end."""
        tool_call = self._tool_calls.active
        if tool_call is None:
            return self._blocks.write(kind, piece)
        followed = self._tool_calls.last_named()
        if kind == "text" and not followed.texts_after and piece.isspace():
            return []
        self._hold(len(piece))
        followed.texts_after.append((kind, piece))
        return self._end_tool_call(tool_call) if tool_call.is_complete() else []

    def _write_last(self, kind: str, piece: str) -> list[Event]:
        """Keep a piece until the end of the response."""
        self._hold(len(piece))
        self._other_choices.append((kind, piece))
        return []

    def _hold(self, characters: int) -> None:
        self._held += characters
        self.holds_too_much = self._held > MAX_HELD_CHARACTERS

    def _write_all(self, texts: list[tuple[str, str]]) -> list[Event]:
        return [event for kind, piece in texts for event in self._blocks.write(kind, piece)]

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
        self.has_tools = True
        tool_id = with_extra(self._ids.tool(tool_call.id), tool_call.extra)
        return self._blocks.start_tool_call(tool_id, tool_call.name)

    def _end_tool_call(self, tool_call: ToolCall) -> list[Event]:
        """Return the rest of the active tool call, its stop event, and the text after it."""
        arguments = tool_call.arguments.take(at_end=True)
        if self._buffer_tool_calls and not self.is_cut_by_length:
            arguments = wire.encode_text(parse_arguments(arguments))
        self._tool_calls.end_active()
        out = self._start_tool_call(tool_call) + self._blocks.arguments(arguments) + self._blocks.stop()
        return out + self._write_all(tool_call.texts_after)


def _tool_names(request: MessagesRequest) -> list[str]:
    tools = request.get("tools")
    named = [tool.get("name") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return [name for name in named if isinstance(name, str)]
