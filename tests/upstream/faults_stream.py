"""Faults of event streams. A plain request gets the closest equivalent, or a valid response."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from .openai_dialect import openai_frame
from .request_log import RecordedRequest
from .responses import body_of, body_response, error_body, failure, frame_of, frames_of, head_of, streamed
from .scenario import Scenario, listed, parameter
from .steps import Chunk, EndChunks, Pause, Script, Step
from .well_behaved import HELLO_SCRIPT

Frames = list[bytes]


def altered(change: Callable[[RecordedRequest, Frames], Frames]) -> Script:
    """Return a script that streams the frames of a valid response, changed by `change`."""

    def script(request: RecordedRequest) -> Iterable[Step]:
        return streamed(change(request, frames_of(request))) if request.is_streamed else HELLO_SCRIPT(request)

    return script


def rewritten(write: Callable[[bytes], bytes]) -> Script:
    """Return a script that streams all frames as one, rewritten by `write`."""
    return altered(lambda request, frames: [write(b"".join(frames))])


def middle(frames: Frames) -> int:
    """Return the index of the second text."""
    return next(i for i, frame in enumerate(frames) if b': ", "' in frame)


def inserted(make: Callable[[RecordedRequest], bytes]) -> Script:
    """Return a script that streams an additional frame before the second text."""

    def change(request: RecordedRequest, frames: Frames) -> Frames:
        i = middle(frames)
        return [*frames[:i], make(request), *frames[i:]]

    return altered(change)


def pings(*, after_text: bool) -> Script:
    """Return a script that sends a ping every i milliseconds, forever, alone or after the first text."""

    def script(request: RecordedRequest) -> Iterable[Step]:
        every_s = parameter(request, "i", 100) / 1000
        yield head_of(request)
        if request.is_streamed and after_text:
            frames = frames_of(request)
            yield from map(Chunk, frames[: middle(frames)])
        while True:
            yield Chunk(_ping(request) if request.is_streamed else b" ")
            yield Pause(every_s)

    return script


def long_line(request: RecordedRequest) -> Iterable[Step]:
    """Send m million bytes of one line, or of one string in JSON."""
    yield head_of(request)
    yield Chunk(b'data: {"text": "' if request.is_streamed else b'{"text": "')
    for _ in range(parameter(request, "m", 50)):
        yield Chunk(b"a" * 1_000_000)
    yield Chunk(b'"}\n\n')
    yield EndChunks()


def long_line_midway(request: RecordedRequest) -> Iterable[Step]:
    """Send the first text, then m million bytes of one line."""
    if not request.is_streamed:
        yield from HELLO_SCRIPT(request)
        return
    frames = frames_of(request)
    yield head_of(request)
    yield from map(Chunk, frames[: middle(frames)])
    yield Chunk(b'data: {"text": "')
    for _ in range(parameter(request, "m", 50)):
        yield Chunk(b"a" * 1_000_000)
    yield from (Chunk(b'"}\n\n'), EndChunks())


def invalid_utf8(request: RecordedRequest) -> Iterable[Step]:
    if request.is_streamed:
        return streamed([frame.replace(b"world", b"w\xff\xc3rld") for frame in frames_of(request)])
    return body_response(body_of(request).replace(b"world", b"w\xff\xc3rld"))


def dressed(body: bytes) -> bytes:
    """Add optional parts of a stream: BOM, comments, IDs, retry, unknown fields, data without a space."""
    noise = b": comment\nid: 7\nretry: 10\nnonsense\nother: field\n"
    return b"\xef\xbb\xbf" + body.replace(b"data: ", noise + b"data:")


def several_lines(frame: bytes) -> bytes:
    """Split the data of a frame into several lines, where JSON allows white space."""
    before, mark, data = frame.rpartition(b"data: ")
    if data.startswith(b"[DONE]"):
        return frame
    lines = json.dumps(json.loads(data), indent=1).encode().split(b"\n")
    return before + b"".join(mark + line + b"\n" for line in lines) + b"\n"


def crlf_cut(request: RecordedRequest) -> Iterable[Step]:
    """End lines with CRLF, and each chunk between CR and LF."""
    if not request.is_streamed:
        return HELLO_SCRIPT(request)
    pieces = b"".join(frames_of(request)).replace(b"\n", b"\r\n").split(b"\n")
    return streamed([pieces[0], *(b"\n" + piece for piece in pieces[1:])])


def unknown_index(request: RecordedRequest) -> bytes:
    if request.dialect == "anthropic":
        return _event(request, "content_block_delta", index=7, delta={"type": "text_delta", "text": "lost"})
    return _tool_fragment(request, index=7)


def unknown_event(request: RecordedRequest) -> bytes:
    if request.dialect == "anthropic":
        return _event(request, "message_note", note={"text": "new in 2027"})
    return openai_frame({"id": "x", "object": "chat.completion.note", "model": request.model, "choices": [], "note": 1})


def null_choices(request: RecordedRequest) -> bytes:
    if request.dialect == "anthropic":
        return _event(request, "content_block_delta", index=0, delta=None)
    return openai_frame({"id": "x", "object": "chat.completion.chunk", "model": request.model, "choices": None})


def error_frame(request: RecordedRequest) -> bytes:
    """Return the error as an event. In OpenAI's dialect its code replaces the HTTP status."""
    error = error_body(request, 529, "Overloaded.")
    if request.dialect == "openai":
        error["error"]["code"] = 529
    return frame_of(request, error)


