"""
The body of a call: bytes of an HTTP request to a validated request, or a RequestError that says what to change.

The envelope lane is strict: it takes what the API documents. The native lane checks only what the gateway itself reads.
"""

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec
from django.conf import settings
from django.http import HttpRequest

from messages_api.backend.protocol.types import MessagesRequest
from messages_api.errors import RequestError
from messages_api.intake import cross_field_rules
from messages_api.intake.read_deadline import BodyDeadline
from messages_api.intake.schema import CountRequest, NativeRequest, StrictRequest
from messages_api.intake.strict_json import is_quotable, read_object

PIECE_BYTES = 2**16
MAX_LENGTH_DIGITS = 18

DOCUMENTED = frozenset(StrictRequest.__struct_fields__)

# How the types of msgspec's messages are called in JSON.
JSON_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "NoneType": "null"}
TYPES = re.compile(r"`([^`]*)`")

CHOICES = {
    "role": "user, assistant or system",
    "media_type": "image/jpeg, image/png, image/gif or image/webp; for a document application/pdf or text/plain",
    "effort": "low, medium, high, xhigh or max",
    "service_tier": "auto or standard_only",
    "speed": "standard or fast",
    "ttl": "5m or 1h",
}

Shape = TypeVar("Shape", bound=CountRequest | StrictRequest)


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A request as it came and as it reads."""

    raw: bytes  # as received: what an Anthropic upstream on the native lane gets
    request: MessagesRequest  # the same, parsed: validated, nothing added, nothing coerced


def read(http_request: HttpRequest, *, strict: bool, is_count: bool = False) -> Body:
    """Receive and parse the body of a call, or of a count. Raise RequestError: 400, 411 or 413."""
    raw = receive(http_request)
    return Body(raw=raw, request=cast(MessagesRequest, parse(raw, strict=strict, is_count=is_count)))


# ---- from the caller


def receive(http_request: HttpRequest) -> bytes:
    """Read the body as it came, whatever its content type says. It may be empty.

    Raise RequestError 411 for a body without length, 413 for one that declares more than MAX_BODY_BYTES, before a byte
    of it is read, and 400 for one that is encoded or ends early.
    """
    length = declared_length(http_request.META)
    encoding = http_request.META.get("HTTP_CONTENT_ENCODING") or "identity"
    if encoding.strip().lower() != "identity":
        raise RequestError("Content-Encoding: expected identity, or none. Send the body as plain JSON.")
    return read_exactly(http_request, length)


def declared_length(environ: dict[str, Any]) -> int:
    if "HTTP_TRANSFER_ENCODING" in environ:
        raise RequestError("Content-Length is required: a chunked body is not read.", status=411)
    digits = environ.get("CONTENT_LENGTH") or "0"
    if not (digits.isascii() and digits.isdigit()):
        raise RequestError("Content-Length: expected a number in decimal digits.")
    if len(digits) > MAX_LENGTH_DIGITS or int(digits) > settings.MAX_BODY_BYTES:
        message = f"The body is too large: at most {settings.MAX_BODY_BYTES} bytes."
        raise RequestError(message, status=413, type="request_too_large")
    return int(digits)


def read_exactly(http_request: HttpRequest, length: int) -> bytes:
    # Not http_request.body, which stops at DATA_UPLOAD_MAX_MEMORY_SIZE, nor .POST, which parses forms.
    pieces = []
    missing = length
    try:
        with BodyDeadline(http_request):
            while missing and (piece := http_request.read(min(missing, PIECE_BYTES))):
                pieces.append(piece)
                missing -= len(piece)
    except OSError as error:
        raise ended_early(length - missing, length) from error
    if missing:
        raise ended_early(length - missing, length)
    return b"".join(pieces)


def ended_early(received: int, length: int) -> RequestError:
    return RequestError(f"The body ended early: {received} of {length} bytes arrived.")


# ---- to a request


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the garbage collector away: nothing of a request is garbage while it is built and checked.

    In the heap of a worker 100,000 messages of one block take 0.8 s with it and 0.45 s without.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@collector_paused()
def parse(raw: bytes, *, strict: bool, is_count: bool = False) -> dict[str, Any]:
    """Parse and check a body: all documented rules for the envelope lane (strict), the common ones for the native lane.

    Return the dict as JSON says it. Raise RequestError (400) with the path of the field in `param`.
    """
    request = read_object(raw)
    if not strict:
        check_model(fit(request, CountRequest if is_count else NativeRequest).model)
        return request
    refuse_undocumented(request)
    shape = fit(request, StrictRequest)
    check_model(shape.model)
    cross_field_rules.check(shape)
    return request


def refuse_undocumented(request: dict[str, Any]) -> None:
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
        raise RequestError("model: expected printable characters alone.", param="model")


def fit(request: dict[str, Any], shape: type[Shape]) -> Shape:
    try:
        return msgspec.convert(request, shape)
    except msgspec.ValidationError as error:
        raise misfit(str(error)) from None


def misfit(text: str) -> RequestError:
    """Say again what msgspec found, with our paths and the words of JSON, and without the caller's values."""
    what, found, path = text.rpartition(" - at `$")
    what, path = (what, path.removeprefix(".").removesuffix("`")) if found else (text, "")
    if what.startswith("Object contains unknown field"):
        return unknown_field(path, what.removeprefix("Object contains unknown field `").removesuffix("`"))
    if what.startswith("Object missing required field"):
        name = what.removeprefix("Object missing required field `").removesuffix("`")
        return misplaced(f"{path}.{name}".removeprefix("."), "required")
    if what.startswith("Expected"):
        return misplaced(path, TYPES.sub(in_json, what).replace("Expected", "expected"))
    if what.startswith("Number"):
        return misplaced(path, "expected a smaller number")
    # An invalid choice. msgspec quotes the value, which may be anything.
    name = path.rpartition(".")[2]
    return misplaced(path, f"expected {CHOICES.get(name, 'one of the values that this API documents')}")


def misplaced(path: str, expected: str) -> RequestError:
    return RequestError(f"{path}: {expected}.", param=path)


def in_json(types: re.Match[str]) -> str:
    return " or ".join(JSON_TYPES.get(name, name) for name in types[1].split(" | "))
