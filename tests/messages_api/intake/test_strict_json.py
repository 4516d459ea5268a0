"""Strict JSON: the accepted documents are those of the standard library within the rules."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.json_size import PIECE_BYTES, outside_strings
from messages_api.errors import RequestError
from messages_api.intake import strict_json

MIB = 2**20


def error_of(raw: bytes, *, status: int = 400, type: str = "invalid_request_error") -> RequestError:
    with pytest.raises(RequestError) as caught:
        strict_json.read_object(raw)
    assert (caught.value.status, caught.value.type) == (status, type)
    assert len(caught.value.message) <= 300
    return caught.value


def once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(members)) != len(members):
        raise ValueError("duplicate")
    return dict(members)


def finite(text: str) -> float:
    if math.isinf(float(text)):
        raise ValueError("infinite")
    return float(text)


def no_constant(text: str) -> Any:
    raise ValueError(text)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def reference(raw: bytes) -> dict[str, Any] | None:
    """Return the document as the standard library reads it with the simplest form of the rules; None if rejected."""
    try:
        document = json.loads(
            raw.decode(), object_pairs_hook=once, parse_float=finite, parse_constant=no_constant, strict=True
        )
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and depth(document) <= 64 else None


def read(raw: bytes) -> dict[str, Any] | None:
    try:
        return strict_json.read_object(raw)
    except RequestError:
        return None


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(['"', "\\", '\\"', ':"', "a:b", "{", "\0"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(TEXTS, VALUES, max_size=5)
TOKENS = [
    *"{}[]:, \n\t0-1.",
    *['"a"', '"b"', '"\\u0061"', '"\\\\"', '"\\""', '":"', '"', "\\", "\\ud800", "\\udc00", "\ud800"],
    *[
        "1e999",
        "-0",
        "-0.0",
        "1e5",
        "1E-400",
        "12345678901234567890123",
        "NaN",
        "null",
        "true",
        "\x00",
        "\x85",
        "\u2028",
    ],
]


@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 0, 2]))
def test_a_valid_document_is_read_as_the_standard_library_reads_it(document, ascii_only, indent):
    raw = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()

    read_document = strict_json.read_object(raw)

    assert repr(read_document) == repr(json.loads(raw))


@given(st.lists(st.sampled_from(TOKENS), max_size=14))
@example(['"a"', ":", "1", ",", '"\\u0061"', ":", "1"])
@example(['"a"', ":", '":"', ",", '"b"', ":", '"\\""'])
def test_accepted_is_exactly_what_the_rules_accept(tokens):
    raw = ("{" + "".join(tokens) + "}").encode("utf-8", "surrogatepass")

    assert repr(read(raw)) == repr(reference(raw))


@given(DOCUMENTS, st.data())
def test_a_document_with_bytes_replaced_is_accepted_exactly_by_the_rules(document, data):
    raw = bytearray(json.dumps(document, ensure_ascii=False).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(len(raw), start + 3)))
        raw[start:end] = data.draw(st.binary(max_size=2) | st.sampled_from([b'"', b"\\", b"{", b"}", b":", b"\xff"]))

    assert repr(read(bytes(raw))) == repr(reference(bytes(raw)))


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_rejected_and_nothing_else_is_raised(raw):
    assert repr(read(raw)) == repr(reference(raw))


@given(DOCUMENTS, st.data())
def test_a_string_that_is_cut_into_two_pieces_is_still_removed(document, data):
    raw = json.dumps(document, ensure_ascii=False).encode()
    cut = data.draw(st.integers(0, len(raw)))
    padding = b" " * (PIECE_BYTES - cut)

    outside = b"".join(outside_strings(padding + raw, max_values=10**6))

    assert outside.lstrip() == b"".join(outside_strings(raw, max_values=10**6))
    assert b'"' not in outside


@given(st.lists(st.sampled_from(["\\", '"', "a", ":", "{"]), max_size=40), st.integers(0, 40))
def test_an_escape_that_is_cut_into_two_pieces_is_still_removed(characters, cut):
    raw = b'{"a":' + json.dumps("".join(characters)).encode() + b',"b":[1]}'
    padding = b" " * max(0, PIECE_BYTES - cut)

    assert b"".join(outside_strings(padding + raw, max_values=10**6)).lstrip() == b"{:,:[1]}"


@pytest.mark.parametrize("raw", [b"null", b"[]", b"123", b"1.5", b'"x"', b"true"])
def test_a_document_that_is_not_an_object_is_rejected(raw):
    assert "object" in error_of(raw).message


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \n", id="blank"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"a":"\xff\xfe"}', id="no UTF-8"),
        pytest.param(b'{"\xff":1}', id="no UTF-8 in a name"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', id="surrogate in UTF-8"),
        pytest.param(b'{"a":"\xc0\x80"}', id="overlong"),
        pytest.param(b'{"a":"\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"a":"\\udc00\\ud800"}', id="surrogates in the wrong order"),
        pytest.param(b'{"\\ud800":1}', id="lone surrogate in a name"),
        pytest.param(b'{"a":"\n"}', id="control character"),
        pytest.param(b'{"a":"\x00"}', id="raw NUL"),
        pytest.param(b"{} x", id="trailing text"),
        pytest.param(b"{}{}", id="two documents"),
        pytest.param(b"{}\x00", id="trailing NUL"),
        pytest.param(b'{"a":1,}', id="trailing comma"),
        pytest.param(b'{"a":1//\n}', id="comment"),
        pytest.param(b"{'a':1}", id="single quotes"),
        pytest.param(b"{a:1}", id="no quotes"),
        pytest.param(b'{"a":NaN}', id="NaN"),
        pytest.param(b'{"a":-Infinity}', id="infinity"),
        pytest.param(b'{"a":01}', id="leading zero"),
        pytest.param(b'{"a":0x1}', id="hexadecimal"),
        pytest.param(b'{"a":+1}', id="plus sign"),
        pytest.param(b'{"a":"\\x41"}', id="unknown escape"),
        pytest.param(b'{"a":True}', id="Python's True"),
        pytest.param(b'{"a":1', id="cut"),
        pytest.param(b'{"a' + b"\\", id="cut in an escape"),
    ],
)
def test_json_that_is_not_strict_is_rejected(raw):
    assert error_of(raw).message.startswith("The body must be JSON in UTF-8")


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b'{"a":1', "the body ends in the middle of a value"),
        (b'{"a":"\\ud800"}', "unexpected end of escaped utf-16 surrogate pair"),
        (b'{"a":["\\uDBFF"]}', "unexpected end of escaped utf-16 surrogate pair"),
        (b'{"a":"\\ud800","b":"long enough"}', "unexpected end of escaped utf-16 surrogate pair (byte 12)"),
    ],
)
def test_an_error_of_syntax_names_what_is_wrong(raw, detail):
    assert error_of(raw).message == f"The body must be JSON in UTF-8, without a byte order mark: {detail}."


@pytest.mark.parametrize("text", ["a\0b", "\u2028\u2029\x85", "😀", "‮مرحبا", '\\":{}[],', "\x7f"])
def test_valid_text_is_unchanged(text):
    assert strict_json.read_object(json.dumps({"a": text}).encode()) == {"a": text}


@pytest.mark.parametrize("raw", [b"1e999", b"-1e999", b"1" * 5000, b"-" + b"1" * 5000])
def test_a_number_out_of_range_is_rejected_with_its_path(raw):
    error = error_of(b'{"a":[0.5,{"temperature":%b}]}' % raw)

    assert error.param == "a[1].temperature"
    assert error.message == "a[1].temperature is a number out of range."


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b'{"model":"a","model":"b"}', "model"),
        (b'{"model":"a","m\\u006fdel":"b"}', "model"),
        (b'{"a":[{},{"b":{"c":1,"d":2,"c":1}}]}', "a[1].b.c"),
        (b'{"a":{"x":1,"x":2},"b":":","c":"\\":"}', "a.x"),
        (b'{"":1,"":1}', "[...]"),
        (b'{"a" : 1 ,\n "a"\t: 1}', "a"),
    ],
)
def test_a_duplicate_key_is_named_with_its_path(raw, path):
    error = error_of(raw)

    assert error.param == path
    assert error.message == f"{path} is a duplicate key: each name is allowed once in an object."


@pytest.mark.parametrize("name", ["mgw_" + "a" * 46, "x\n", "\u202ex", "k" * 5000])
def test_a_duplicate_name_that_is_long_or_not_printable_is_not_repeated(name):
    member = f"{json.dumps(name)}:1".encode()

    error = error_of(b'{"a":{' + member + b"," + member + b"}}")

    assert "duplicate" in error.message
    assert error.param == "a[...]"


def test_the_path_of_a_flaw_stays_short():
    deep = b'{"%b":' % (b"k" * 40) * 60

    error = error_of(deep + b'{"a":1,"a":1}' + b"}" * 60)

    assert "duplicate" in error.message


def test_a_duplicate_key_in_a_large_body_is_rejected_without_a_search():
    error = error_of(b'{"a":"' + b"x" * 2 * MIB + b'","b":1,"b":1}')

    assert "duplicate" in error.message
    assert error.param is None


@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}")])
def test_64_levels_are_read_and_65_are_rejected(opening, closing):
    def nested(levels):
        return b'{"a":' + opening * (levels - 1) + b"1" + closing * (levels - 1) + b"}"

    assert depth(strict_json.read_object(nested(64))) == 64
    assert "deeply" in error_of(nested(65)).message
    assert "deeply" in error_of(nested(900)).message
    assert "deeply" in error_of(nested(100_000)).message


def test_empty_containers_count_as_levels():
    assert strict_json.read_object(b'{"a":' + b"[" * 63 + b"]" * 63 + b"}")
    assert "deeply" in error_of(b'{"a":' + b"[" * 64 + b"]" * 64 + b"}").message


def test_a_document_with_the_maximum_of_values_is_read_and_one_more_is_rejected():
    def array(elements):
        return b'{"a":[' + b"1," * (elements - 1) + b"1]}"

    most = strict_json.MAX_VALUES - 1

    assert len(strict_json.read_object(array(most))["a"]) == most
    rejection = error_of(array(most + 1), status=413, type="request_too_large")
    assert "too many values" in rejection.message and "messages" in rejection.message
