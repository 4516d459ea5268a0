"""Errors of requests that exceed a model's context, recognized by the wording of each provider.

Clients compact a conversation, or ask for a shorter response, when they read Anthropic's words. The numbers are those
that a wording itself calls the prompt and the limit, never the larger and the smaller one.
"""

import re

from messages_api.backend.protocol.types import JSONObject

_NUMBER = r"[0-9][0-9,]{0,14}"


def _wordings(*wordings: str) -> tuple[re.Pattern[str], ...]:
    """Compile wordings. `{tokens}`, `{input}`, `{output}` and `{limit}` are numbers; ` … ` is any text up to 200."""
    compiled = []
    for wording in wordings:
        pattern = wording.replace(" … ", r".{0,200}?")
        for name in ("tokens", "input", "output", "limit"):
            pattern = pattern.replace("{" + name + "}", f"(?P<{name}>{_NUMBER})")
        compiled.append(re.compile(pattern, re.IGNORECASE | re.DOTALL))
    return tuple(compiled)


_OUTPUT_TOO_LARGE = _wordings(
    # vLLM
    r"too large: {output}\. This model's maximum context length is {limit} tokens and your request has {input} input",
    # SGLang
    r"context length of {limit} tokens … {input} tokens from the input(?: messages)? and {output} tokens for the compl",
    # vLLM, NVIDIA NIM
    r"length is {limit} tokens … requested {output} output tokens and your prompt contains (?:at least )?{input} input",
    # Text Generation Inference
    r"must be <= {limit}\. Given: {input} `inputs` tokens and {output} `max_new_tokens`",
    # Anthropic
    r"exceed context limit: {input} \+ {output} > {limit}",
)
"""The prompt fits, but not together with `max_tokens`."""

_OUTPUT_LIMIT = _wordings(
    # OpenAI
    r"max(?:_completion)?_tokens is too large: {output}\. This model supports at most {limit} completion tokens",
    # Anthropic
    r"max_tokens: {output} > {limit}, which is the maximum allowed number of output tokens",
)

_PROMPT_TOO_LONG = _wordings(
    # Anthropic, Fireworks
    r"prompt is too long: {tokens} tokens > {limit}",
    r"prompt is too long: {tokens}, model maximum context length: {limit}",
    # NVIDIA NIM, vLLM, OpenAI
    r"context length is {limit} tokens … prompt contains (?:at least )?{tokens} input tokens",
    r"context length is {limit} tokens … (?:your request has|resulted in) {tokens}(?: input)? tokens",
    # vLLM
    r"passed {tokens} input tokens … maximum input length of {limit} tokens",
    r"passed {tokens} input tokens … context length is only {limit} tokens",
    r"prompt \(length {tokens}\) is longer than the maximum model length of {limit}",
    # OpenAI, vLLM, DeepSeek, OpenRouter
    r"context length is {limit} tokens … requested (?:about )?{tokens} tokens",
    r"limit of {limit} tokens … resulted in {tokens} tokens",
    # SGLang
    r"input \({tokens} tokens\) is longer than the model's context length \({limit} tokens",
    r"input length \({tokens} tokens\) exceeds the maximum allowed length \({limit} tokens",
    # llama.cpp
    r"request \({tokens} tokens\) exceeds the available context size \({limit} tokens",
    # LM Studio
    r"first {tokens} tokens when context … context length of only {limit}",
    # Gemini
    r"token count \({tokens}\) exceeds the maximum number of tokens allowed \({limit}\)",
    # Kimi
    r"token limit: {limit} \(requested: {tokens}\)",
    # xAI
    r"maximum prompt length is {limit} but the request contains {tokens} tokens",
    # Mistral
    r"contains {tokens} tokens … too large for model with {limit} maximum context length",
    # GitHub Copilot, Cerebras, Text Generation Inference, Cohere
    r"token count of {tokens} exceeds the limit of {limit}",
    r"current length is {tokens} while limit is {limit}",
    r"less than {limit} tokens\. Given: {tokens}",
    r"cannot exceed {limit} … received {tokens}",
)

_WITHOUT_NUMBERS = re.compile(
    r"maximum context length|context window|context[ _]length[ _]exceeded|exceeds? (?:the )?(?:model'?s? )?"
    r"(?:maximum )?(?:available )?context|too many (?:input )?tokens|(?:input|prompt) (?:is )?too long|longer than the "
    r"(?:model's )?(?:maximum )?(?:context|model) length|(?:greater|longer) than the context length|maximum prompt "
    r"length|exceeded max context length|exceeds the maximum number of tokens|exceeded model token limit"
    r"|prompt exceeds max(?:imum)? length|range of input length|too large for model with|context the overflows"
    r"|context size (?:has been )?exceeded|reduce the length of the (?:messages|input|prompt)",
    re.IGNORECASE,
)
_OTHER_LIMIT = re.compile(r"per (?:minute|day|hour)|\b[TR]P[MD]\b|rate.?limit|quota", re.IGNORECASE)
_MAX_LENGTH = 4000
"""Characters of a message that are searched."""
_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "model_max_prompt_tokens_exceeded"})


def overflow_message(message: str, error: JSONObject, codes: list[str]) -> str | None:
    """Return the error in Anthropic's words; None if it is about something else."""
    text = message[:_MAX_LENGTH]
    if _OTHER_LIMIT.search(text):
        return None
    if found := _numbers(_OUTPUT_TOO_LARGE, text):
        prompt, output, limit = found["input"], found["output"], found["limit"]
        if prompt > limit:
            return _too_long(prompt, limit)
        return (
            f"input length and `max_tokens` exceed context limit: {prompt} + {output} > {limit}, "
            "decrease input length or `max_tokens` and try again"
        )
    if found := _numbers(_OUTPUT_LIMIT, text):
        return (
            f"max_tokens: {found['output']} > {found['limit']}, which is the maximum allowed number of output tokens "
            "for this model"
        )
    prompt_tokens, context_size = error.get("n_prompt_tokens"), error.get("n_ctx")  # llama.cpp
    if type(prompt_tokens) is int and type(context_size) is int:
        return _too_long(prompt_tokens, context_size)
    found = _numbers(_PROMPT_TOO_LONG, text)
    if found and found["tokens"] > found["limit"]:
        return _too_long(found["tokens"], found["limit"])
    if found or not _CODES.isdisjoint(codes) or _WITHOUT_NUMBERS.search(text):
        return message if message.lower().startswith("prompt is too long") else f"prompt is too long: {message}"
    return None


def _too_long(tokens: int, limit: int) -> str:
    return f"prompt is too long: {tokens} tokens > {limit} maximum"


def _numbers(wordings: tuple[re.Pattern[str], ...], message: str) -> dict[str, int]:
    """Return the numbers of the first wording that a message has."""
    for wording in wordings:
        if found := wording.search(message):
            return {name: int(number.replace(",", "")) for name, number in found.groupdict().items()}
    return {}
