"""JSON codec."""

import pytest

from messages_api.backend.protocol import wire


@pytest.mark.parametrize(
    ("document", "value"),
    [
        pytest.param('{"b":1,"a":[2.5,null]}', {"b": 1, "a": [2.5, None]}, id="text"),
        pytest.param(b'"\xe2\x80\xa8"', "\u2028", id="bytes"),
        pytest.param('"\\ud83d"', "\ud83d", id="an escaped lone surrogate"),
        pytest.param('["\ud83d",1.5]', ["\ud83d", 1.5], id="a lone surrogate"),
        pytest.param(str(10**30), 10**30, id="a large number"),
    ],
)
def test_a_document_is_read(document: str | bytes, value: object) -> None:
    assert wire.decode(document) == value


@pytest.mark.parametrize(
    "document",
    [
        pytest.param("", id="nothing"),
        pytest.param('{"a":', id="cut"),
        pytest.param("{} {}", id="two"),
        pytest.param("NaN", id="not a number"),
        pytest.param("-Infinity", id="infinity"),
        pytest.param("1e999", id="a number without a value"),
        pytest.param("9" * 5000 + "x", id="long garbage"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('["\\ud800",' + "[" * 100_000, id="deep, after a lone surrogate"),
        pytest.param('["\\ud800",' + "[" * 5_000 + "]" * 5_001, id="deep and closed, after a lone surrogate"),
        pytest.param(b'"\xff"', id="not UTF-8"),
    ],
)
def test_what_is_no_json_is_a_value_error(document: str | bytes) -> None:
    with pytest.raises(ValueError):
        wire.decode(document)


def test_what_is_written_is_compact_and_keeps_its_order() -> None:
    assert wire.encode_text({"q": "né\u2028", "z": 1, "a": {}}) == '{"q":"né\u2028","z":1,"a":{}}'


def test_a_lone_surrogate_is_escaped() -> None:
    assert wire.encode({"é": "\ud83d", "a": 1}) == b'{"\\u00e9":"\\ud83d","a":1}'
