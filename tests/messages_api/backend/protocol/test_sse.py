"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import pytest

from messages_api.backend.protocol import sse
from messages_api.backend.protocol.sse import FrameTooLarge, Record, SSEParser

STREAM = (
    '\ufeffevent: start\r\ndata: {"a":"é\u2028"}\r\n\r\n: comment\r\rdata:x\rdata: y\r\rid: 7\nretry: 3\ndata\n\n'
    "event: lost\n\ndata: 🙂\n\nevent:\ndata:  two\n\ndata: last"
).encode()

RECORDS = [
    Record("start", '{"a":"é\u2028"}'),
    Record(None, "x\ny"),
    Record(None, ""),
    Record(None, "🙂"),
    Record(None, " two"),
    Record(None, "last"),
]


def parse(*pieces: bytes) -> list[Record]:
    parser = SSEParser()
    records = [record for piece in pieces for record in parser.feed(piece)]
    return records + parser.eof()


def test_fields_comments_and_line_ends_are_read_as_specified() -> None:
    assert parse(STREAM) == RECORDS


@pytest.mark.parametrize("size", range(1, len(STREAM)))
def test_reads_of_every_size_give_the_same_records(size: int) -> None:
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]

    assert parse(*pieces) == RECORDS


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_a_cut_at_every_byte_gives_the_same_records(cut: int) -> None:
    assert parse(STREAM[:cut], b"", STREAM[cut:]) == RECORDS


@pytest.mark.parametrize(
    ("stream", "records"),
    [
        pytest.param(b"data: YHOO\ndata: +2\ndata: 10\n\n", [Record(None, "YHOO\n+2\n10")], id="three lines"),
        pytest.param(
            b": test\n\ndata: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n",
            [Record(None, "first"), Record(None, "second"), Record(None, " third")],
            id="four blocks",
        ),
        pytest.param(
            b"data\n\ndata\ndata\n\ndata:", [Record(None, ""), Record(None, "\n"), Record(None, "")], id="empty"
        ),
        pytest.param(b"data:test\n\ndata: test\n\n", [Record(None, "test"), Record(None, "test")], id="one space"),
    ],
)
def test_the_examples_of_the_specification_hold(stream: bytes, records: list[Record]) -> None:
    assert parse(stream) == records


@pytest.mark.parametrize(
    ("stream", "records"),
    [
        pytest.param(b"data: a\xff\xe2\x82b\n\n", [Record(None, "a\ufffd\ufffdb")], id="data"),
        pytest.param(b"event: \xff\ndata: 1\n\n", [Record("\ufffd", "1")], id="event"),
    ],
)
def test_bytes_that_are_not_utf8_become_replacement_characters(stream: bytes, records: list[Record]) -> None:
    assert parse(stream) == records


def test_a_byte_order_mark_is_skipped_at_the_start_only() -> None:
    assert parse(b"\xef\xbb\xbfdata: 1\n\n", b"\xef\xbb\xbfdata: 2\n\ndata: 3\n\n") == [
        Record(None, "1"),
        Record(None, "3"),
    ]


def test_the_name_of_an_event_holds_for_one_event() -> None:
    assert parse(b"event: ping\ndata: 1\n\ndata: 2\n\n") == [Record("ping", "1"), Record(None, "2")]


def test_fields_are_recognized_by_their_full_name() -> None:
    assert parse(b"dataset: 1\nevents: x\n data: 2\ndata : 3\n\n") == []


def test_the_end_flushes_a_record_once() -> None:
    parser = SSEParser()
    parser.feed(b"data: 1\r")

    assert parser.eof() == [Record(None, "1")]
    assert parser.eof() == []


FULL = 100


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"data: " + b"x" * (FULL - 5)], id="a line without an end"),
        pytest.param([b"x" * (FULL // 2), b"x" * (FULL // 2), b"x"], id="in pieces"),
        pytest.param([b"data: " + b"x" * FULL + b"\n"], id="a whole line"),
        pytest.param([b"data: " + b"x" * (FULL - 2) + b"\n", b"da"], id="a line and the start of another"),
        pytest.param([b"data\n" * (FULL + 1)], id="empty lines of data"),
        pytest.param([b"data\n"] * FULL + [b"d"], id="empty lines of data, one by one"),
    ],
)
def test_a_frame_that_is_too_large_is_an_error(pieces: list[bytes]) -> None:
    parser = SSEParser(max_frame_bytes=FULL)

    with pytest.raises(FrameTooLarge, match="more than 100 bytes"):
        for piece in pieces:
            parser.feed(piece)


def test_the_size_is_counted_for_each_frame_alone() -> None:
    parser = SSEParser(max_frame_bytes=FULL)
    largest = b"data: " + b"x" * (FULL - 7)

    records = [record for piece in (largest, b"x", b"\n", b"\n") * 2 for record in parser.feed(piece)]
    records += parser.feed(b": comment\nid: 7\nevent: a\n" * FULL + b"data: " + b"x" * (FULL - 1) + b"\n\n")

    assert [len(record.data) for record in records] == [FULL - 6, FULL - 6, FULL - 1]


def test_a_frame_of_sixteen_mebibytes_is_accepted() -> None:
    parser = SSEParser()
    parser.feed(b"x" * (16 * 1024 * 1024))

    with pytest.raises(FrameTooLarge):
        parser.feed(b"x")


@pytest.mark.parametrize(
    ("data", "event", "wire"),
    [
        pytest.param({"type": "ping"}, "ping", b'event: ping\ndata: {"type":"ping"}\n\n', id="named"),
        pytest.param({"b": 1, "a": [None, True]}, None, b'data: {"b":1,"a":[null,true]}\n\n', id="unnamed"),
        pytest.param({"t": "é🙂"}, None, 'data: {"t":"é🙂"}\n\n'.encode(), id="without ASCII escapes"),
        pytest.param("é\u2028\u2029\u0085", None, 'data: "é\\u2028\\u2029\\u0085"\n\n'.encode(), id="line separators"),
        pytest.param("é\ud83d", None, b'data: "\\u00e9\\ud83d"\n\n', id="a lone surrogate"),
        pytest.param(1, "a\r\ndata: evil\n\n", b"event: adata: evil\ndata: 1\n\n", id="a name with line ends"),
        pytest.param(1, "\ud83d", b"event: ?\ndata: 1\n\n", id="a name with a lone surrogate"),
    ],
)
def test_a_frame_is_one_line_of_json(data: object, event: str | None, wire: bytes) -> None:
    assert sse.frame(data, event) == wire


def test_a_comment_and_the_end_mark_are_lines_of_their_own() -> None:
    assert sse.comment("ping") == b": ping\n"
    assert sse.comment("a\nb") == b": ab\n"
    assert sse.done() == b"data: [DONE]\n\n"
