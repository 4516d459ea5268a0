"""The SDK's own recorded streams give the same message directly and through the gateway."""

import json
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.support.gateway import Gateway
from tests.upstream import Head, Send

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.txt"))
BETA_ONLY = ("compaction_response", "fallback_response")
"""Streams with blocks that only the beta interface of the SDK reads."""


def model_of(stream: Path) -> str:
    lines = stream.read_text().split("\n")
    events = [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]
    model: str = next(event["message"]["model"] for event in events if event["type"] == "message_start")
    return model


def read(client: anthropic.Anthropic, interface: str, model: str) -> Any:
    """Return the message that the SDK adds up, or the text of its error."""
    messages: Any = client.beta.messages if interface == "beta.messages" else client.messages
    try:
        with messages.stream(model=model, max_tokens=64, messages=[{"role": "user", "content": "Hi"}]) as stream:
            return stream.get_final_message().to_dict()
    except ValueError as error:
        return str(error)


def directly(stream: Path, interface: str) -> Any:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=stream.read_bytes()))
    with anthropic.Anthropic(api_key="-", max_retries=0, http_client=httpx2.Client(transport=transport)) as client:
        return read(client, interface, model_of(stream))


def through(gateway: Gateway, stream: Path, interface: str) -> Any:
    with anthropic.Anthropic(base_url=f"{gateway.url}/api/anthropic", api_key=gateway.raw_key, max_retries=0) as client:
        return read(client, interface, model_of(stream))


def test_all_of_the_streams_are_here() -> None:
    assert len(RECORDED) == 16


@pytest.mark.parametrize("stream", RECORDED, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")
def test_a_recorded_stream_means_the_same_through_the_gateway(gateway: Gateway, stream: Path) -> None:
    gateway.configure_upstream("anthropic")
    body = stream.read_bytes()
    gateway.upstream.queue(Head(200, {"content-type": "text/event-stream"}, framing=len(body)), Send(body), times=None)

    interfaces = ["beta.messages"] if stream.stem in BETA_ONLY else ["messages", "beta.messages"]
    for interface in interfaces:
        assert through(gateway, stream, interface) == directly(stream, interface)

    request = {"model": model_of(stream), "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
    response = gateway.post("/api/v1/messages", request | {"stream": True})
    assert _envelope_content(response.body) == _content_of(stream)
    assert {record.status for record in gateway.settled(len(interfaces) + 1)} == {"completed"}


def _content_of(stream: Path) -> tuple[str, list[tuple[str, str]]]:
    """Return the text, and the name and arguments of each tool call, of the events of a stream."""
    text = ""
    calls: dict[int, list[str]] = {}
    for line in stream.read_text().split("\n"):
        event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
        match event:
            case {"type": "content_block_start", "content_block": {"type": "tool_use", "name": name}}:
                calls[event["index"]] = [name, ""]
            case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": piece}}:
                text += piece
            case {"type": "content_block_delta", "delta": {"partial_json": piece}} if event["index"] in calls:
                calls[event["index"]][1] += piece
    return text, [(name, arguments) for name, arguments in calls.values()]


def _envelope_content(body: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Return the text, and the name and arguments of each tool call, as the OpenAI SDK reads them."""
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=body))
    text = ""
    names: list[str] = []
    arguments: list[str] = []
    with openai.OpenAI(api_key="-", max_retries=0, http_client=httpx2.Client(transport=transport)) as client:
        for chunk in client.chat.completions.create(model="m", messages=[], stream=True):
            delta = chunk.choices[0].delta
            text += delta.content or ""
            for fragment in delta.tool_calls or []:
                assert fragment.function is not None
                if fragment.index == len(names):
                    names.append(fragment.function.name or "")
                    arguments.append("")
                arguments[fragment.index] += fragment.function.arguments or ""
    return text, list(zip(names, arguments, strict=True))
