"""Faults of the connection and of HTTP: no data, slow data, resets, cuts, wrong lengths, odd heads, redirects."""

from collections.abc import Iterable

from .request_log import RecordedRequest
from .responses import JSON_HEADERS, body_of, body_response, content_of, error_body, frames_of, head_of
from .scenario import Scenario, listed, parameter
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
    """Return the first half of a valid response: all but the last text and the end."""
    if not request.is_streamed:
        body = body_of(request)
        return [body[: len(body) // 2]]
    frames = frames_of(request)
    last = next(i for i, frame in enumerate(frames) if b"world!" in frame)
    return frames[:last]


def after_the_start(*steps: Step, framing: Framing = "chunked") -> Script:
    """Return a script that sends half of a valid response and then plays the steps."""

    def script(request: RecordedRequest) -> Iterable[Step]:
        yield head_of(request, framing)
        for piece in start_of(request):
            yield Chunk(piece) if framing == "chunked" else Send(piece)
        yield from steps

    return script


def refused(request: RecordedRequest) -> Iterable[Step]:
    return [RefuseConnections(parameter(request, "s", 5))]


def head_then(*steps: Step) -> Script:
    def script(request: RecordedRequest) -> Iterable[Step]:
        return [head_of(request), *steps]

    return script


def dribble(request: RecordedRequest) -> Iterable[Step]:
    """Send an unterminated line, or white space before JSON, at one byte per second."""
    yield head_of(request, framing="close")
    yield Send(b"data: " if request.is_streamed else b"")
    while True:
        yield Dribble(b" ", per_s=parameter(request, "r", 1))


def dribble_midway(request: RecordedRequest) -> Iterable[Step]:
    """Send half of a valid response, and then r bytes per second of an unterminated line or text."""
    yield head_of(request)
    yield from map(Chunk, start_of(request))
    if request.is_streamed:
        yield Chunk(b"data: ")
    while True:
        yield Chunk(b"a")
        yield Pause(1 / parameter(request, "r", 1))


def dribble_head(request: RecordedRequest) -> Iterable[Step]:
    yield Send(b"HTTP/1.1 200 OK\r\nx-endless: ")
    while True:
        yield Dribble(b"a", per_s=parameter(request, "r", 1))


def cut_before_the_end(request: RecordedRequest) -> Iterable[Step]:
    """Send a response without its terminal event, and end the HTTP message properly."""
    if not request.is_streamed:
        return [head_of(request), *map(Chunk, start_of(request)), EndChunks()]
    return [head_of(request), *map(Chunk, frames_of(request)[:-1]), EndChunks()]


def wrong_length(offset: int) -> Script:
    """Return a script whose Content-Length differs from the body by `offset` bytes."""

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
    """Send headers of k thousand bytes in total, then a valid response."""
    filler = [(f"x-filler-{i}", "a" * 980) for i in range(parameter(request, "k", 100))]
    return body_response(body_of(request), headers=[*JSON_HEADERS, *filler])


def interim(request: RecordedRequest) -> Iterable[Step]:
    for _ in range(parameter(request, "n", 1000)):
        yield Send(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n")
    yield from HELLO_SCRIPT(request)


def redirect(status: int) -> Script:
    """Return a script that redirects to this server, so that a followed redirect is recorded as a request."""

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
    **listed("U2", ("silent", "accepts the request and never responds", script_of(WaitForPeer()))),
    **listed(
        "U3",
        ("silent-after-head", "headers, then no data", head_then(WaitForPeer())),
        ("silent-midway", "half a response, then no data", after_the_start(WaitForPeer())),
        ("half-closed", "half a response, a FIN, and no close", after_the_start(HalfClose(), WaitForPeer())),
    ),
    **listed(
        "U4",
        ("dribble", "r bytes per second of an unterminated line: dribble-r1", dribble),
        ("dribble-midway", "half a response, then r bytes per second of its next line", dribble_midway),
        ("dribble-head", "r bytes per second of an unterminated header", dribble_head),
    ),
    **listed(
        "U5",
        ("reset-before-head", "RST instead of a response", script_of(Reset())),
        ("close-before-head", "FIN instead of a response", script_of(Close())),
        # The peer loses unread bytes when the RST arrives, so it gets some time to read.
        ("reset-after-head", "headers, then RST", head_then(Pause(0.05), Reset())),
        ("reset-midway", "half a response, then RST", after_the_start(Pause(0.05), Reset())),
    ),
    **listed(
        "U6",
        ("cut", "no terminal event, although the HTTP message ends properly", cut_before_the_end),
        ("cut-chunked", "half a response, closed between chunks", after_the_start(Close())),
        ("cut-in-chunk", "half a response, closed inside a chunk", after_the_start(Send(b"40\r\ndata"), Close())),
        ("cut-unframed", "half a response, delimited by the close", after_the_start(Close(), framing="close")),
        ("cut-at-once", "headers and the end of an empty body", head_then(EndChunks())),
    ),
    **listed(
        "U10",
        ("length-too-large", "Content-Length 50 larger than the body", wrong_length(50)),
        ("length-too-small", "Content-Length 50 smaller than the body", wrong_length(-50)),
    ),
    **listed(
        "U12",
        ("endless-head", "infinitely many headers", endless_head),
        ("large-head", "k thousand bytes of headers: large-head-k100", large_head),
        ("interim", "n interim 103 responses before the final one: interim-n1000", interim),
        ("bad-status-line", "a first line that is not HTTP", script_of(Send(b"SSH-2.0-Other\r\n\r\n"), Close())),
    ),
    **listed(
        "U13",
        ("redirect-302", "302 to another path of this server", redirect(302)),
        ("redirect-307", "307 to another path of this server", redirect(307)),
    ),
    "early-413": Scenario(
        title="413 before the body is read, then the body is read (select by path)",
        script=early_rejection(ReadBody(), Close()),
        fault="U30",
        before_body=True,
    ),
    "early-413-close": Scenario(
        title="413 before the body is read, then a close, which resets (select by path)",
        script=early_rejection(Close()),
        fault="U30",
        before_body=True,
    ),
}
