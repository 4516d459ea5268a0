"""JSON codec: compact and unescaped encoding, strict decoding."""

import json
import math
from typing import Any, NoReturn

import msgspec

from lib.json_size import count_members

MAX_VALUES = 200_000
"""Array elements and object members of one document. 15 MB of `[],` would hold the worker for 12 s."""
LARGE = 2**16
"""From this length on, the values are counted first: a shorter document is decoded in less than 5 ms."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

# Some readers treat these as line ends (str.splitlines does); JSON may escape them anywhere in a string.
_UNICODE_LINE_ENDS = (
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"\xc2\x85", b"\\u0085"),
)


def encode(value: object) -> bytes:
    """Return compact JSON in UTF-8, with keys in their order.

    A lone surrogate has no UTF-8 encoding: a value with one is written with ASCII escapes instead.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def encode_line(value: object) -> bytes:
    """Return `encode(value)` with U+2028, U+2029 and U+0085 escaped, for a `data:` line."""
    line = encode(value)
    if line.isascii():
        return line
    for raw, escaped in _UNICODE_LINE_ENDS:
        line = line.replace(raw, escaped)
    return line


def encode_text(value: object) -> str:
    """Return `encode(value)` as text."""
    return encode(value).decode()


def decode(document: str | bytes) -> Any:
    """Return the value of a JSON document.

    Raise ValueError if it is invalid, nested too deeply, or contains `NaN` or a number out of range (`1e999`), and
    its subclass TooManyValues for more than MAX_VALUES.
    """
    if len(document) > LARGE:
        raw = document if isinstance(document, bytes) else document.encode("utf-8", "surrogatepass")
        count_members(raw, max_values=MAX_VALUES)
    try:
        return _decode_any(document)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _decode_any(document: str | bytes) -> Any:
    try:
        return _decode(document)
    except (msgspec.DecodeError, UnicodeEncodeError):
        # msgspec rejects lone surrogates, which upstreams send when they split a text inside an emoji.
        return json.loads(document, parse_constant=_reject, parse_float=_finite)


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise ValueError("the number is out of range")
    return number
