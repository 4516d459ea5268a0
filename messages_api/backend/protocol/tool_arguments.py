"""Arguments of one tool call of a stream, assembled from their fragments."""

import re

from messages_api.backend.protocol.response_content import parsed_object, unquoted_object
from messages_api.backend.protocol.surrogates import SurrogateJoiner

PLACEHOLDER = "{}"

_STRUCTURE = re.compile(r'[{}"\\]')
_QUOTE = re.compile(r'(?<!\\)"')
_AFTER_STRING = frozenset(" \t\r\n,:}]")


class Arguments:
    """The arguments so far, and the part of them that was not sent yet.

    Servers repeat the arguments or send all of them so far again. A fragment that starts with everything before it is
    such a restatement, unless it is a nested object with the same start: `{"a":` and `{"a":1}}`. Where both are
    possible, it is kept until more is known.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._pending: list[str] = []
        self._structure = Structure()
        self._is_object: bool | None = None
        self._is_restated = False
        self._doubtful = ""
        self._joiner = SurrogateJoiner()

    @property
    def is_empty(self) -> bool:
        return not self._length

    def text(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def add(self, fragment: str) -> None:
        fragment = self._with_whole_characters(fragment)
        if self._doubtful:
            self._settle(self._is_confirmed_by(fragment))
        if self._is_placeholder():
            if not fragment.strip():
                return
            self._clear()
        if len(fragment) >= self._length and self._repeats(fragment):
            return
        self._append(fragment)

    def take(self, *, at_end: bool = False) -> str:
        """Return the arguments that can be sent and were not returned before.

        A first fragment that is exactly `{}` is kept until the next one or the end: it may be a placeholder. A JSON
        string is kept until the end, where it is replaced by the object that it contains.
        """
        if at_end and self._doubtful:
            self._settle(self._is_restatement())
        if not at_end and (self._is_placeholder() or self._structure.is_quoted):
            return ""
        pending = "".join(self._pending) + (self._joiner.end() if at_end else "")
        self._pending.clear()
        return (unquoted_object(pending) or pending) if self._structure.is_quoted else pending

    def is_complete(self, *, at_end: bool = False) -> bool:
        """Whether the arguments are a complete JSON object, to which nothing can be appended."""
        if self._doubtful:
            if not at_end:
                return False
            self._settle(self._is_restatement())
        if self._is_object is None:
            self._is_object = self._structure.is_closed and parsed_object(self.text()) is not None
        return self._is_object

    def _with_whole_characters(self, fragment: str) -> str:
        """Return a fragment without half a character at its end. It is joined with what the last one left.

        A fragment that restates the arguments has that character itself: halves would make the two differ.
        """
        if not self._joiner.half:
            return fragment if fragment.isascii() else self._joiner.join(fragment)
        if self._length and fragment.startswith(self.text()):
            self._joiner.end()
        return self._joiner.join(fragment)

    def _append(self, piece: str) -> None:
        self._pieces.append(piece)
        self._pending.append(piece)
        self._length += len(piece)
        self._structure.read(piece)
        if piece.strip():
            self._is_object = None

    def _clear(self) -> None:
        self._pieces.clear()
        self._pending.clear()
        self._length = 0
        self._structure = Structure()

    def _is_placeholder(self) -> bool:
        return self._pending == [PLACEHOLDER] == self._pieces

    def _repeats(self, fragment: str) -> bool:
        """Whether a fragment restates the arguments, or may do so. What it adds is appended."""
        text = self.text()
        if not text.strip():
            return False
        if self._structure.is_closed and self.is_complete():
            return not fragment[len(text) :].strip() if fragment.startswith(text) else _is_equal(fragment, text)
        if not fragment.startswith(text):
            return False
        if self._is_restated or not self._structure.may_continue_with(fragment):
            self._restate(fragment)
        else:
            self._doubtful = fragment
        return True

    def _restate(self, fragment: str) -> None:
        self._is_restated = True
        if added := fragment[self._length :]:
            self._append(added)

    def _settle(self, is_restatement: bool) -> None:
        fragment, self._doubtful = self._doubtful, ""
        if is_restatement:
            self._restate(fragment)
        else:
            self._append(fragment)

    def _is_confirmed_by(self, fragment: str) -> bool:
        """Whether the next fragment restates the doubtful one in turn."""
        return len(fragment) >= len(self._doubtful) and fragment.startswith(self._doubtful)

    def _is_restatement(self) -> bool:
        """Whether the doubtful fragment, as the last one, restates the arguments: nested, they would be broken."""
        return parsed_object(self.text() + self._doubtful) is None


def _is_equal(fragment: str, text: str) -> bool:
    """Whether a fragment is the same object in another spelling."""
    return fragment.lstrip().startswith("{") and parsed_object(fragment) == parsed_object(text)


class Structure:
    """Braces and strings of a JSON value across its fragments, so that it is parsed once and not for each fragment."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._skip_first = False
        self._is_ended = False
        self._is_broken = False
        self._last = ""
        self.is_quoted = False
        """Whether the value is a string."""

    @property
    def is_closed(self) -> bool:
        return self._is_ended and not self._is_broken

    def may_continue_with(self, fragment: str) -> bool:
        """Whether an object that starts here can be a part of the value."""
        if not self._in_string:
            return self._last in (":", "[", ",")
        quote = _QUOTE.search(fragment)
        after = fragment[quote.end() : quote.end() + 1] if quote else ""
        return not after or after in _AFTER_STRING

    def read(self, text: str) -> None:
        if self._is_ended:
            self._is_broken = self._is_broken or bool(text.strip())
            return
        if content := text.rstrip():
            self._last = content[-1]
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
                self.is_quoted = self.is_quoted or not self._depth
            elif not self._in_string:
                self._depth += 1 if mark == "{" else -1
            if mark in '{}"' and not self._in_string and self._depth <= 0:
                self._is_ended = True
                self._is_broken = bool(text[position + 1 :].strip())
                return