def error_midway(request: RecordedRequest, frames: Frames) -> Frames:
    return [*frames[: middle(frames)], error_frame(request)]


def error_first(request: RecordedRequest) -> Iterable[Step]:
    """Fail as the first event of a stream, or by status."""
    return streamed([error_frame(request)]) if request.is_streamed else failure(529, "Overloaded.")(request)


def _ping(request: RecordedRequest) -> bytes:
    return _event(request, "ping") if request.dialect == "anthropic" else b": ping\n\n"


def _event(request: RecordedRequest, kind: str, **fields: Any) -> bytes:
    return frame_of(request, {"type": kind} | fields)


def _tool_fragment(request: RecordedRequest, *, index: int) -> bytes:
    delta = {"tool_calls": [{"index": index, "function": {"arguments": "lost"}}]}
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    chunk = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 0, "model": request.model}
    return openai_frame(chunk | {"choices": [choice]})


def _in_several_lines(request: RecordedRequest, frames: Frames) -> Frames:
    return [several_lines(frame) for frame in frames]


def _repeated(request: RecordedRequest, frames: Frames) -> Frames:
    return [frame for frame in frames for _ in range(2)]


SCENARIOS: dict[str, Scenario] = {
    **listed(
        "U14",
        ("pings", "pings only, forever, one every i ms: pings-i100", pings(after_text=False)),
        ("pings-midway", "a text, then pings forever: pings-midway-i100", pings(after_text=True)),
    ),
    **listed(
        "U15",
        ("long-line", "one line of m million bytes: long-line-m50", long_line),
        ("long-line-midway", "a text, then one line of m million bytes: long-line-midway-m50", long_line_midway),
    ),
    **listed("U16", ("invalid-utf8", "bytes in a text that are not UTF-8", invalid_utf8)),
    **listed(
        "U17",
        ("sse-cr", "lines end with CR", rewritten(lambda body: body.replace(b"\n", b"\r"))),
        ("sse-crlf", "lines end with CRLF", rewritten(lambda body: body.replace(b"\n", b"\r\n"))),
        ("sse-crlf-cut", "lines end with CRLF, split between CR and LF", crlf_cut),
        ("sse-dressed", "BOM, comments, id, retry, `data:` without a space", rewritten(dressed)),
        (
            "sse-lines",
            "several data lines in an event",
            altered(_in_several_lines),
        ),
        ("sse-unended", "no blank line after the last event", rewritten(lambda body: body.rstrip(b"\n"))),
    ),
    **listed(
        "U18",
        ("duplicates", "each event twice", altered(_repeated)),
        ("two-starts", "the first event twice", altered(lambda request, frames: [frames[0], *frames])),
        ("unknown-index", "a delta for an index that was not opened", inserted(unknown_index)),
        ("after-the-end", "events after the terminal event", altered(lambda request, frames: [*frames, *frames[2:]])),
        ("no-start", "the first event is missing", altered(lambda request, frames: frames[1:])),
    ),
    **listed(
        "U19",
        ("bad-json", "one data line is not JSON", inserted(lambda request: b'data: {"choices": [{"delta"\n\n')),
        ("null-midway", "null where choices or a delta should be", inserted(null_choices)),
    ),
    **listed(
        "U21",
        ("error-midway", "an error event after the first text", altered(error_midway)),
        ("error-first", "an error event as the first one", error_first),
    ),
    **listed("U22", ("unknown-events", "an event of an unknown type", inserted(unknown_event))),
}
