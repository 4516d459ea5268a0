"""Errors of requests that exceed a model's context, in the words of each provider."""

import pytest

from messages_api.backend.protocol.error_mapping import MappedError, map_openai_error
from messages_api.backend.protocol.overflow import overflow_message


@pytest.mark.parametrize(
    ("message", "tokens", "limit"),
    [
        (
            "This model's maximum context length is 4097 tokens. However, you requested 5000 tokens (1000 in the "
            "messages, 4000 in the completion). Please reduce the length of the messages or completion.",
            5000,
            4097,
        ),
        (
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens.",
            8545,
            8192,
        ),
        (
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 284283 tokens.",
            284283,
            272000,
        ),
        (
            "You passed 99073 input tokens and requested 32000 output tokens. However, the model's context length is "
            "only 131072 tokens, resulting in a maximum input length of 99072 tokens.",
            99073,
            99072,
        ),
        (
            "The decoder prompt (length 9000) is longer than the maximum model length of 8192. Make sure that",
            9000,
            8192,
        ),
        (
            "This model's maximum context length is 196608 tokens. However, you requested 0 output tokens and your "
            "prompt contains at least 196609 input tokens, for a total of at least 196609 tokens.",
            196609,
            196608,
        ),
        ("The input (9000 tokens) is longer than the model's context length (8192 tokens).", 9000, 8192),
        (
            "request (24071 tokens) exceeds the available context size (8192 tokens), try increasing it",
            24071,
            8192,
        ),
        (
            "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with "
            "context length of only 8192 tokens, which is not enough.",
            9000,
            8192,
        ),
        (
            "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
            1196265,
            1048575,
        ),
        ("Invalid request: Your request exceeded model token limit: 262144 (requested: 284283)", 284283, 262144),
        (
            "This model's maximum prompt length is 131072 but the request contains 200123 tokens.",
            200123,
            131072,
        ),
        (
            "Prompt contains 65673 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            65673,
            32768,
        ),
        (
            "This endpoint's maximum context length is 131072 tokens. However, you requested about 140000 tokens "
            "(130000 of text input, 2000 of tool input, 8000 in the output).",
            140000,
            131072,
        ),
        ("prompt token count of 135000 exceeds the limit of 128000", 135000, 128000),
        (
            "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
            9000,
            8192,
        ),
        ("The prompt is too long: 9000, model maximum context length: 8191", 9000, 8191),
        ("prompt is too long: 205,000 tokens > 200,000 maximum", 205000, 200000),
    ],
)
def test_the_numbers_are_those_that_the_wording_names(message: str, tokens: int, limit: int) -> None:
    assert overflow_message(message, {}, []) == f"prompt is too long: {tokens} tokens > {limit} maximum"


@pytest.mark.parametrize(
    "message",
    [
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        "The number of tokens to keep from the initial prompt is greater than the context length.",
        "input length exceeds the context length",
        "invalid params, context window exceeds limit",
        "Prompt exceeds max length",
        "Range of input length should be [1, 30720]",
        "Input is too long for requested model.",
        "the request exceeds the available context size, try increasing it",
        "The input token count exceeds the maximum number of tokens allowed 1048576.",
        "prompt too long; exceeded max context length by 123 tokens",
    ],
)
def test_an_overflow_without_two_numbers_keeps_the_words(message: str) -> None:
    assert overflow_message(message, {}, []) == f"prompt is too long: {message}"


@pytest.mark.parametrize(
    ("message", "prompt", "output", "limit"),
    [
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 16384 "
            "tokens and your request has 1200 input tokens (32000 > 16384 - 1200).",
            1200,
            32000,
            16384,
        ),
        (
            "Requested token count exceeds the model's maximum context length of 32768 tokens. You requested a total "
            "of 49459 tokens: 17459 tokens from the input messages and 32000 tokens for the completion.",
            17459,
            32000,
            32768,
        ),
        (
            "This model's maximum context length is 8192 tokens. However, you requested 200 output tokens and your "
            "prompt contains at least 8000 input tokens, for a total of at least 8200 tokens.",
            8000,
            200,
            8192,
        ),
        (
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 3000 `inputs` tokens "
            "and 2000 `max_new_tokens`",
            3000,
            2000,
            4097,
        ),
    ],
)
def test_a_prompt_that_fits_is_not_too_long(message: str, prompt: int, output: int, limit: int) -> None:
    assert overflow_message(message, {}, []) == (
        f"input length and `max_tokens` exceed context limit: {prompt} + {output} > {limit}, "
        "decrease input length or `max_tokens` and try again"
    )


def test_a_prompt_larger_than_the_context_is_too_long_with_any_output() -> None:
    message = (
        "'max_tokens' or 'max_completion_tokens' is too large: 100. This model's maximum context length is 4096 tokens "
        "and your request has 9000 input tokens (100 > 4096 - 9000)."
    )

    assert overflow_message(message, {}, []) == "prompt is too long: 9000 tokens > 4096 maximum"


def test_an_output_limit_is_named_as_anthropic_does() -> None:
    message = "max_tokens is too large: 32000. This model supports at most 16384 completion tokens."

    assert overflow_message(message, {}, []) == (
        "max_tokens: 32000 > 16384, which is the maximum allowed number of output tokens for this model"
    )


@pytest.mark.parametrize(
    "message",
    [
        "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 7000",
        "`max_tokens` must be less than or equal to `8192`, less than the `context_window` for this model",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
        "model m is not found",
    ],
)
def test_other_errors_are_no_overflow(message: str) -> None:
    assert overflow_message(message, {}, []) is None


SGLANG = "The input (9000 tokens) is longer than the model's context length (8192 tokens)."


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"object": "error", "message": SGLANG, "type": "BadRequestError", "code": 400}),
        (400, {"error": {"message": "Provider returned error", "metadata": {"raw": SGLANG}}}),
        (400, {"error": {"message": f'{{"error":{{"message":"{SGLANG}"}}}}'}}),
        (200, {"error": SGLANG}),
        (200, {"error": {"message": SGLANG, "type": "server_error"}}),
    ],
)
def test_an_overflow_is_found_in_any_error(status: int, body: object) -> None:
    assert map_openai_error(status, body) == MappedError(
        400, "invalid_request_error", "prompt is too long: 9000 tokens > 8192 maximum"
    )
