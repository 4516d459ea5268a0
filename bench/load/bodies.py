"""Request bodies in each API format, and the content of the mock upstream's responses."""

import json
from typing import Any

FORMATS = ("envelope", "anthropic", "openai")
"""The envelope API, Anthropic's Messages API, and OpenAI's chat completions, which some peers serve fastest."""

TEXT = (
    "The quick brown fox jumps over the lazy dog while the gateway relays this response; "
    "it is about as long as a short reply of a chat model would be, no more. "
) * 2
INPUT_TOKENS, OUTPUT_TOKENS = 123, 45
END_MARK = {"envelope": b"data: [DONE]", "openai": b"data: [DONE]", "anthropic": b"event: message_stop"}

SYSTEM = "You are a careful assistant of a software team. Respond in short sentences. " * 3
MESSAGES = [
    {"role": "user", "content": "Hello, can you explain what a gateway is? " * 3},
    {"role": "assistant", "content": "A gateway is a service between clients and models. " * 4},
    {"role": "user", "content": "And why would one use it in front of several model providers? " * 3},
]


def request_body(api_format: str, model: str, *, stream: bool = False, size: int = 0) -> bytes:
    """Return a body of about 1 KB, or of about `size` bytes: then one message is a long text."""
    body: dict[str, Any] = {"model": model, "max_tokens": 256, "temperature": 0.7}
    messages = [*MESSAGES[:-1], {"role": "user", "content": _long_text(size)}] if size else MESSAGES
    if api_format == "openai":
        body["messages"] = [{"role": "system", "content": SYSTEM}, *messages]
    else:
        body |= {"system": SYSTEM, "messages": messages}
    if stream:
        body["stream"] = True
        if api_format == "openai":
            body["stream_options"] = {"include_usage": True}
    return json.dumps(body).encode()


def _long_text(size: int) -> str:
    sentence = str(MESSAGES[-1]["content"])
    return (sentence * (size // len(sentence) + 1))[:size]
