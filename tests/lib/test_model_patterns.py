"""Model patterns: one syntax for allowlists, prices and routes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import model_patterns

PATTERNS = st.builds(lambda name, star: name + star, st.text("ab-", max_size=4), st.sampled_from(["", "*"]))


@pytest.mark.parametrize(
    ("pattern", "model", "expected"),
    [
        ("claude-3", "claude-3", True),
        ("claude-3", "claude-3-opus", False),
        ("claude-3", "claude-3*", False),
        ("claude-*", "claude-3", True),
        ("claude-*", "claude-", True),
        ("claude-*", "claude", False),
        ("claude-*", "claude-3*", True),
        ("claude-*", "claude-*", True),
        ("claude-3*", "claude-*", False),
        ("*", "anything", True),
        ("*", "*", True),
        ("*", "", True),
    ],
)
def test_a_pattern_covers_its_name_or_all_that_share_its_prefix(pattern: str, model: str, expected: bool) -> None:
    assert model_patterns.covers(pattern, model) is expected


@given(pattern=PATTERNS, model=PATTERNS)
def test_the_covering_patterns_are_exactly_those_that_cover(pattern: str, model: str) -> None:
    assert (pattern in model_patterns.covering(model)) == model_patterns.covers(pattern, model)


@given(patterns=st.lists(PATTERNS, unique=True), model=st.text("ab-", max_size=4))
def test_the_most_specific_pattern_is_the_name_or_the_longest_that_covers(patterns: list[str], model: str) -> None:
    covering = [pattern for pattern in patterns if model_patterns.covers(pattern, model)]

    expected = model if model in covering else max(covering, key=len, default=None)

    assert model_patterns.most_specific(patterns, model) == expected


def test_an_empty_allowlist_allows_every_model() -> None:
    assert model_patterns.allows([], "anything")
    assert model_patterns.allows(["other", "any*"], "anything")
    assert not model_patterns.allows(["other"], "anything")


@pytest.mark.parametrize(
    ("pattern", "expected"), [("*", True), ("a*", True), ("a", True), ("a*b", False), ("**", False)]
)
def test_a_star_is_valid_at_the_end_only(pattern: str, expected: bool) -> None:
    assert model_patterns.is_valid(pattern) is expected
