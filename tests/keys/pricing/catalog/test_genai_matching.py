"""Which model of the catalog an upstream's model is, and how certain that is."""

import pytest

from keys.pricing.catalog import genai_matching

MISTRAL = "https://api.mistral.ai/v1"
ANTHROPIC, OPENAI, LOCAL = "https://api.anthropic.com", "https://api.openai.com/v1", "http://127.0.0.1:8080/v1"


@pytest.mark.parametrize(
    ("model", "base_url", "expected"),
    [
        pytest.param("claude-opus-5-5", ANTHROPIC, ("anthropic/claude-opus-5-5", "exact", False), id="the ID"),
        pytest.param(
            "claude-opus-5-5-20260922",
            "https://API.anthropic.com",
            ("anthropic/claude-opus-5-5", "dated", False),
            id="dated",
        ),
        pytest.param("gpt-4o-2024-05-13", OPENAI, ("openai/gpt-4o-2024-05-13", "exact", False), id="its own date"),
        pytest.param("mistral-large-latest", MISTRAL, ("mistral/mistral-large", "exact", False), id="alias"),
        pytest.param("gpt-6-sol-preview", OPENAI, ("openai/gpt-6-sol", "prefix", False), id="prefix"),
        pytest.param("gpt-4o", "https://eu.api.openai.com/v1", ("openai/gpt-4o", "exact", False), id="regional"),
        pytest.param("gpt-4o-mini", LOCAL, ("openai/gpt-4o-mini", "exact", True), id="by its name alone"),
        pytest.param("gpt-4o", "", ("openai/gpt-4o", "exact", True), id="of an upstream that was deleted"),
        pytest.param("gpt-4o", ANTHROPIC, None, id="of another provider"),
        pytest.param("anthropic/claude-opus-5-99", "https://openrouter.ai/api/v1", None, id="another version"),
        pytest.param("smollm2-135m", LOCAL, None, id="unknown"),
        pytest.param("", LOCAL, None, id="empty"),
    ],
)
def test_a_model_is_found_with_its_certainty(model: str, base_url: str, expected: tuple[str, str, bool] | None) -> None:
    match = genai_matching.find(model, base_url=base_url)

    assert (match and (match.catalog_id, match.confidence, match.is_named_only)) == expected


def test_a_region_is_read_from_the_base_url() -> None:
    assert genai_matching.region_of("https://eu.api.openai.com/v1") == "eu"
    assert genai_matching.region_of(OPENAI) == ""
