"""The bytes of a relayed stream are sent in the frames that the record parser sees."""

import pytest

from messages_api.backend.event_source import FrameBuffer
from messages_api.backend.protocol.sse import SSEParser

STREAMS = [
    b"event: a\ndata: 1\n\n: comment\n\ndata: 2\n\ndata: rest",
    b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n",
    b"data: 1\r\rdata: 2\r\r",
    b"data: 1\n\r\ndata: 2\r\n\ndata: 3\n\rdata: 4\n\n\n\ndata: 5\n\n",
]


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("size", range(1, 12))
def test_frames_and_records_agree_at_every_split(stream: bytes, size: int) -> None:
    frames, parser = FrameBuffer(), SSEParser()
    given_out, parsed = b"", []

    for start in range(0, len(stream), size):
        piece = stream[start : start + size]
        records = parser.feed(piece)
        whole = frames.feed(piece)
        parsed += records
        given_out += whole
        # The bytes given out have exactly the records that were parsed.
        assert SSEParser().feed(given_out) == parsed

    assert stream.startswith(given_out)
