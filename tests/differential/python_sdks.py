"""The official Python SDKs as readers of a stream."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai

REQUEST: Any = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}


class PythonSDKs:
    """Both SDKs, each with one client for all streams: a client takes longer to make than a stream to read."""

    def __init__(self) -> None:
        self._writes: list[bytes] = []
        transport = httpx2.MockTransport(self._respond)
        self._http = httpx2.Client(transport=transport)
        self._anthropic = anthropic.Anthropic(api_key="-", max_retries=0, http_client=self._http)
        self._openai = openai.OpenAI(api_key="-", max_retries=0, http_client=self._http)

    def close(self) -> None:
        self._http.close()

    def read(self, api: str, writes: list[bytes], *, beta: bool = False, helper: bool = False) -> dict[str, Any]:
        """Return the reading of a stream, or `{"error": …}` for what the SDK raises."""
        self._writes = writes
        try:
            if api == "anthropic":
                return message_reading(self._message(beta=beta))
            return completion_reading(self._accumulated() if helper else self._completion())
        except Exception as error:  # of any kind: a client has no response then
            return {"error": f"{type(error).__name__}: {error}"}

    def _respond(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=_iterated(self._writes))

    def _message(self, *, beta: bool) -> dict[str, Any]:
        messages: Any = self._anthropic.beta.messages if beta else self._anthropic.messages
        with messages.stream(**REQUEST) as stream:
            message: dict[str, Any] = stream.get_final_message().to_dict()
        return message

    def _accumulated(self) -> dict[str, Any]:
        """Return the completion that the SDK's own helper adds up."""
        with self._openai.chat.completions.stream(model="m", messages=[]) as stream:
            return stream.get_final_completion().to_dict()

    def _completion(self) -> dict[str, Any]:
        """Return the completion that the chunks add up to, as most programs do it."""
        message: dict[str, Any] = {"content": "", "reasoning_content": "", "thinking_blocks": [], "tool_calls": []}
        finish, usage = None, None
        for chunk in self._openai.chat.completions.create(model="m", messages=[], stream=True):
            usage = chunk.usage.to_dict() if chunk.usage else usage
            (choice,) = chunk.choices
            finish = choice.finish_reason or finish
            message["content"] += choice.delta.content or ""
            message["reasoning_content"] += getattr(choice.delta, "reasoning_content", None) or ""
            message["thinking_blocks"] += getattr(choice.delta, "thinking_blocks", None) or []
            for fragment in choice.delta.tool_calls or []:
                assert fragment.function is not None
                if fragment.index == len(message["tool_calls"]):
                    function = {"name": fragment.function.name, "arguments": ""}
                    message["tool_calls"].append({"id": fragment.id, "function": function})
                message["tool_calls"][fragment.index]["function"]["arguments"] += fragment.function.arguments or ""
        return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}


def _iterated(writes: list[bytes]) -> Iterator[bytes]:
    yield from writes


def message_reading(message: dict[str, Any]) -> dict[str, Any]:
    """Return an SDK's message in the form of `Intended.message`."""
    usage = message["usage"]
    counts = [
        usage.get(f"{name}_tokens") or 0 for name in ("input", "cache_read_input", "cache_creation_input", "output")
    ]
    return {
        "content": [_plain(block) for block in message["content"]],
        "stop_reason": message["stop_reason"],
        "stop_sequence": message.get("stop_sequence"),
        "usage": [*counts, (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0],
    }


def completion_reading(completion: dict[str, Any]) -> dict[str, Any]:
    """Return an SDK's completion in the form of `Intended.completion`."""
    (choice,) = completion["choices"]
    message, usage = choice["message"], completion["usage"]
    prompt, output = usage["prompt_tokens_details"], usage.get("completion_tokens_details") or {}
    return {
        "text": message.get("content") or "",
        "thinking": message.get("reasoning_content") or "",
        "thinking_blocks": message.get("thinking_blocks") or [],
        "calls": [_call(call) for call in message.get("tool_calls") or []],
        "finish_reason": choice["finish_reason"],
        "usage": [
            *(usage[f"{name}_tokens"] for name in ("prompt", "completion", "total")),
            prompt["cached_tokens"],
            prompt["cache_write_tokens"],
            output.get("reasoning_tokens") or 0,
        ],
    }


def _call(call: dict[str, Any]) -> dict[str, Any]:
    arguments = call["function"]["arguments"]
    with contextlib.suppress(ValueError):  # a tool call that was cut: its text is compared
        arguments = json.loads(arguments)
    return {"id": call["id"], "name": call["function"]["name"], "input": arguments}


def _plain(block: dict[str, Any]) -> dict[str, Any]:
    """Return a block without the fields that have no value, which SDKs treat as absent."""
    return {
        name: value
        for name, value in block.items()
        if value is not None and not (name == "citations" and not value) and name != "parsed_output"
    }
