"""Token counts in both dialects."""

from typing import Any

import pytest

from messages_api.backend.protocol.openai_counts import find_usage
from messages_api.backend.protocol.usage import Usage

HOSTILE = [None, -1, 1.5, "7", 10**30, True, [1], {"a": 1}]


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        pytest.param(
            {"prompt_tokens": 9, "completion_tokens": 2},
            Usage(input=9, output=2, cache_read=0, cache_write=0),
            id="plain",
        ),
        pytest.param(
            {
                "prompt_tokens": 100,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(input=30, output=7, cache_read=60, cache_write=10, thinking=3),
            id="details",
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 1, "prompt_cache_hit_tokens": 4},
            Usage(input=6, output=1, cache_read=4, cache_write=0),
            id="DeepSeek",
        ),
        pytest.param(
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 0}, "prompt_cache_hit_tokens": 4},
            Usage(input=6, cache_read=4, cache_write=0),
            id="DeepSeek, and details of nothing",
        ),
        pytest.param(
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 99, "cache_write_tokens": 5}},
            Usage(input=0, cache_read=10, cache_write=0),
            id="more cached than there is",
        ),
        pytest.param(
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 5}},
            Usage(input=0, cache_read=7, cache_write=3),
            id="more written than there is",
        ),
        pytest.param(
            {"prompt_tokens_details": {"cached_tokens": 7}, "completion_tokens": 0},
            Usage(output=0),
            id="without a prompt",
        ),
        pytest.param({"prompt_tokens": 10**9}, Usage(input=10**9, cache_read=0, cache_write=0), id="the largest count"),
        pytest.param({"prompt_tokens": 10**9 + 1}, Usage(), id="a larger one"),
        pytest.param("nothing", Usage(), id="no object"),
        pytest.param(
            {"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 80},
            Usage(input=20, output=5, cache_read=80, cache_write=0),
            id="Kimi",
        ),
        pytest.param(
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_tokens_details": {
                    "cached_tokens": 0,
                    "cache_creation_input_tokens": 80,
                    "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 30},
                },
            },
            Usage(input=20, output=5, cache_read=0, cache_write=80, cache_write_1h=30),
            id="DashScope",
        ),
        pytest.param(
            {"prompt_cache_hit_tokens": 80, "prompt_cache_miss_tokens": 20, "completion_tokens": 5},
            Usage(input=20, output=5, cache_read=80, cache_write=0),
            id="hits and misses alone",
        ),
        pytest.param(
            {"input_tokens": 100, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 80}},
            Usage(input=20, output=5, cache_read=80, cache_write=0),
            id="names of the Responses API",
        ),
        pytest.param(
            {"input_tokens": 20, "output_tokens": 5, "cache_read_input_tokens": 80},
            Usage(input=20, output=5, cache_read=80, cache_write=0),
            id="Anthropic's names count disjointly",
        ),
        pytest.param(
            {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "cache_read_input_tokens": 80},
            Usage(input=20, output=5, cache_read=80, cache_write=0),
            id="the total shows that the prompt has the cached tokens",
        ),
        pytest.param(
            {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 105, "cache_read_input_tokens": 80},
            Usage(input=20, output=5, cache_read=80, cache_write=0),
            id="the total shows that the prompt lacks the cached tokens",
        ),
        pytest.param(
            {"prompt_tokens": 0, "input_tokens": 100, "completion_tokens": 5, "output_tokens": 0},
            Usage(input=100, output=5, cache_read=0, cache_write=0),
            id="two spellings, one of them unused",
        ),
        pytest.param(
            {"inputTokens": 20, "outputTokens": 5, "totalTokens": 105, "cacheReadInputTokens": 80},
            Usage(input=20, output=5, cache_read=80, cache_write=0),
            id="Bedrock",
        ),
        pytest.param(
            {
                "promptTokenCount": 100,
                "candidatesTokenCount": 5,
                "thoughtsTokenCount": 30,
                "totalTokenCount": 135,
                "cachedContentTokenCount": 80,
            },
            Usage(input=20, output=35, cache_read=80, cache_write=0, thinking=30),
            id="Gemini",
        ),
        pytest.param(
            {"prompt_eval_count": 10, "eval_count": 5}, Usage(input=10, output=5, cache_read=0, cache_write=0)
        ),
        pytest.param(
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 315,
                "completion_tokens_details": {"reasoning_tokens": 300},
            },
            Usage(input=10, output=305, cache_read=0, cache_write=0, thinking=300),
            id="reasoning beside the completion",
        ),
        pytest.param(
            {
                "prompt_tokens": 10,
                "completion_tokens": 305,
                "total_tokens": 315,
                "completion_tokens_details": {"reasoning_tokens": 300},
            },
            Usage(input=10, output=305, cache_read=0, cache_write=0, thinking=300),
            id="reasoning inside the completion",
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 300}},
            Usage(input=10, output=305, cache_read=0, cache_write=0, thinking=300),
            id="more reasoning than completion",
        ),
        pytest.param(
            {"prompt_tokens": 10, "total_tokens": 15},
            Usage(input=10, output=5, cache_read=0, cache_write=0),
            id="the total without the completion",
        ),
    ],
)
def test_the_usage_of_chat_completions_is_read(counts: Any, usage: Usage) -> None:
    assert Usage.from_openai(counts) == usage


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        pytest.param({"input_tokens": 3, "output_tokens": 0}, Usage(input=3, output=0), id="plain"),
        pytest.param(
            {
                "input_tokens": 1,
                "cache_read_input_tokens": 2,
                "cache_creation_input_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
                "output_tokens": 5,
                "output_tokens_details": {"thinking_tokens": 6},
            },
            Usage(input=1, cache_read=2, cache_write=7, cache_write_1h=4, output=5, thinking=6),
            id="everything",
        ),
        pytest.param(
            {"cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}},
            Usage(cache_write=7, cache_write_1h=4),
            id="written by lifetime alone",
        ),
        pytest.param({"cache_creation": {"ephemeral_5m_input_tokens": 3}}, Usage(cache_write=3), id="for five minutes"),
        pytest.param({"cache_creation": {"other": 3}}, Usage(), id="for another time"),
        pytest.param(
            {"cache_creation_input_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 4}},
            Usage(cache_write=2, cache_write_1h=2),
            id="a part larger than the whole",
        ),
        pytest.param(None, Usage(), id="nothing"),
    ],
)
def test_the_usage_of_a_message_is_read(counts: Any, usage: Usage) -> None:
    assert Usage.from_anthropic(counts) == usage


