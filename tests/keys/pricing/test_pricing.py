"""Prices by model and time."""

from datetime import UTC, datetime

import pytest

from keys.models import ModelPrice
from keys.pricing.price_book import prices

MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("model", "upstream", "at", "expected"),
    [
        pytest.param("claude-3", "any", MAY, 1, id="an exact name over a prefix"),
        pytest.param("claude-4", "any", MAY, 2, id="the longest prefix"),
        pytest.param("claude-4", "any", JUNE, 3, id="the latest"),
        pytest.param("claude-3", "cheap", MAY, 4, id="a price of the upstream over one for any"),
        pytest.param("claude-3-20260501", "any", JUNE, 1, id="the name without its date over a prefix"),
        pytest.param("claude-3-5", "any", JUNE, 3, id="not the name without anything else"),
        pytest.param("gpt-5", "any", JUNE, None, id="none"),
        pytest.param("claude-3", "any", datetime(2026, 4, 1, tzinfo=UTC), None, id="not valid yet"),
    ],
)
def test_a_price_is_found_by_upstream_model_and_time(
    db: None, model: str, upstream: str, at: datetime, expected: int | None
) -> None:
    for pattern, where, since, each in [
        ("claude-3", "", MAY, 1),
        ("claude-*", "", MAY, 2),
        ("claude-*", "", JUNE, 3),
        ("c*", "cheap", MAY, 4),
        ("c*", "", MAY, 5),
    ]:
        ModelPrice.objects.create(
            model_pattern=pattern, upstream=where, valid_from=since, input_price=each, output_price=each
        )
    prices.clear()

    found = prices.book().find(model, upstream=upstream, at=at)

    assert (found.input if found else None) == expected
