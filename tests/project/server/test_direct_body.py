"""Bodies of plain requests: as gunicorn's own, whatever arrives together and however it is read."""

from collections.abc import Callable

import pytest
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.unreader import IterUnreader
from hypothesis import given
from hypothesis import strategies as st

from project.server.direct_body import DirectBody

NEXT = b"GET / HTTP/1.1\r\n\r\n"
Reads = list[tuple[str, int | None]]


class Received(IterUnreader):
    """Bytes of a connection in the pieces in which they arrive."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(iter(pieces))


def outcome(kind: Callable[[LengthReader], Body], pieces: list[bytes], length: int, reads: Reads) -> object:
    """Return what is read of a body, then its rest, and what remains for the next request."""
    unreader = Received(pieces)
    body = kind(LengthReader(unreader, length))
    found = [getattr(body, name)(size) for name, size in reads]
    rest = body.read()
    remaining = unreader.take_buffered() + b"".join(iter(unreader.chunk, b""))
    return found, rest, remaining, body.reader.length


@given(
    st.binary(max_size=60).map(lambda content: content.replace(b"a", b"\n")),
    st.lists(st.integers(1, 30), max_size=8),
    st.lists(st.tuples(st.sampled_from(["read", "read", "readline"]), st.none() | st.integers(0, 40)), max_size=5),
)
def test_a_body_is_read_as_gunicorn_reads_it(content: bytes, sizes: list[int], reads: Reads) -> None:
    whole, pieces = content + NEXT, []
    for size in sizes:
        pieces.append(whole[:size])
        whole = whole[size:]
    pieces = [piece for piece in [*pieces, whole] if piece]

    assert outcome(DirectBody, pieces, len(content), reads) == outcome(Body, pieces, len(content), reads)


def test_a_body_that_ends_early_is_read_to_its_end_and_its_rest_is_known() -> None:
    body = DirectBody(LengthReader(Received([b"ab", b"c"]), 10))

    assert (body.read(2), body.read(4), body.read(4)) == (b"ab", b"c", b"")
    assert body.reader.length == 7


def test_an_error_of_the_connection_marks_the_body() -> None:
    class Broken(IterUnreader):
        def chunk(self, size_hint: int | None = None) -> bytes:
            raise ConnectionResetError

    body = DirectBody(LengthReader(Broken(iter([])), 10))
    with pytest.raises(ConnectionResetError):
        body.read(2)

    assert body.failed
