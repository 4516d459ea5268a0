"""Token counts as servers of the OpenAI dialect spell them."""

from collections.abc import Callable
from random import Random
from typing import Any

from tests.differential.intended import Counts
from tests.differential.randomness import chance

Spelling = Callable[[Counts], dict[str, Any]]


def counts(random: Random) -> Counts:
    cached, written, thinking = (random.choice((0, 0, random.randrange(1, 5000))) for _ in range(3))
    return Counts(
        input=random.randrange(0 if cached else 1, 9000),
        cache_read=cached,
        cache_write=written,
        output=thinking + random.randrange(1, 3000),
        thinking=thinking,
    )


def spelling_for(random: Random, counts: Counts) -> Spelling:
    """Return a spelling that has a place for each of these counts."""
    fitting = [_openai]
    if not counts.cache_write:
        fitting += [_xai, _gemini]
        if not counts.thinking:
            fitting += [_deepseek, _kimi]
    if not counts.thinking:
        fitting += [_litellm, _anthropic]
        if not counts.cache_write and not counts.cache_read:
            fitting += [_plain, _plain]
    return random.choice(fitting)


def partial(random: Random, counts: Counts) -> Counts:
    """Return the counts in the middle of a response."""
    thinking = random.randrange(counts.thinking + 1)
    return Counts(
        input=counts.input,
        cache_read=counts.cache_read,
        cache_write=counts.cache_write,
        output=thinking + random.randrange(counts.output - counts.thinking),
        thinking=thinking,
    )


def placed(random: Random, usage: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a chunk with its usage, where some provider puts it."""
    if "promptTokenCount" in usage:
        return {"usageMetadata": usage}
    if chance(random, 0.1):
        return {"usage": None, "x_groq": {"id": "req_1", "usage": usage}}
    return {"usage": usage}


def _openai(counts: Counts) -> dict[str, Any]:
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.output,
        "total_tokens": counts.prompt + counts.output,
        "prompt_tokens_details": {
            "cached_tokens": counts.cache_read,
            "cache_write_tokens": counts.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {"reasoning_tokens": counts.thinking, "audio_tokens": 0},
    }


def _plain(counts: Counts) -> dict[str, Any]:
    total = counts.prompt + counts.output
    return {
        "prompt_tokens": counts.prompt,
        "total_tokens": total,
        "completion_tokens": counts.output,
        "prompt_tokens_details": None,
    }


def _deepseek(counts: Counts) -> dict[str, Any]:
    hit = counts.cache_read
    return _plain(counts) | {"prompt_cache_hit_tokens": hit, "prompt_cache_miss_tokens": counts.prompt - hit}


def _kimi(counts: Counts) -> dict[str, Any]:
    return _plain(counts) | {"cached_tokens": counts.cache_read}


def _xai(counts: Counts) -> dict[str, Any]:
    """The completion does not contain the reasoning, the total does."""
    return _openai(counts) | {"completion_tokens": counts.output - counts.thinking}


def _gemini(counts: Counts) -> dict[str, Any]:
    return {
        "promptTokenCount": counts.prompt,
        "candidatesTokenCount": counts.output - counts.thinking,
        "thoughtsTokenCount": counts.thinking,
        "cachedContentTokenCount": counts.cache_read,
        "totalTokenCount": counts.prompt + counts.output,
    }


def _litellm(counts: Counts) -> dict[str, Any]:
    return _plain(counts) | {
        "cache_read_input_tokens": counts.cache_read,
        "cache_creation_input_tokens": counts.cache_write,
    }


def _anthropic(counts: Counts) -> dict[str, Any]:
    return {
        "input_tokens": counts.input,
        "output_tokens": counts.output,
        "cache_read_input_tokens": counts.cache_read,
        "cache_creation_input_tokens": counts.cache_write,
    }
