"""Assembly of the tool calls of one OpenAI stream from their fragments."""

import re

from messages_api.backend.protocol.response_content import ToolCallFragment, parsed_object

PLACEHOLDER = "{}"

_STRUCTURE = re.compile(r'[{}"\\]')


class ToolCall:
    """A tool call, as its fragments arrive. The first ID and the first name are kept."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.is_started = False
        """Whether its block was started."""
        self._arguments: list[str] = []
        self._pending: list[str] = []
        self._braces = _Braces()
        self._is_object: bool | None = None

    def add(self, fragment: ToolCallFragment) -> None:
        self.id = self.id or fragment.id
        self.name = self.name or fragment.name
        if fragment.arguments:
            self._add_arguments(fragment.arguments)

    def arguments(self) -> str:
        return "".join(self._arguments)

    def take_arguments(self, *, at_end: bool = False) -> str:
        """Return the arguments that can be sent and were not returned before.

        A first fragment that is exactly `{}` is kept until the next one or the end: it may be a placeholder.
        """
        if self._is_placeholder() and not at_end:
            return ""
        pending = "".join(self._pending)
        self._pending.clear()
        return pending

    def is_complete(self) -> bool:
        """Whether the arguments are a complete JSON object, to which nothing can be appended."""
        if self._is_object is None:
            self._is_object = self._braces.are_closed() and parsed_object(self.arguments()) is not None
        return self._is_object

    def _add_arguments(self, arguments: str) -> None:
        if self._is_placeholder():
            if not arguments.strip():
                return
            self._arguments.clear()
            self._pending.clear()
            self._braces = _Braces()
        self._arguments.append(arguments)
        self._pending.append(arguments)
        self._braces.read(arguments)
        if arguments.strip():
            self._is_object = None

    def _is_placeholder(self) -> bool:
        return self._pending == [PLACEHOLDER] == self._arguments


class ToolCalls:
    """All tool calls of one response, in order. The first that has not ended is active, the others wait."""

    def __init__(self) -> None:
        self._tool_calls: list[ToolCall] = []
        self._ended = 0
        self._by_index: dict[int, ToolCall] = {}
        self._by_id: dict[str, ToolCall] = {}
        self._by_position: dict[int, ToolCall] = {}

    @property
    def active(self) -> ToolCall | None:
        """The tool call that can be sent: the first that has not ended, once its name is known."""
        if self._ended < len(self._tool_calls) and self._tool_calls[self._ended].name:
            return self._tool_calls[self._ended]
        return None

    def has_waiting(self) -> bool:
        """Whether a tool call follows the active one."""
        return self._ended + 1 < len(self._tool_calls)

    def has_unfinished(self) -> bool:
        """Whether the arguments of a tool call with a name are incomplete."""
        return any(tool_call.name and not tool_call.is_complete() for tool_call in self._tool_calls[self._ended :])

    def end_active(self) -> None:
        self._ended += 1

    def drop_nameless(self) -> None:
        """Remove the tool calls that have no name at the end of the response."""
        self._tool_calls[self._ended :] = [tool_call for tool_call in self._tool_calls[self._ended :] if tool_call.name]

    def add(self, fragment: ToolCallFragment, *, position: int) -> None:
        """Add a fragment to its tool call, which may be a new one. `position` is its index in the chunk's list."""
        tool_call = self._find(fragment, position)
        if tool_call is None:
            tool_call = self._open(fragment, position)
        tool_call.add(fragment)
        self._by_id.setdefault(tool_call.id, tool_call)

    def _find(self, fragment: ToolCallFragment, position: int) -> ToolCall | None:
        """Find the tool call by index; without index by ID; without both by position, otherwise the last one."""
        if fragment.index is not None:
            known = self._by_index.get(fragment.index)
            has_new_id = known is not None and bool(fragment.id) and fragment.id != known.id
            return None if _is_another(known, fragment, may_be_new=has_new_id) else known
        if fragment.id:
            return self._by_id.get(fragment.id)
        known = self._by_position.get(position)
        if known is None and not fragment.name:
            return self._tool_calls[-1] if self._tool_calls else None
        return None if _is_another(known, fragment, may_be_new=True) else known

    def _open(self, fragment: ToolCallFragment, position: int) -> ToolCall:
        tool_call = ToolCall()
        self._tool_calls.append(tool_call)
        if fragment.index is not None:
            self._by_index[fragment.index] = tool_call
        elif not fragment.id:
            self._by_position[position] = tool_call
        return tool_call


def _is_another(known: ToolCall | None, fragment: ToolCallFragment, *, may_be_new: bool) -> bool:
    """Whether a fragment at a known place starts a new tool call: its name differs, or the known one is complete."""
    if known is None or not may_be_new or not fragment.name:
        return False
    return bool(known.name) and (fragment.name != known.name or known.is_complete())


class _Braces:
    """Track the braces of a JSON object across its fragments, so that it is parsed once and not for each fragment."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._skip_first = False
        self._closed = False
        self._broken = False

    def are_closed(self) -> bool:
        return self._closed and not self._broken

    def read(self, text: str) -> None:
        if self._closed:
            self._broken = self._broken or bool(text.strip())
            return
        skipped = 0 if self._skip_first else -1
        self._skip_first = False
        for match in _STRUCTURE.finditer(text):
            position, mark = match.start(), match.group()
            if position == skipped:
                continue
            if mark == "\\":
                skipped = position + 1
                self._skip_first = skipped == len(text)
            elif mark == '"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += 1 if mark == "{" else -1
                if self._depth <= 0:
                    self._closed = True
                    self._broken = bool(text[position + 1 :].strip())
                    return