@pytest.mark.parametrize("value", HOSTILE)
def test_an_implausible_count_is_not_reported(value: object) -> None:
    openai = {
        "prompt_tokens": value,
        "completion_tokens": value,
        "completion_tokens_details": {"reasoning_tokens": value},
    }
    anthropic = {"input_tokens": value, "output_tokens": value, "cache_creation": value, "output_tokens_details": value}

    assert Usage.from_openai(openai) == Usage()
    assert Usage.from_anthropic(anthropic) == Usage()


@pytest.mark.parametrize("value", HOSTILE)
def test_a_detail_that_is_no_count_is_left_out(value: object) -> None:
    details = {"cached_tokens": value, "cache_write_tokens": value}

    usage = Usage.from_openai({"prompt_tokens": 5, "prompt_cache_hit_tokens": value, "prompt_tokens_details": details})

    assert usage == Usage(input=5, cache_read=0, cache_write=0)


def test_prompt_tokens_contain_the_cached_ones() -> None:
    usage = Usage(input=10, cache_read=200, cache_write=30, cache_write_1h=30, output=5, thinking=2)

    assert usage.openai() == {
        "prompt_tokens": 240,
        "completion_tokens": 5,
        "total_tokens": 245,
        "prompt_tokens_details": {"cached_tokens": 200, "cache_write_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assert usage.anthropic() == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 200,
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 2},
    }


def test_both_directions_are_inverse() -> None:
    usage = Usage(input=10, cache_read=200, cache_write=30, output=5, thinking=2)

    assert Usage.from_openai(usage.openai()) == usage
    assert Usage.from_anthropic(usage.anthropic()) == usage


