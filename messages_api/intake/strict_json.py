"""
Strict JSON: bytes to one object that all parsers read alike, or a RequestError (RFC 8259, with the limits of RFC 7493).

msgspec rejects malformed JSON, trailing text, control characters, lone surrogates and broken UTF-8. This module also
rejects duplicate keys (msgspec keeps the last), deep nesting, infinite numbers, and more values than memory can hold.
"""

import json
import math
import re
import sys
from typing import Any, NamedTuple, NoReturn

import msgspec

from lib.json_size import PIECE_BYTES, TooManyValues, count_members, outside_strings
from lib.pace import pace
from messages_api.errors import RequestError

MAX_DEPTH = 64

# Elements, members and containers. A session of 2,000 turns with tools holds about 30,000. Each 100,000 take 20 ms to
# decode and as long to validate, and the worker serves no other stream meanwhile; 32 MiB of `[],` would take seconds.
MAX_VALUES = 100_000

# Up to this size an error names the place. The hooks for that take 0.2 s for a megabyte of small objects.
MAX_LOCATED_BYTES = 2**20

BRACKETS = re.compile(rb"[\[\]{}]")

TRUNCATED = "Input data was truncated"
HIGH_SURROGATE_NEAR_END = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")

MAX_NAME_LENGTH = 40  # shorter than a credential: a key pasted as a name is not repeated
MAX_PATH_LENGTH = 160

KINDS = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}


def read_object(raw: bytes) -> dict[str, Any]:
    """Read one JSON object, equal to what `json.loads` reads. Raise RequestError (400) for anything else.

    Values are counted before the first one is created. Raise RequestError (413) for more than MAX_VALUES.
    """
    step = pace()
    try:
        members = count_members(raw, max_values=MAX_VALUES, step=step)
    except TooManyValues as error:
        raise (too_deep() if is_nested_deeply(raw) else too_many_values()) from error
    document = decode(raw)
    step()
    if type(document) is not dict:
        raise RequestError(f"The body must be a JSON object, not {KINDS[type(document)]}.")
    if count_distinct_members(document) != members:
        reject_flaw(raw, otherwise="An object in the body has a duplicate key: each name is allowed once.")
    return document


def is_quotable(name: str) -> bool:
    """Return whether a message may quote a name of the client: short and printable."""
    return 0 < len(name) <= MAX_NAME_LENGTH and name.isprintable()


def decode(raw: bytes) -> Any:
    try:
        return DECODER.decode(raw)
    except msgspec.ValidationError:
        # Without a type to check against, only a number can be invalid: an infinite one, or one of 4,300 digits.
        reject_flaw(raw, otherwise="A number in the body is out of range.")
    except msgspec.DecodeError as error:
        detail = syntax_error(raw, str(error).removeprefix("JSON is malformed: "))
        raise RequestError(f"The body must be JSON in UTF-8, without a byte order mark: {detail}.") from error
    except UnicodeDecodeError as error:
        raise RequestError("The body must be JSON in UTF-8: a string in it is not.") from error
    except RecursionError as error:
        raise too_deep() from error


def syntax_error(raw: bytes, detail: str) -> str:
    """Return what is wrong in malformed JSON: msgspec's text, except where it is misleading."""
    if detail != TRUNCATED:
        return detail
    if not raw.strip():
        return "the body is empty"
    # msgspec expects the second half of a surrogate pair, and finds the end of the body.
    if HIGH_SURROGATE_NEAR_END.search(raw[-11:]):
        return "unexpected end of escaped utf-16 surrogate pair"
    return "the body ends in the middle of a value"


def finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError
    return number


# Python's own float: msgspec's takes 6.4 µs for 1.2345678901234567e-300, this one 0.6 µs.
DECODER = msgspec.json.Decoder(float_hook=finite)


def count_distinct_members(document: dict[str, Any]) -> int:
    """Count the members of all objects in a document. Raise RequestError if it is nested too deeply."""
    members = 0
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if type(value) is dict:
                members += len(value)
                below += value.values()
            elif type(value) is list:
                below += value
        if not below:
            return members
        level = below
    if any(type(value) is dict or type(value) is list for value in level):
        raise too_deep()
    return members


def is_nested_deeply(raw: bytes) -> bool:
    """Return whether the first piece of a document is nested more deeply than MAX_DEPTH."""
    depth = 0
    for bracket in BRACKETS.finditer(next(outside_strings(raw[:PIECE_BYTES], max_values=PIECE_BYTES), b"")):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def too_deep() -> RequestError:
    return RequestError(f"The body is nested too deeply: at most {MAX_DEPTH} arrays and objects inside one another.")


def too_many_values() -> RequestError:
    message = (
        f"The body holds too many values: at most {MAX_VALUES:,} array elements and object members in one request. "
        "Send fewer messages, content blocks or tools."
    )
    return RequestError(message, status=413, type="request_too_large")


class Flaw(NamedTuple):
    """Marker in a document for an invalid object or number."""

    text: str
    name: str | None = None  # of the duplicate key


def reject_flaw(raw: bytes, *, otherwise: str) -> NoReturn:
    """Raise RequestError with the place of a duplicate key or a number out of range, or with `otherwise`."""
    found = find_flaw(raw) if len(raw) <= MAX_LOCATED_BYTES else None
    if found is None:
        raise RequestError(otherwise)
    path, flaw = found
    raise RequestError(f"{path or 'The body'} {flaw.text}.", param=path or None)


def find_flaw(raw: bytes) -> tuple[str, Flaw] | None:
    try:
        document = json.loads(raw, object_pairs_hook=distinct, parse_float=bounded_float, parse_int=bounded_integer)
    except (ValueError, RecursionError):
        return None
    places = [("", document)]
    while places:
        path, value = places.pop()
        if isinstance(value, Flaw):
            path = path if value.name is None else member_path(path, value.name)
            return path.removeprefix("."), value
        if isinstance(value, dict):
            places += [(member_path(path, name), member) for name, member in value.items()]
        if isinstance(value, list):
            places += [(f"{path[:MAX_PATH_LENGTH]}[{i}]", element) for i, element in enumerate(value)]
    return None


def member_path(path: str, name: str) -> str:
    return path[:MAX_PATH_LENGTH] + (f".{name}" if is_quotable(name) else "[...]")


def distinct(members: list[tuple[str, Any]]) -> dict[str, Any] | Flaw:
    names = set()
    for name, _ in members:
        if name in names:
            return Flaw("is a duplicate key: each name is allowed once in an object", name)
        names.add(name)
    return dict(members)


def bounded_float(text: str) -> float | Flaw:
    number = float(text)
    return Flaw("is a number out of range") if math.isinf(number) else number


def bounded_integer(text: str) -> int | Flaw:
    return Flaw("is a number out of range") if len(text) > sys.get_int_max_str_digits() else 0
