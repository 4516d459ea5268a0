"""
Request body: bytes of an HTTP request to a validated request body, or a RequestError that states what to change.

The envelope API is strict: it accepts documented fields only. The Anthropic API checks only what the gateway itself
reads.
"""

import gc
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import msgspec
from django.conf import settings
from django.http import HttpRequest

from lib.pace import pace
from messages_api.backend.protocol.types import MessagesRequest
from messages_api.errors import RequestError
from messages_api.intake import cross_field_rules
from messages_api.intake.schema import AnthropicRequest, CountTokensRequest, EnvelopeRequest
from messages_api.intake.strict_json import is_quotable, read_object

PIECE_BYTES = 2**16
MAX_LENGTH_DIGITS = 18
LARGE_BYTES = 256 * 1024
UNCOLLECTED_BYTES = 16 * 1024
"""Bodies up to this size are parsed with the garbage collector as it is: they rarely start it."""
turn_of_large_bodies = threading.Lock()
"""Large bodies are parsed one after the other. The decoder does not yield, and takes 40 ms for 30 MB: several that are
ready would hold up the streams of a worker together."""

DOCUMENTED = frozenset(EnvelopeRequest.__struct_fields__)

# JSON names of the types in msgspec's messages.
JSON_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "NoneType": "null"}
TYPES = re.compile(r"`([^`]*)`")

CHOICES = {
    "role": "user, assistant or system",
    "media_type": "image/jpeg, image/png, image/gif or image/webp; for a document application/pdf or text/plain",
    "effort": "low, medium, high, xhigh or max",
    "service_tier": "auto or standard_only; for OpenAI also default, fast, flex, priority or scale",
    "speed": "standard or fast",
    "ttl": "5m or 1h",
}

Struct = TypeVar("Struct", bound=CountTokensRequest | EnvelopeRequest)


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestBody:
    """The received bytes and the parsed request."""

    raw: bytes  # as received: the Anthropic API sends them to Anthropic upstreams unchanged
    request: MessagesRequest  # validated; nothing is added or converted
    upload_s: float = field(default=0.0, compare=False)  # how long the client took to send it


def read(http_request: HttpRequest, *, strict: bool, is_count: bool = False) -> RequestBody:
    """Receive and parse a request body; `is_count` for token counting. Raise RequestError: 400, 411 or 413."""
    length = expected_length(http_request.META)
    started_at = time.monotonic()
    pieces = read_pieces(http_request, length)
    upload_s = time.monotonic() - started_at
    if length <= LARGE_BYTES:
        raw = b"".join(pieces)
        request = parse(raw, strict=strict, is_count=is_count)
    else:
        with turn_of_large_bodies:
            raw = b"".join(pieces)
            pieces.clear()  # only one body at a time is in memory twice
            request = parse(raw, strict=strict, is_count=is_count)
    return RequestBody(raw=raw, request=cast(MessagesRequest, request), upload_s=upload_s)


# ---- from the client


def receive(http_request: HttpRequest) -> bytes:
    """Read the body, whatever its content type. It may be empty.

    Raise RequestError: those of `expected_length` before a byte is read, and 400 for a body that ends early.
    """
    return b"".join(read_pieces(http_request, expected_length(http_request.META)))


def expected_length(environ: dict[str, Any]) -> int:
    """Return the length of the body that follows a head.

    Raise RequestError: 411 for a body without a length, 413 for more than MAX_BODY_BYTES, 400 for an encoded one.
    """
    if "HTTP_TRANSFER_ENCODING" in environ:
        raise RequestError("Content-Length is required: a chunked body is not read.", status=411)
    digits = environ.get("CONTENT_LENGTH") or "0"
    if not (digits.isascii() and digits.isdigit()):
        raise RequestError("Content-Length: expected a number in decimal digits.")
    if len(digits) > MAX_LENGTH_DIGITS or int(digits) > settings.MAX_BODY_BYTES:
        message = f"The body is too large: at most {settings.MAX_BODY_BYTES / 2**20:g} MiB."
        raise RequestError(message, status=413, type="request_too_large")
    encoding = environ.get("HTTP_CONTENT_ENCODING") or "identity"
    if encoding.strip().lower() != "identity":
        raise RequestError("Content-Encoding: expected identity, or none. Send the body as plain JSON.")
    return int(digits)


