"""Bodies that are expensive to read: each is accepted or rejected, and nothing else is raised."""

import gc
import json
import tracemalloc
from typing import Any

import pytest

from messages_api.errors import RequestError
from messages_api.intake import body, strict_json

MIB = 2**20
FULL = 32 * MIB


def is_accepted(raw: bytes, *, strict: bool = True) -> bool:
    try:
        body.parse(raw, strict=strict)
    except RequestError as error:
        assert error.status in (400, 413)
        return False
    return True


def keys(value: bytes) -> bytes:
    return b"{" + b",".join(b'"%07x": %b' % (i, value) for i in range(strict_json.MAX_VALUES - 1)) + b"}"


def request_with(**fields: Any) -> bytes:
    return json.dumps(
        {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}], **fields}
    ).encode()


def blocks(count: int, block: dict[str, Any]) -> bytes:
    return request_with(messages=[{"role": "user", "content": [block]}] * count)


def url(host: str) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "url", "url": f"https://{host}/"}}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: b"[" * FULL, id="brackets"),
        pytest.param(lambda: b'"' * FULL, id="quotes"),
        pytest.param(lambda: b"\\" * FULL, id="backslashes"),
        pytest.param(lambda: b'{"a":[' + b"[]," * (FULL // 3) + b"1]}", id="10 million arrays"),
        pytest.param(lambda: b'{"a":"' + b'\\"' * (FULL // 2) + b'"}', id="escaped quotes"),
        pytest.param(lambda: b'{"a":"' + b"\\ud83d\\ude00" * (FULL // 12) + b'"}', id="escaped emoji"),
        pytest.param(lambda: b'{"a":[' + (b"1" * 4300 + b",") * (FULL // 4301) + b"1]}", id="long integers"),
        pytest.param(lambda: b'{"a":1.' + b"1" * FULL + b"}", id="a long fraction"),
        pytest.param(lambda: b'{"a":[' + (b"[" * 62 + b"]" * 62 + b",") * 10_000 + b"1]}", id="deep arrays"),
        pytest.param(lambda: b'{"a":[' + b'{"a":1,"a":1},' * 70_000 + b"1]}", id="duplicates"),
        pytest.param(lambda: keys(b"1.2345678901234567e-300"), id="names and slow floats"),
        pytest.param(lambda: keys(b'"\\"\\\\b"'), id="names and escapes"),
        pytest.param(lambda: blocks(100_000, {"type": "text", "text": "a" * 200}), id="100,000 blocks"),
        pytest.param(lambda: blocks(80_000, url("a." * 100 + "test")), id="long host names"),
        pytest.param(lambda: request_with(messages=[{"role": "r" * 30 * MIB, "content": "x"}]), id="a long role"),
        pytest.param(lambda: request_with(**{"f" * 30 * MIB: 1}), id="a long name"),
        pytest.param(
            lambda: request_with(tools=[{"name": f"t{i}", "input_schema": {"type": "object"}} for i in range(100_000)]),
            id="tools",
        ),
    ],
)
def test_the_most_expensive_bodies_are_accepted_or_rejected(make):
    """Their cost is measured by hand: in a test, other programs on the core would distort it."""
    assert is_accepted(make()) in (True, False)


def test_ten_million_arrays_are_rejected_before_they_are_created():
    raw = b'{"a":[' + b"[]," * (FULL // 3) + b"1]}"
    tracemalloc.start()

    accepted = is_accepted(raw)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not accepted
    assert peak < MIB


@pytest.mark.parametrize("raw", [request_with(), b"{}", b"{", b'{"a":"\xff"}', b'{"a":1e999}', b"[" * 2000])
def test_the_garbage_collector_keeps_its_state(raw):
    is_accepted(raw)
    assert gc.isenabled()

    gc.disable()
    try:
        is_accepted(raw)
        assert not gc.isenabled()
    finally:
        gc.enable()
