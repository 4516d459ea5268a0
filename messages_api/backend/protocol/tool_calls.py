"""Assembly of the tool calls of one OpenAI stream from their fragments."""

from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise

from messages_api.backend.protocol.response_content import ToolCallFragment
from messages_api.backend.protocol.tool_arguments import Arguments
from messages_api.backend.protocol.types import JSONObject

MAX_NAME = 1024
"""Characters of a name from which on no piece is appended: each one copies the name."""


class ToolCall:
    """A tool call, as its fragments arrive. The first ID is kept, and the name that comes before the arguments."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.extra: JSONObject = {}
        """Fields of the provider that the next request must return."""
        self.is_started = False
        """Whether its block was started."""
        self.arguments = Arguments()
        self.texts_after: list[tuple[str, str]] = []
        """Kind and piece of the text and thinking that arrived after its start, and before that of the next one."""

    def add(self, fragment: ToolCallFragment) -> None:
        self.id = self.id or fragment.id
        self.extra = self.extra or fragment.extra
        if not self.name or (self.arguments.is_empty and not self.is_started):
            self._add_name(fragment.name)
        if fragment.arguments:
            self.arguments.add(fragment.arguments)

    def _add_name(self, name: str) -> None:
        """Append a piece of the name, unless it repeats what is known."""
        if len(self.name) > MAX_NAME:
            return
        self.name = name if name.startswith(self.name) else self.name + name

    def is_complete(self) -> bool:
        """Whether the arguments are a complete JSON object, to which nothing can be appended."""
        return self.arguments.is_complete()


class ToolCalls:
    """All tool calls of one response, in order. The first that has not ended is active, the others wait.

    `names` are the tools of the request: they show whether a name that arrives in pieces is complete.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(names)
        self._tool_calls: list[ToolCall] = []
        self._ended = 0
        self._by_index: dict[tuple[int, int], ToolCall] = {}
        self._by_id: dict[str, ToolCall] = {}
        self._by_position: dict[tuple[int, int], ToolCall] = {}

    @property
    def active(self) -> ToolCall | None:
        """The tool call that can be sent: the first that has not ended, once its name is known."""
        if self._ended < len(self._tool_calls) and self._tool_calls[self._ended].name:
            return self._tool_calls[self._ended]
        return None

    def last_named(self) -> ToolCall:
        """Return the last tool call with a name. There is one if a tool call is active."""
        return next(tool_call for tool_call in reversed(self._tool_calls) if tool_call.name)

    def has_waiting(self) -> bool:
        """Whether a tool call follows the active one."""
        return self._ended + 1 < len(self._tool_calls)

    def has_unfinished(self) -> bool:
        """Whether the arguments of a tool call with a name are incomplete."""
        return any(
            tool_call.name and not tool_call.arguments.is_complete(at_end=True)
            for tool_call in self._tool_calls[self._ended :]
        )

    def is_named(self, tool_call: ToolCall) -> bool:
        """Whether the name of a tool call is complete, as far as its fragments and the request's tools show."""
        if not tool_call.arguments.is_empty:
            return True
        return tool_call.name in self._names and tool_call.name not in self._prefixes

    @cached_property
    def _prefixes(self) -> frozenset[str]:
        """The names that another name starts with."""
        ordered = sorted(self._names)
        return frozenset(name for name, after in pairwise(ordered) if after.startswith(name))

    def end_active(self) -> None:
        self._ended += 1

    def drop_nameless(self) -> None:
        """Remove the tool calls that have no name at the end of the response."""
        self._tool_calls[self._ended :] = [tool_call for tool_call in self._tool_calls[self._ended :] if tool_call.name]

    def add(self, fragment: ToolCallFragment, *, position: int, choice: int = 0) -> None:
        """Add a fragment to its tool call, which may be a new one. `position` is its index in the chunk's list."""
        place = (choice, position if fragment.index is None else fragment.index)
        tool_call = self._find(fragment, place)
        if tool_call is None:
            tool_call = self._open(fragment, place)
        tool_call.add(fragment)
        self._by_id.setdefault(tool_call.id, tool_call)

    def _find(self, fragment: ToolCallFragment, place: tuple[int, int]) -> ToolCall | None:
        """Find the tool call by index; without index by ID; without both by position, otherwise the last one."""
        if fragment.index is not None:
            known = self._by_index.get(place)
            has_new_id = known is not None and bool(fragment.id) and fragment.id != known.id
            return None if self._is_another(known, fragment, may_be_new=has_new_id) else known
        if fragment.id:
            return self._by_id.get(fragment.id)
        known = self._by_position.get(place)
        if known is None and not fragment.name:
            return self._tool_calls[-1] if self._tool_calls else None
        return None if self._is_another(known, fragment, may_be_new=True) else known

    def _open(self, fragment: ToolCallFragment, place: tuple[int, int]) -> ToolCall:
        tool_call = ToolCall()
        self._tool_calls.append(tool_call)
        if fragment.index is not None:
            self._by_index[place] = tool_call
        elif not fragment.id:
            self._by_position[place] = tool_call
        return tool_call

    def _is_another(self, known: ToolCall | None, fragment: ToolCallFragment, *, may_be_new: bool) -> bool:
        """Whether a fragment at a known place starts a new tool call: another name, or the known one is complete."""
        if known is None or not may_be_new or not fragment.name or not known.name:
            return False
        if known.arguments.is_empty and fragment.name != known.name:
            joined = known.name + fragment.name
            is_piece = fragment.name.startswith(known.name) or any(name.startswith(joined) for name in self._names)
            return not is_piece
        return fragment.name != known.name or known.is_complete()
