"""Faults of the connection and of HTTP: silence, dribble, resets, cuts, wrong lengths, odd heads, redirects."""

from collections.abc import Iterable

from .request_log import RecordedRequest
from .responses import JSON_HEADERS, body_of, body_response, content_of, error_body, frames_of, head_of
from .scenario import Scenario, knob, listed
from .steps import (
    Chunk,
    Close,
    Dribble,
    EndChunks,
    Framing,
    HalfClose,
    Head,
    Pause,
    ReadBody,
    RefuseConnections,
    Reset,
    Script,
    Send,
    Step,
    WaitForPeer,
    script_of,
)
from .well_behaved import HELLO_SCRIPT


def start_of(request: RecordedRequest) -> list[bytes]:
    """Return a proper answer up to its middle: all but the last text, and nothing of its end."""
    if not request.is_streamed:
        body = body_of(request)
        return [body[: len(body) // 2]]
    frames = frames_of(request)
    last = next(i for i, frame in enumerate(frames) if b"world!" in frame)
    return frames[:last]


def after_the_start(*steps: Step, framing: Framing = "chunked") -> Script:
    """Return a script that answers properly up to the middle and then does as told."""

    def script(request: RecordedRequest) -> Iterable[Step]:
        yield head_of(request, framing)
        for piece in start_of(request):
            yield Chunk(piece) if framing == "chunked" else Send(piece)
        yield from steps

    return script


def refused(request: RecordedRequest) -> Iterable[Step]:
    return [RefuseConnections(knob(request, "s", 5))]


def head_then(*steps: Step) -> Script:
    def script(request: RecordedRequest) -> Iterable[Step]:
        return [head_of(request), *steps]

    return script


def dribble(request: RecordedRequest) -> Iterable[Step]:
    """Send one byte per second of a line, or of white space before JSON, that never ends."""
    yield head_of(request, framing="close")
    yield Send(b"data: " if request.is_streamed else b"")
    while True:
        yield Dribble(b" ", per_s=knob(request, "r", 1))


def dribble_midway(request: RecordedRequest) -> Iterable[Step]:
    """Answer properly up to the middle, and then send r bytes per second of a line, or of a text, that never ends."""
    yield head_of(request)
    yield from map(Chunk, start_of(request))
    if request.is_streamed:
        yield Chunk(b"data: ")
    while True:
        yield Chunk(b"a")
        yield Pause(1 / knob(request, "r", 1))


def dribble_head(request: RecordedRequest) -> Iterable[Step]:
    yield Send(b"HTTP/1.1 200 OK\r\nx-endless: ")
    while True:
        yield Dribble(b"a", per_s=knob(request, "r", 1))


def cut_before_the_end(request: RecordedRequest) -> Iterable[Step]:
    """Send a whole answer but for its terminal event, and end the HTTP message as if all were well."""
    if not request.is_streamed:
        return [head_of(request), *map(Chunk, start_of(request)), EndChunks()]
    return [head_of(request), *map(Chunk, frames_of(request)[:-1]), EndChunks()]


def wrong_length(offset: int) -> Script:
    """Return a script whose Content-Length misses the body by so many bytes."""

    def script(request: RecordedRequest) -> Iterable[Step]:
        body = content_of(request)
        return [head_of(request, framing=len(body) + offset), Send(body), Close()]

    return script


def endless_head(request: RecordedRequest) -> Iterable[Step]:
    yield Send(b"HTTP/1.1 200 OK\r\n")
    i = 0
    while True:
        i += 1
        yield Send(b"x-filler-%d: %s\r\n" % (i, b"a" * 1000))


def large_head(request: RecordedRequest) -> Iterable[Step]:
    """Send headers of k thousand bytes in all, then a proper answer."""
    filler = [(f"x-filler-{i}", "a" * 980) for i in range(knob(request, "k", 100))]
    return body_response(body_of(request), headers=[*JSON_HEADERS, *filler])


def interim(request: RecordedRequest) -> Iterable[Step]:
    for _ in range(knob(request, "n", 1000)):
        yield Send(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n")
    yield from HELLO_SCRIPT(request)


def redirect(status: int) -> Script:
    """Return a script that points back here, so that a redirect that is followed becomes a call of its own."""

    def script(request: RecordedRequest) -> Iterable[Step]:
        return [Head(status, [("location", "/v1/models?followed=1")], framing=0)]

    return script


def early_rejection(*after: Step) -> Script:
    def script(request: RecordedRequest) -> Iterable[Step]:
        body = error_body(request, 413, "Request too large.")
        return [*body_response(body, status=413, headers=[*JSON_HEADERS, ("connection", "close")]), *after]

    return script


SCENARIOS: dict[str, Scenario] = {
    **listed("U1", ("refused", "resets, then refuses connections for s seconds: refused-s5", refused)),
    **listed("U2", ("silent", "takes the request and never answers", script_of(WaitForPeer()))),
    **listed(
        "U3",
        ("silent-after-head", "headers, then silence", head_then(WaitForPeer())),
        ("silent-midway", "half an answer, then silence", after_the_start(WaitForPeer())),
        ("half-closed", "half an answer, a FIN, and no close", after_the_start(HalfClose(), WaitForPeer())),
    ),
    **listed(
        "U4",
        ("dribble", "r bytes per second of a line that never ends: dribble-r1", dribble),
        ("dribble-midway", "half an answer, then r bytes per second of its next line", dribble_midway),
        ("dribble-head", "r bytes per second of a header that never ends", dribble_head),
    ),
    **listed(
        "U5",
        ("reset-before-head", "RST instead of an answer", script_of(Reset())),
        ("close-before-head", "FIN instead of an answer", script_of(Close())),
        # The peer may lose what it has not read when the RST arrives, so it gets a moment to read.
        ("reset-after-head", "headers, then RST", head_then(Pause(0.05), Reset())),
        ("reset-midway", "half an answer, then RST", after_the_start(Pause(0.05), Reset())),
    ),
    **listed(
        "U6",
        ("cut", "no terminal event, though the HTTP message ends properly", cut_before_the_end),
        ("cut-chunked", "half an answer, closed inside the chunking", after_the_start(Close())),
        ("cut-in-chunk", "half an answer, closed inside a chunk", after_the_start(Send(b"40\r\ndata"), Close())),
        ("cut-unframed", "half an answer whose end is the close", after_the_start(Close(), framing="close")),
        ("cut-at-once", "headers and the end of an empty body", head_then(EndChunks())),
    ),
    **listed(
        "U10",
        ("length-too-large", "Content-Length 50 larger than the body", wrong_length(50)),
        ("length-too-small", "Content-Length 50 smaller than the body", wrong_length(-50)),
    ),
    **listed(
        "U12",
        ("endless-head", "headers without end", endless_head),
        ("large-head", "k thousand bytes of headers: large-head-k100", large_head),
        ("interim", "n interim 103 answers before the real one: interim-n1000", interim),
        ("bad-status-line", "a first line that is not HTTP", script_of(Send(b"SSH-2.0-Other\r\n\r\n"), Close())),
    ),
    **listed(
        "U13",
        ("redirect-302", "302 to another path here", redirect(302)),
        ("redirect-307", "307 to another path here", redirect(307)),
    ),
    "early-413": Scenario(
        title="413 before the body is read, then the body is read (choose it by path)",
        script=early_rejection(ReadBody(), Close()),
        fault="U30",
        before_body=True,
    ),
    "early-413-close": Scenario(
        title="413 before the body is read, then a close, which resets (choose it by path)",
        script=early_rejection(Close()),
        fault="U30",
        before_body=True,
    ),
}
