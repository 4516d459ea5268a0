"""Server-sent events as servers write them: line ends, comments, other fields, and pieces of any size."""

import json
from dataclasses import dataclass
from random import Random

from tests.differential.randomness import chance, cut

COMMENTS = (": keep-alive", ":", ": OPENROUTER PROCESSING", ":ping - 2026-01-01 00:00:00")


@dataclass(frozen=True)
class Frame:
    """One event: data that is JSON, or text as it is; and a name, where the dialect has one."""

    data: object
    event: str | None = None


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a server writes its stream."""

    line_end: str
    space: str
    """Between the colon and the value."""
    is_escaped: bool
    is_spaced: bool
    """Whether its JSON has spaces, also after its end."""
    has_comments: bool
    has_fields: bool
    """Whether it sends `id` and `retry`."""
    has_bom: bool
    is_multiline: bool
    """Whether its JSON has line ends, so that an event has several `data` lines."""
    has_last_blank: bool
    """Whether a blank line follows the last event."""

    @classmethod
    def random(cls, random: Random) -> "Style":
        return cls(
            line_end=random.choices(("\n", "\r\n", "\r"), (8, 3, 1))[0],
            space=random.choices((" ", ""), (5, 1))[0],
            is_escaped=chance(random, 0.4),
            is_spaced=chance(random, 0.4),
            has_comments=chance(random, 0.3),
            has_fields=chance(random, 0.1),
            has_bom=chance(random, 0.05),
            is_multiline=chance(random, 0.05),
            has_last_blank=chance(random, 0.9),
        )


def written(random: Random, frames: list[Frame], style: Style) -> list[bytes]:
    """Return the bytes of a stream in pieces, which may end inside a character or a line end."""
    lines = [": connected", ""] if style.has_comments else []
    for number, frame in enumerate(frames):
        if style.has_comments and chance(random, 0.2):
            lines += [random.choice(COMMENTS), *([""] if chance(random, 0.7) else [])]
        if style.has_fields:
            lines.append(random.choice((f"id: {number}", "retry: 3000", f"id:{number}")))
        if frame.event is not None:
            lines.append(f"event:{style.space}{frame.event}")
        lines += [f"data:{style.space}{line}" for line in _data(frame.data, style).split("\n")]
        lines.append("")
    if not style.has_last_blank:
        lines.pop()
    whole = "".join(line + style.line_end for line in lines).encode()
    return pieces(random, b"\xef\xbb\xbf" + whole if style.has_bom else whole)


def pieces(random: Random, whole: bytes) -> list[bytes]:
    """Return bytes as a network delivers them: whole, in a few pieces, or in small ones of one size."""
    kind = random.randrange(10)
    if kind == 0:
        return [whole]
    if kind == 1:
        size = random.choice((1, 2, 3, 7, 16))
        size = max(size, len(whole) // 400)
        return [whole[start : start + size] for start in range(0, len(whole), size)]
    return [piece for piece in cut(random, whole, most=random.choice((3, 12, 40))) if piece]


def _data(data: object, style: Style) -> str:
    if isinstance(data, str):
        return data
    # A half of a character has no other spelling than an escape.
    try:
        return _encoded(data, style, is_escaped=style.is_escaped)
    except UnicodeEncodeError:
        return _encoded(data, style, is_escaped=True)


def _encoded(data: object, style: Style, *, is_escaped: bool) -> str:
    separators = (", ", ": ") if style.is_spaced else (",", ":")
    encoded = json.dumps(data, ensure_ascii=is_escaped, separators=separators, indent=1 if style.is_multiline else None)
    encoded.encode()
    return encoded + "   " if style.is_spaced else encoded
