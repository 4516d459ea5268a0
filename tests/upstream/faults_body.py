"""Faults of responses: wrong statuses, types, formats, encodings, headers, usage and tool arguments."""

import gzip
import json
import math
import time
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from typing import Any

from .replies import Reply, ToolCall
from .request_log import RecordedRequest
from .responses import body_of, body_response, content_of, failure, frames_of, head_of, replied, streamed
from .scenario import Scenario, listed, parameter
from .steps import Chunk, EndChunks, Script, Send, Step

_LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Sign in</form></body></html>"


def page(request: RecordedRequest) -> Iterable[Step]:
    return body_response(_LOGIN_PAGE, headers=[("content-type", "text/html; charset=utf-8")])


def page_as_promised(request: RecordedRequest) -> Iterable[Step]:
    """Send the page with the content type that the client expects."""
    return [head_of(request, len(_LOGIN_PAGE)), Send(_LOGIN_PAGE)]


def truncated(request: RecordedRequest) -> Iterable[Step]:
    """Cut the JSON in its middle, although the HTTP message ends properly."""
    if request.is_streamed:
        stream = content_of(request)
        return streamed([stream[: stream.index(b"world!") + 3]])
    body = body_of(request)
    return body_response(body[: len(body) // 2])


def shaped(openai: Any, anthropic: Any) -> Script:
    """Return a script that changes fields of a valid plain response, and of each frame that has them."""

    def script(request: RecordedRequest) -> Iterable[Step]:
        changes = anthropic if request.dialect == "anthropic" else openai
        if not request.is_streamed:
            return body_response(_changed(json.loads(body_of(request)), changes))
        return streamed([_changed_frame(frame, changes) for frame in frames_of(request)])

    return script


def bare(value: Any) -> Script:
    """Return a script that sends JSON that is not a response of the API."""
    data = json.dumps(value).encode()

    def script(request: RecordedRequest) -> Iterable[Step]:
        return streamed([b"data: %s\n\n" % data]) if request.is_streamed else body_response(data)

    return script


def error_in_200(request: RecordedRequest) -> Iterable[Step]:
    body = {"error": {"message": "Provider returned error", "code": 502}}
    return streamed([b"data: %s\n\n" % json.dumps(body).encode()]) if request.is_streamed else body_response(body)


def encoded(encoding: str, *, depth: int = 1) -> Script:
    """Return a script that compresses a valid response `depth` times with gzip and labels it with `encoding`."""

    def script(request: RecordedRequest) -> Iterable[Step]:
        body = content_of(request)
        for _ in range(depth):
            body = gzip.compress(body)
        return [head_of(request, len(body), extra=[("content-encoding", encoding)]), Send(body)]

    return script


def gzip_bomb(request: RecordedRequest) -> Iterable[Step]:
    """Send m gzip members that expand to 10 MB each: 10 GB from 10 MB."""
    yield head_of(request, extra=[("content-encoding", "gzip")])
    member = gzip.compress(b" " * 10_000_000)
    for _ in range(parameter(request, "m", 1000)):
        yield Chunk(member)
    yield EndChunks()


def retry_after(value: str) -> Script:
    return failure(429, "Rate limited.", headers=[("retry-after", value)])


def retry_at_date(request: RecordedRequest) -> Iterable[Step]:
    return retry_after(formatdate(parameter(request, "t", 4_102_444_800), usegmt=True))(request)


def retry_soon(request: RecordedRequest) -> Iterable[Step]:
    return retry_after(formatdate(time.time() + parameter(request, "s", 2), usegmt=True))(request)


def leaky_400(request: RecordedRequest) -> Iterable[Step]:
    """Repeat the credential and the URL in the message, as some servers do."""
    credential = request.headers.get("authorization") or request.headers.get("x-api-key", "")
    return failure(400, f"Bad request for {credential} at http://{request.headers.get('host')}{request.path}")(request)


def with_headers(*pairs: tuple[str, str]) -> Script:
    """Return a script that sends a valid response with additional headers."""

    def script(request: RecordedRequest) -> Iterable[Step]:
        return [head_of(request, extra=pairs), Chunk(content_of(request)), EndChunks()]

    return script


def large_arguments(request: RecordedRequest) -> Iterable[Step]:
    """Send a tool call with m million characters of arguments."""
    arguments = json.dumps({"text": "a" * (1_000_000 * parameter(request, "m", 5))})
    reply = Reply((), tool_calls=(ToolCall(arguments=arguments, piece=100_000),), stop="tools")
    return replied(reply)(request)


def _changed(response: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return response | {name: value for name, value in changes.items() if name in response}


def _changed_frame(frame: bytes, changes: dict[str, Any]) -> bytes:
    before, mark, data = frame.rpartition(b"data: ")
    if data.startswith(b"[DONE]"):
        return frame
    return before + mark + json.dumps(_changed(json.loads(data), changes)).encode() + b"\n\n"


def _tools(**arguments: Any) -> Script:
    return replied(Reply((), tool_calls=(ToolCall(**arguments),), stop="tools"))


_COOKIES = (("set-cookie", "scripted=1; Path=/"), ("x-accel-redirect", "/etc/passwd"), ("refresh", "0; url=/"))
_NESTED = ", ".join(["gzip"] * 6)
_WRONG_USAGE: Sequence[tuple[str, Any]] = (
    ("negative", -5),
    ("float", 3.7),
    ("huge", 10**30),
    ("string", "many"),
    ("nan", math.nan),
    ("null", None),
)
_STATUSES = (400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)

SCENARIOS: dict[str, Scenario] = {
    **{
        f"status-{status}": Scenario(
            title=f"status {status}", script=failure(status), fault="U25" if status in (401, 402, 403) else ""
        )
        for status in _STATUSES
    },
    **listed(
        "U7",
        ("page", "200 with a login page", page),
        ("page-as-promised", "the page with the right content type", page_as_promised),
    ),
    **listed(
        "U8",
        ("truncated", "JSON that ends in its middle", truncated),
        ("empty-body", "200 without a body", lambda request: body_response(b"")),
    ),
    **listed(
        "U9",
        ("no-choices", "an empty list of choices, of content", shaped({"choices": []}, {"content": []})),
        ("null-choices", "null for choices, for content", shaped({"choices": None}, {"content": None, "delta": None})),
        ("hollow-choices", "an empty choice, an empty block", shaped({"choices": [{}]}, {"content": [{}]})),
        ("wrong-choices", "text for choices, for content", shaped({"choices": "no"}, {"content": "no", "delta": 1})),
        ("list", "a JSON list", bare([])),
        ("null", "a JSON null", bare(None)),
        ("error-in-200", "an error object with status 200", error_in_200),
    ),
    **listed(
        "U11",
        ("gzip", "a compressed response that was not requested", encoded("gzip")),
        ("gzip-nested", "compressed six times", encoded(_NESTED, depth=6)),
        ("gzip-bomb", "m members of 10 MB each: gzip-bomb-m1000", gzip_bomb),
        ("brotli", "labeled br, but not compressed", encoded("br", depth=0)),
    ),
    **{
        f"usage-{name}": Scenario(
            title=f"{name} instead of token counts", script=replied(Reply(usage=(value, value))), fault="U23"
        )
        for name, value in _WRONG_USAGE
    },
    **listed(
        "U24",
        ("retry-after-0", "429, retry-after 0", retry_after("0")),
        ("retry-after-3", "429, retry-after 3", retry_after("3")),
        ("retry-after-negative", "429, retry-after -1", retry_after("-1")),
        ("retry-after-huge", "429, retry-after 1000000000", retry_after("1000000000")),
        ("retry-after-date", "429, retry-after a date, t in Unix seconds: retry-after-date-t4102444800", retry_at_date),
        ("retry-after-soon", "429, retry-after the date in s seconds: retry-after-soon-s2", retry_soon),
        ("retry-after-garbage", "429, retry-after soon", retry_after("soon; maybe")),
    ),
    **listed("U26", ("leaky-400", "400 whose message repeats the credential and the URL", leaky_400)),
    **listed(
        "U27",
        ("cookies", "headers that control browsers and proxies", with_headers(*_COOKIES)),
        ("hop-by-hop", "hop-by-hop headers", with_headers(("upgrade", "h2c"), ("proxy-authenticate", "Basic"))),
        ("split-header", "a header with a bare CR and a folded line", with_headers(("x-a", "b\rset-cookie: c\r\n d"))),
    ),
    **listed(
        "U28",
        ("tools-1-char", "arguments one character at a time", _tools(piece=1)),
        ("tools-large", "m million characters of arguments: tools-large-m5", large_arguments),
        ("tools-bad-json", "arguments that are not JSON", _tools(arguments='{"city": "Par')),
    ),
}
