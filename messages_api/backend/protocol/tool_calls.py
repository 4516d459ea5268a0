"""The tool calls of one OpenAI stream: which call a fragment belongs to, and when a call is complete."""

import re

from messages_api.backend.protocol.response_content import ToolCallFragment, parsed_object

PLACEHOLDER = "{}"

_STRUCTURE = re.compile(r'[{}"\\]')


class ToolCall:
    """One tool call as its fragments come in. The first id and the first name win."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.is_begun = False
        """Its block was started."""
        self._arguments: list[str] = []
        self._waiting: list[str] = []
        self._braces = _Braces()
        self._is_object: bool | None = None

    def add(self, fragment: ToolCallFragment) -> None:
        self.id = self.id or fragment.id
        self.name = self.name or fragment.name
        if fragment.arguments:
            self._add_arguments(fragment.arguments)

    def arguments(self) -> str:
        return "".join(self._arguments)

    def take(self, *, at_end: bool = False) -> str:
        """Return the arguments that may go out now and have not yet.

        A first fragment that is exactly `{}` waits for the next one or the end: it may be a placeholder.
        """
        if self._is_placeholder() and not at_end:
            return ""
        waiting = "".join(self._waiting)
        self._waiting.clear()
        return waiting

    def is_complete(self) -> bool:
        """Whether the arguments are a whole JSON object, to which nothing can be added."""
        if self._is_object is None:
            self._is_object = self._braces.are_closed() and parsed_object(self.arguments()) is not None
        return self._is_object

    def _add_arguments(self, arguments: str) -> None:
        if self._is_placeholder():
            if not arguments.strip():
                return
            self._arguments.clear()
            self._waiting.clear()
            self._braces = _Braces()
        self._arguments.append(arguments)
        self._waiting.append(arguments)
        self._braces.read(arguments)
        if arguments.strip():
            self._is_object = None

    def _is_placeholder(self) -> bool:
        return self._waiting == [PLACEHOLDER] == self._arguments


class ToolCalls:
    """All calls of one answer, in order. The first that has not ended is live, the others wait."""

    def __init__(self) -> None:
        self._calls: list[ToolCall] = []
        self._ended = 0
        self._by_index: dict[int, ToolCall] = {}
        self._by_id: dict[str, ToolCall] = {}
        self._by_position: dict[int, ToolCall] = {}

    @property
    def live(self) -> ToolCall | None:
        """The call that may go out: the first that has not ended, once its name is known."""
        if self._ended < len(self._calls) and self._calls[self._ended].name:
            return self._calls[self._ended]
        return None

    def has_waiting(self) -> bool:
        """Whether there is a call behind the live one."""
        return self._ended + 1 < len(self._calls)

    def has_unfinished(self) -> bool:
        """Whether a call with a name has not got all its arguments."""
        return any(call.name and not call.is_complete() for call in self._calls[self._ended :])

    def end_live(self) -> None:
        self._ended += 1

    def drop_nameless(self) -> None:
        """Forget the calls that have no name; at the end of an answer they never got one."""
        self._calls[self._ended :] = [call for call in self._calls[self._ended :] if call.name]

    def add(self, fragment: ToolCallFragment, *, position: int) -> None:
        """Add a fragment to its call, which may be a new one. `position` is its place in the chunk's list."""
        call = self._find(fragment, position)
        if call is None:
            call = self._open(fragment, position)
        call.add(fragment)
        self._by_id.setdefault(call.id, call)

    def _find(self, fragment: ToolCallFragment, position: int) -> ToolCall | None:
        """Find the call by index; without index by id; without both by position, else it is the last one."""
        if fragment.index is not None:
            known = self._by_index.get(fragment.index)
            has_new_id = known is not None and bool(fragment.id) and fragment.id != known.id
            return None if _is_another(known, fragment, may_be_new=has_new_id) else known
        if fragment.id:
            return self._by_id.get(fragment.id)
        known = self._by_position.get(position)
        if known is None and not fragment.name:
            return self._calls[-1] if self._calls else None
        return None if _is_another(known, fragment, may_be_new=True) else known

    def _open(self, fragment: ToolCallFragment, position: int) -> ToolCall:
        call = ToolCall()
        self._calls.append(call)
        if fragment.index is not None:
            self._by_index[fragment.index] = call
        elif not fragment.id:
            self._by_position[position] = call
        return call


def _is_another(known: ToolCall | None, fragment: ToolCallFragment, *, may_be_new: bool) -> bool:
    """Whether a fragment at a known place begins a new call: its name differs, or the call there is complete."""
    if known is None or not may_be_new or not fragment.name:
        return False
    return bool(known.name) and (fragment.name != known.name or known.is_complete())


class _Braces:
    """Follow the braces of a JSON object through its fragments, so that it is parsed once and not at each of them."""

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