def read_pieces(http_request: HttpRequest, length: int) -> list[bytes]:
    """Read a body in pieces: one buffer that grows takes up to twice its memory while the body arrives."""
    # Not http_request.body, which stops at DATA_UPLOAD_MAX_MEMORY_SIZE, nor .POST, which parses forms.
    pieces: list[bytes] = []
    missing = length
    step = pace()
    try:
        while missing and (piece := http_request.read(min(missing, PIECE_BYTES))):  # the worker has a deadline
            pieces.append(piece)
            missing -= len(piece)
            step()
    except OSError as error:
        raise ended_early(length - missing, length) from error
    if missing:
        raise ended_early(length - missing, length)
    return pieces


def ended_early(received: int, length: int) -> RequestError:
    return RequestError(f"The body ended early: {received} of {length} bytes arrived.")


# ---- to a parsed request


@contextmanager
def collector_paused() -> Iterator[None]:
    """Disable the garbage collector: nothing in a request is garbage while it is built and checked.

    In the heap of a worker, 100,000 messages of one block take 0.8 s with the collector and 0.45 s without.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def parse(raw: bytes, *, strict: bool, is_count: bool = False) -> dict[str, Any]:
    """Parse and validate a body: all documented rules if strict, else those of the fields that the gateway reads.

    Return the unchanged JSON object. Raise RequestError (400) with the path of the field in `param`.
    """
    if len(raw) <= UNCOLLECTED_BYTES:
        return _parse(raw, strict=strict, is_count=is_count)
    with collector_paused():
        return _parse(raw, strict=strict, is_count=is_count)


def _parse(raw: bytes, *, strict: bool, is_count: bool) -> dict[str, Any]:
    request = read_object(raw)
    step = pace()
    if not strict:
        check_model(convert(request, CountTokensRequest if is_count else AnthropicRequest).model)
        return request
    reject_undocumented(request)
    struct = convert(request, EnvelopeRequest)
    step()
    check_model(struct.model)
    cross_field_rules.check(struct, step=step)
    step()
    return request


def reject_undocumented(request: dict[str, Any]) -> None:
    for name in request:
        if name not in DOCUMENTED:
            raise unknown_field("", name)


def unknown_field(path: str, name: str) -> RequestError:
    if not is_quotable(name):
        message = f"unknown_field: this API does not document one of the fields of {path or 'the request'}."
        return RequestError(message, param=path or None)
    message = f"unknown_field: this API does not document the field '{name}'."
    return RequestError(message, param=f"{path}.{name}" if path else name)


def check_model(model: str) -> None:
    if not model.isprintable():
        raise RequestError("model: expected printable characters only.", param="model")


def convert(request: dict[str, Any], struct: type[Struct]) -> Struct:
    try:
        return msgspec.convert(request, struct)
    except msgspec.ValidationError as error:
        raise validation_error(str(error)) from None


def validation_error(text: str) -> RequestError:
    """Translate an error of msgspec: paths as in the API, types as in JSON, and without the client's values."""
    what, found, path = text.rpartition(" - at `$")
    what, path = (what, path.removeprefix(".").removesuffix("`")) if found else (text, "")
    if what.startswith("Object contains unknown field"):
        return unknown_field(path, what.removeprefix("Object contains unknown field `").removesuffix("`"))
    if what.startswith("Object missing required field"):
        name = what.removeprefix("Object missing required field `").removesuffix("`")
        return field_error(f"{path}.{name}".removeprefix("."), "required")
    if what.startswith("Expected"):
        return field_error(path, TYPES.sub(in_json, what).replace("Expected", "expected"))
    if what.startswith("Number"):
        return field_error(path, "expected a smaller number")
    # An invalid choice. msgspec quotes the value, which may be anything.
    name = path.rpartition(".")[2]
    return field_error(path, f"expected {CHOICES.get(name, 'one of the values that this API documents')}")


def field_error(path: str, expected: str) -> RequestError:
    return RequestError(f"{path}: {expected}.", param=path)


def in_json(types: re.Match[str]) -> str:
    return " or ".join(JSON_TYPES.get(name, name) for name in types[1].split(" | "))
