"""Responses of the gateway, read by the official SDKs of Anthropic and OpenAI."""

import json
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import openai

from tests.support.gateway import ApiResponse


def message_of(response: ApiResponse, *, is_streamed: bool) -> Any:
    """Return the message that the Anthropic SDK reads, as a dict; its error as text if it cannot."""

    def respond(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(response.status, headers=response.headers, content=response.body)

    http_client = httpx2.Client(transport=httpx2.MockTransport(respond))
    request: Any = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
    with anthropic.Anthropic(api_key="-", max_retries=0, http_client=http_client) as client:
        try:
            if not is_streamed:
                return client.messages.create(**request).to_dict()
            with client.messages.stream(**request) as stream:
                return stream.get_final_message().to_dict()
        except Exception as error:  # of any kind: a client has no message then
            return f"{type(error).__name__}: {error}"


@dataclass(kw_only=True)
class Chunks:
    """The sum of the chunks that the OpenAI SDK reads."""

    text: str = ""
    think: str = ""
    calls: list[dict[str, str]] = field(default_factory=list)
    finish: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    done: bool = False
    """The stream ended with `[DONE]`."""
    error: str = ""

    def add(self, chunk: Any) -> None:
        if chunk.usage is not None:
            self.usage = chunk.usage.to_dict()
        for choice in chunk.choices:
            self.finish = choice.finish_reason or self.finish
            self.text += choice.delta.content or ""
            self.think += getattr(choice.delta, "reasoning_content", None) or ""
            for call in choice.delta.tool_calls or []:
                if call.index == len(self.calls):
                    self.calls.append({"id": call.id, "name": call.function.name, "args": ""})
                self.calls[call.index]["args"] += call.function.arguments or ""


def chunks_of(response: ApiResponse) -> Chunks:
    """Return the sum of a stream of the envelope API."""
    chunks = Chunks()
    with _openai_client(response.status, response.headers, response.body) as client:
        try:
            for chunk in client.chat.completions.create(model="m", messages=[], stream=True):
                chunks.add(chunk)
        except openai.OpenAIError as error:
            chunks.error = str(error)
    chunks.done = response.body.endswith(b"data: [DONE]\n\n") and not chunks.error
    return chunks


def completion_of(data: Any) -> Any:
    """Return the completion inside an envelope, as the OpenAI SDK reads it."""
    with _openai_client(200, {"content-type": "application/json"}, json.dumps(data).encode()) as client:
        return client.chat.completions.create(model="m", messages=[]).to_dict()


def _openai_client(status: int, headers: dict[str, str], body: bytes) -> openai.OpenAI:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, headers=headers, content=body))
    return openai.OpenAI(api_key="-", max_retries=0, http_client=httpx2.Client(transport=transport))
