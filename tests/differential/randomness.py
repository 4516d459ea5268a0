"""Random texts, JSON objects and splits. All of it follows from the seed."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

Sliceable = TypeVar("Sliceable", str, bytes)

WORDS = (
    *(
        "Hello",
        "wörld",
        "the",
        "is",
        "日本語",
        "e\u0301",
        "a",
        "0",
        "x = 1;",
        "{",
        "}",
        '"',
        "\\",
        "'",
        "<b>",
        "</think>",
    ),
    *(" ", " ", " ", "\n", "\n\n", "\t", "\u00a0", "\r\n", "\u2028", "\u0085", "\x00", "\x1f", "\x7f", "\ufeff", "\\n"),
    *("🙂", "👩‍👩‍👧", "𝄞", "data: x\n\n", "event: ping\n", "[DONE]", "\\u0041", ":", ",", "[", "]", "null"),
)
KEYS = ("city", "a", "b c", "", "é", "path", '"', "🙂", "{}", "n")


def text(random: Random, *, longest: int = 10) -> str:
    """Return a text with at least one character that is not white space."""
    words = [random.choice(WORDS) for _ in range(random.randrange(longest))]
    words.insert(random.randrange(len(words) + 1), random.choice(("Hi", "Ω", "ok.", "🙂", "-")))
    return "".join(words)


def json_object(random: Random, *, depth: int = 2) -> dict[str, Any]:
    return {random.choice(KEYS): _json_value(random, depth) for _ in range(random.randrange(4))}


def _json_value(random: Random, depth: int) -> Any:
    kind = random.randrange(8 if depth else 6)
    if kind < 2:
        return text(random, longest=4)
    if kind == 7:
        return json_object(random, depth=depth - 1)
    if kind == 6:
        return [_json_value(random, depth - 1) for _ in range(random.randrange(3))]
    return random.choice((0, -7, 12345678901, 1.5, True, False, None, ""))


def json_text(random: Random, value: Any) -> str:
    """Return a JSON document in one of the spellings of common encoders."""
    spelling = random.randrange(4)
    if spelling == 3:
        return json.dumps(value, indent=1, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=spelling == 1, separators=(",", ":") if spelling else (", ", ": "))


def cut(random: Random, whole: Sliceable, *, most: int = 6) -> list[Sliceable]:
    """Split a text or bytes at random positions. Some pieces may be empty."""
    if not whole:
        return [whole]
    places: list[int] = sorted(random.randrange(len(whole) + 1) for _ in range(random.randrange(most)))
    return [whole[start:end] for start, end in zip([0, *places], [*places, len(whole)], strict=True)]


def cut_into_halves(random: Random, whole: str) -> list[str]:
    """Split a text at random positions, also between the two surrogates of a character."""
    units = whole.encode("utf-16-le")
    places = sorted(random.randrange(len(units) // 2 + 1) * 2 for _ in range(random.randrange(6)))
    pieces = [units[start:end] for start, end in zip([0, *places], [*places, len(units)], strict=True)]
    return [piece.decode("utf-16-le", "surrogatepass") for piece in pieces]


def chance(random: Random, probability: float) -> bool:
    return random.random() < probability


def one_of(random: Random, choices: Sequence[Any], weights: Sequence[float]) -> Any:
    return random.choices(choices, weights)[0]