@pytest.mark.parametrize("thinking", [None, 0])
def test_an_unreported_count_is_zero_and_without_details(thinking: int | None) -> None:
    usage = Usage(thinking=thinking)

    assert usage.openai() == {
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "total_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    }
    assert usage.anthropic() == {
        "input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 0,
    }


@pytest.mark.parametrize(
    ("known", "later", "merged"),
    [
        pytest.param(5, 7, 7, id="a later count holds"),
        pytest.param(5, 3, 3, id="even a smaller one"),
        pytest.param(5, 0, 5, id="a zero erases nothing"),
        pytest.param(5, None, 5, id="nothing erases nothing"),
        pytest.param(None, 0, 0, id="a zero is better than nothing"),
        pytest.param(0, 4, 4, id="a count is better than a zero"),
        pytest.param(None, None, None, id="nothing at all"),
    ],
)
def test_later_counts_are_merged(known: int | None, later: int | None, merged: int | None) -> None:
    assert Usage(output=known).merged(Usage(output=later)) == Usage(output=merged)
    assert Usage(cache_write_1h=known).merged(Usage(cache_write_1h=later)) == Usage(cache_write_1h=merged)


@pytest.mark.parametrize(
    ("usage", "completed"),
    [
        pytest.param(Usage(), Usage(input=10, output=20), id="nothing known"),
        pytest.param(
            Usage(input=4, output=1, cache_read=3), Usage(input=4, output=20, cache_read=3), id="a placeholder"
        ),
        pytest.param(Usage(input=0, output=50), Usage(input=0, output=50), id="more than estimated"),
    ],
)
def test_an_estimate_completes_the_usage_of_an_incomplete_response(usage: Usage, completed: Usage) -> None:
    assert usage.completed_by(Usage(input=10, output=20)) == completed


def test_an_estimate_of_nothing_completes_nothing() -> None:
    assert Usage().completed_by(Usage()) == Usage(output=0)


def test_what_was_thought_is_known_without_a_prompt_count() -> None:
    counts = {"completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 3}}

    assert Usage.from_openai(counts) == Usage(output=7, thinking=3)


COUNTS = {"prompt_tokens": 7, "completion_tokens": 3}


@pytest.mark.parametrize(
    "chunk",
    [
        {"usage": COUNTS, "choices": []},
        {"choices": [{"index": 0, "delta": {}, "usage": COUNTS}]},
        {"choices": [{"index": 0, "delta": {}, "usage": None}], "x_groq": {"id": "r", "usage": COUNTS}},
        {"choices": None, "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3}},
        {"choices": [{"index": 0}], "timings": {"prompt_n": 7, "predicted_n": 3}},
    ],
)
def test_the_usage_is_found_wherever_a_provider_puts_it(chunk: Any) -> None:
    usage = Usage.from_openai(find_usage(chunk))

    assert (usage.input, usage.output) == (7, 3)


@pytest.mark.parametrize("chunk", [{}, {"choices": [None, {"usage": 7}]}, {"x_groq": 1, "timings": []}])
def test_a_chunk_without_usage_has_none(chunk: Any) -> None:
    assert find_usage(chunk) is None


def test_timings_count_the_cached_prompt_separately() -> None:
    timings = {"cache_n": 236, "prompt_n": 1, "predicted_n": 35}

    assert Usage.from_openai(find_usage({"timings": timings})) == Usage(
        input=1, output=35, cache_read=236, cache_write=0
    )


@pytest.mark.parametrize(
    ("known", "later", "merged"),
    [
        pytest.param(
            Usage(input=8834, output=0),
            Usage(input=0, cache_read=8834, cache_write=0, output=5),
            Usage(input=0, cache_read=8834, cache_write=0, output=5),
            id="moved to the cache",
        ),
        pytest.param(
            Usage(input=3604),
            Usage(input=0, cache_write=3604, output=5),
            Usage(input=0, cache_write=3604, output=5),
            id="written to the cache",
        ),
        pytest.param(
            Usage(input=10, cache_read=90),
            Usage(input=0, cache_read=90, output=5),
            Usage(input=10, cache_read=90, output=5),
            id="an omission beside known cache counts",
        ),
    ],
)
def test_a_later_input_of_zero_needs_new_cache_counts(known: Usage, later: Usage, merged: Usage) -> None:
    assert known.merged(later) == merged


def test_counts_of_chat_completions_are_replaced_together() -> None:
    first = Usage.from_openai({"prompt_tokens": 100, "completion_tokens": 1, "cached_tokens": 80})
    later = Usage.from_openai({"prompt_tokens": 100, "completion_tokens": 5})

    assert first.replaced(later) == Usage(input=100, output=5, cache_read=0, cache_write=0)
    assert first.replaced(Usage.from_openai({"prompt_tokens": 0, "completion_tokens": 0})) == first
    assert Usage().replaced(later) == later
