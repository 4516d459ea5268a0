"""Size of a JSON document in values, counted without creating them, so that its cost is known before it is decoded."""

import re
from collections.abc import Iterator

from lib.pace import Pace, no_pace

PIECE_BYTES = 2**16
STRING = re.compile(rb'"[^"]*"?')  # a piece may end inside a string


class TooManyValues(ValueError):
    """The document holds more values than the limit."""


def count_members(raw: bytes, *, max_values: int, step: Pace = no_pace) -> int:
    """Count the key-value pairs of a valid document, including duplicate keys. Raise TooManyValues.

    Values are elements, members and containers. 32 MiB take 30 to 60 ms, most of it in C.
    """
    members = values = 0
    for piece in outside_strings(raw, max_values=max_values):
        members += piece.count(b":")
        values += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
        if values > max_values:
            raise TooManyValues
        step()
    return members


def outside_strings(raw: bytes, *, max_values: int) -> Iterator[bytes]:
    """Yield a valid document without its strings: punctuation, numbers, literals, white space. Raise TooManyValues."""
    inside, quotes = False, 0
    for piece in unescaped_pieces(raw):
        count = piece.count(b'"')
        quotes += count
        if quotes > 4 * max_values:  # a value has at most two strings, its key and itself
            raise TooManyValues
        if inside:
            piece = b'"' + piece
        inside ^= count % 2 == 1
        yield STRING.sub(b"", piece)


def unescaped_pieces(raw: bytes) -> Iterator[bytes]:
    """Yield a valid document in pieces, without escaped backslashes and quotes: each remaining quote limits a string.

    Pairs of backslashes go first: then a backslash before a quote escapes it. 16 million escapes take 0.1 s, but
    seconds, and memory for each, with a regular expression that handles escapes.
    """
    start = 0
    while start < len(raw):
        end = min(start + PIECE_BYTES, len(raw))
        piece = raw[start:end]
        if piece.endswith(b"\\"):
            backslashes = len(piece) - len(piece.rstrip(b"\\"))
            if backslashes % 2 and end < len(raw):  # the last one escapes the next byte
                end += 1
                piece = raw[start:end]
        start = end
        yield piece.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in piece else piece
