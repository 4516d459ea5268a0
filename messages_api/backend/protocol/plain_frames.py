"""Plain text frames: the frames of a stream that only continue its text, as nearly all do.

A worker relays them in its event loop, from the upstream's socket to the client's, without a switch to the greenlet of
the request. Whatever is not such a frame is left to the decoders, which read everything.

A read is plain if it consists of complete frames, each with one line of data, after the name of the event from an
Anthropic upstream, and if they match the types below exactly: a field that is not named here may mean anything. The
frames must continue the open block of text. Everything else is not plain: the first and the last frames, thinking,
tools, usage, errors, pings and comments, empty texts, half a character, lines that end with CR, a frame over several
reads.
"""

from typing import Annotated, Literal

import msgspec

MAX_BYTES = 2**16
"""Of a read. `wire.decode` counts the values of larger documents first."""
_OPENAI_START = b"data: "
_ANTHROPIC_START = b"event: content_block_delta\ndata: "
_END = b"\n\n"
LF, CR = b"\n\r"

_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Delta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    content: _Text
    role: Literal["assistant"] | None = None
    refusal: None = None
    reasoning_content: None = None
    reasoning: None = None
    tool_calls: None = None
    function_call: None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    delta: _Delta
    index: Literal[0]
    finish_reason: None = None
    native_finish_reason: None = None
    stop_reason: None = None
    logprobs: None = None


class _Chunk(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A chunk of an OpenAI stream."""

    choices: tuple[_Choice]
    object: Literal["chat.completion.chunk"]
    id: str = ""
    created: int = 0
    model: str = ""
    provider: str = ""
    system_fingerprint: str | None = None
    service_tier: str | None = None
    obfuscation: str = ""
    usage: None = None


class _TextDelta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text_delta"]
    text: _Text


class _BlockDelta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event of an Anthropic stream."""

    type: Literal["content_block_delta"]
    index: int
    delta: _TextDelta


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_event = msgspec.json.Decoder(_BlockDelta).decode


def openai_texts(data: bytes) -> list[str] | None:
    """Return the texts of the frames of an OpenAI stream, or None unless all are plain."""
    texts = []
    try:
        for frame in _frames(data):
            if frame[:6] != _OPENAI_START or frame.find(LF) >= 0:
                return None
            texts.append(_decode_chunk(frame[6:]).choices[0].delta.content)
    except ValueError:
        return None
    return texts or None


def anthropic_texts(data: bytes, *, index: int) -> list[str] | None:
    """Return the texts of the frames of an Anthropic stream, or None unless all are plain and of the block `index`."""
    texts = []
    try:
        for frame in _frames(data):
            if frame[:33] != _ANTHROPIC_START or frame.find(LF, 33) >= 0:
                return None
            event = _decode_event(frame[33:])
            if event.index != index:
                return None
            texts.append(event.delta.text)
    except ValueError:
        return None
    return texts or None


def _frames(data: bytes) -> list[bytes]:
    """Return the frames of a read, without their ends: none if it does not end with a frame, or may have other ends."""
    if data[-2:] != _END or data.find(CR) >= 0 or len(data) > MAX_BYTES:
        return []
    return data[:-2].split(_END)
