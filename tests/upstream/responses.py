"""Scripts of valid responses: replies, errors, token counts and model lists, in the request's dialect."""

import json
from collections.abc import Sequence
from typing import Any

from .anthropic_dialect import anthropic_error, anthropic_frame, anthropic_models, anthropic_response, anthropic_stream
from .openai_dialect import openai_error, openai_frame, openai_models, openai_response, openai_stream
from .replies import HELLO, Reply
from .request_log import RecordedRequest
from .steps import Chunk, EndChunks, Framing, Head, Pause, Script, Send, Step

Pairs = Sequence[tuple[str, str]]

JSON_HEADERS: Pairs = (("content-type", "application/json"), ("request-id", "req_scripted"))
SSE_HEADERS: Pairs = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("request-id", "req_scripted"),
)


def head_of(request: RecordedRequest, framing: Framing = "chunked", *, extra: Pairs = ()) -> Head:
    """Return the head of a valid response, plain or streamed."""
    return Head(200, [*(SSE_HEADERS if request.is_streamed else JSON_HEADERS), *extra], framing=framing)


def content_of(request: RecordedRequest, reply: Reply = HELLO) -> bytes:
    """Return the body of a valid response, plain or streamed."""
    return b"".join(frames_of(request, reply)) if request.is_streamed else body_of(request, reply)


def frames_of(request: RecordedRequest, reply: Reply = HELLO) -> list[bytes]:
    """Return the frames of a stream in the request's dialect."""
    if request.dialect == "anthropic":
        return anthropic_stream(reply, model=request.model)
    return openai_stream(reply, model=request.model, include_usage=request.wants_usage)


def frame_of(request: RecordedRequest, value: dict[str, Any]) -> bytes:
    """Return one chunk or event as a frame in the request's dialect."""
    return anthropic_frame(value) if request.dialect == "anthropic" else openai_frame(value)


def body_of(request: RecordedRequest, reply: Reply = HELLO) -> bytes:
    """Return the body of a plain response in the request's dialect."""
    response = anthropic_response if request.dialect == "anthropic" else openai_response
    return _json(response(reply, model=request.model))


def error_body(request: RecordedRequest, status: int, message: str) -> dict[str, Any]:
    """Return an error's body in the request's dialect. It is also the error of a stream."""
    return anthropic_error(status, message) if request.dialect == "anthropic" else openai_error(status, message)


def paced(frames: Sequence[bytes], every_s: float) -> list[Step]:
    """Return each frame as a separate chunk, with a pause before all but the first."""
    steps: list[Step] = []
    for frame in frames:
        if steps and every_s:
            steps.append(Pause(every_s))
        steps.append(Chunk(frame))
    return steps


def streamed(frames: Sequence[bytes], *, every_s: float = 0.0, headers: Pairs = SSE_HEADERS) -> list[Step]:
    """Return the steps of a complete chunked response."""
    return [Head(200, headers), *paced(frames, every_s), EndChunks()]


def body_response(
    body: dict[str, Any] | list[Any] | bytes,
    *,
    status: int = 200,
    headers: Pairs = JSON_HEADERS,
    framing: Framing | None = None,
) -> list[Step]:
    """Return the steps of a plain response, JSON or bytes, with its Content-Length unless `framing` is given."""
    data = body if isinstance(body, bytes) else _json(body)
    if framing == "chunked":
        return [Head(status, headers), Chunk(data), EndChunks()]
    return [Head(status, headers, framing=len(data) if framing is None else framing), Send(data)]


def replied(reply: Reply = HELLO, *, every_s: float = 0.0) -> Script:
    """Return a script that sends the reply as requested: in the request's dialect, plain or streamed."""

    def script(request: RecordedRequest) -> list[Step]:
        if request.is_streamed:
            return streamed(frames_of(request, reply), every_s=every_s)
        return body_response(body_of(request, reply))

    return script


def failure(
    status: int, message: str = "Scripted failure.", *, dialect: str | None = None, headers: Pairs = ()
) -> Script:
    """Return a script that fails with that status, in the request's dialect unless one is given."""

    def script(request: RecordedRequest) -> list[Step]:
        error = anthropic_error if (dialect or request.dialect) == "anthropic" else openai_error
        return body_response(error(status, message), status=status, headers=[*JSON_HEADERS, *headers])

    return script


def models(names: list[str]) -> Script:
    """Return a script that lists models."""

    def script(request: RecordedRequest) -> list[Step]:
        return body_response(anthropic_models(names) if request.dialect == "anthropic" else openai_models(names))

    return script


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
