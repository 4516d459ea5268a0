"""Bounded copies of JSON objects."""

import json
from random import Random
from typing import Any

import pytest

from lib.bounded_json import MAX_BYTES, bounded, merged


def size(value: object) -> int:
    return len(json.dumps(value).encode())


def test_numbers_booleans_and_short_texts_are_kept() -> None:
    value = {"a": 1, "b": 0.5, "c": True, "d": "standard", "e": {"f": [1, {"g": "é"}]}}

    assert bounded(value) == value


@pytest.mark.parametrize(
    "value", [None, "x" * 65, "two\nlines", "nul\0", "\ud800", "\u200b", float("inf"), float("nan"), 2**63, object()]
)
def test_other_values_are_left_out(value: object) -> None:
    assert bounded({"a": value, "b": {"c": value, "d": 1}, "e": [value, 2]}) == {"b": {"d": 1}, "e": [2]}


@pytest.mark.parametrize("name", ["x" * 65, "a\nb", "\0", 7, None])
def test_names_are_bounded_too(name: Any) -> None:
    assert bounded({name: 1, "b": {name: {"c": 1}}}) == {"b": {}}


@pytest.mark.parametrize("value", [None, [], "text", 1, [{"a": 1}]])
def test_anything_else_is_an_empty_object(value: object) -> None:
    assert bounded(value) == {}


def test_depth_is_bounded() -> None:
    value: Any = 1
    for _ in range(50_000):
        value = {"a": value, "n": 1}

    assert bounded(value) == {"n": 1, "a": {"n": 1, "a": {"n": 1, "a": {"n": 1}}}}


@pytest.mark.parametrize(
    "value",
    [
        {f"n{number}": number for number in range(100_000)},
        {"a": list(range(100_000))},
        {f"n{number}": {"m": [number] * 3} for number in range(100_000)},
        {f"n{number}": "é" * 60 for number in range(100)},
        {f"n{number}": '"' * 60 for number in range(100)},
        {"🙂" * 60 + str(number): "🙂" * 60 for number in range(100)},
        {f"n{number}": {} for number in range(1000)},
        {"a": [[[]] * 1000] * 1000},
    ],
)
def test_the_size_is_bounded(value: dict[str, Any]) -> None:
    found = bounded(value)

    assert size(found) <= MAX_BYTES
    assert bounded(found) == found


def test_counts_are_kept_rather_than_lists() -> None:
    value = {"iterations": [{"input_tokens": number} for number in range(10_000)], "input_tokens": 5}

    found = bounded(value)

    assert found["input_tokens"] == 5
    assert found["iterations"] == value["iterations"][: len(found["iterations"])]  # type: ignore[index]
    assert len(found["iterations"]) > 80


def test_random_objects_fit_and_stay_the_same() -> None:
    random = Random(5)

    def value(depth: int) -> Any:
        kind = random.randrange(8 if depth < 6 else 6)
        if kind < 6:
            return [random.randrange(10**9), random.random(), True, None, "x" * random.randrange(80), 'é"\\'][kind]
        many = random.randrange(12)
        return (
            {f"k{n}": value(depth + 1) for n in range(many)} if kind == 6 else [value(depth + 1) for _ in range(many)]
        )

    for _ in range(500):
        found = bounded({f"k{n}": value(1) for n in range(random.randrange(30))})
        assert size(found) <= MAX_BYTES
        assert bounded(found) == found


@pytest.mark.parametrize(
    ("known", "later", "result"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": 0}, {"a": 1}),
        ({"a": 0}, {"a": 0.0}, {"a": 0.0}),
        ({"a": True}, {"a": False}, {"a": False}),
        ({"a": {"b": 1, "c": 1}}, {"a": {"b": 2}}, {"a": {"b": 2, "c": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": "x"}, {"a": 0}, {"a": 0}),
        ({"a": 1}, {"a": {"b": 0}}, {"a": {"b": 0}}),
    ],
)
def test_later_members_replace_earlier_ones_except_for_a_0(
    known: dict[str, Any], later: dict[str, Any], result: dict[str, Any]
) -> None:
    assert merged(known, later) == result
