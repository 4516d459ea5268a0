"""What a caller got: read by the rules of its lane, and what was wrong with it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.gateway import Answer

LINE_END = re.compile(r"\r\n|\r|\n")
LETTERS = {
    "message_start": "S",
    "content_block_start": "(",
    "content_block_delta": ".",
    "content_block_stop": ")",
    "message_delta": "D",
    "message_stop": "E",
    "error": "!",
}
"""The events that have a place in Anthropic's grammar. Pings and unknown ones may stand anywhere."""
WHOLE = re.compile(r"S(\(\.*\))*D+E")
BEGINNING = re.compile(r"(S(\(\.*\))*(\(\.*|D*))?!")
"""As much of a stream as there was, and an error."""


@dataclass
class Seen:
    """The answer to one call."""

    outcome: str = ""
    """As in `Expected`."""
    text: str = ""
    arguments: str = ""
    message: str = ""
    """What an error says."""
    model: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    problems: list[str] = field(default_factory=list)
    """What is not valid in this lane."""


def read(answer: Answer, *, api_format: str, is_streamed: bool) -> Seen:
    """Read an answer. Whatever is not valid in its lane stands in `problems`."""
    seen = Seen(headers=answer.headers, body=answer.body)
    try:
        if answer.status != 200:
            _failure(seen, answer, api_format)
        elif is_streamed:
            _expect(answer.headers.get("content-type", "").startswith("text/event-stream"), "no event stream")
            {"envelope": _chunks, "anthropic": _events}[api_format](seen, answer.body)
        else:
            {"envelope": _envelope, "anthropic": _message}[api_format](seen, json.loads(answer.body))
    except (AssertionError, ValueError, KeyError, TypeError, IndexError) as error:
        seen.problems.append(f"not valid here: {type(error).__name__} {error} in {answer.body[-300:]!r}")
    return seen


def _expect(condition: object, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _failure(seen: Seen, answer: Answer, api_format: str) -> None:
    body = answer.json()
    if api_format == "envelope":
        _expect(list(body) == ["success", "code", "message", "data"], "not the four keys")
        _expect((body["success"], body["code"]) == (False, str(answer.status)), "code and status differ")
        error, request_id = body["data"]["error"], body["data"]["request_id"]
        _expect(body["message"] == error["message"], "two messages")
    else:
        _expect((sorted(body), body["type"]) == (["error", "request_id", "type"], "error"), "no error object")
        error, request_id = body["error"], body["request_id"]
    _expect(request_id == answer.headers["request-id"], "another request id")
    seen.outcome = f"{answer.status} {error['type']}"
    seen.message = error["message"]


def _envelope(seen: Seen, body: dict[str, Any]) -> None:
    _expect(list(body) == ["success", "code", "message", "data"], "not the four keys")
    _expect((body["success"], body["code"], body["message"]) == (True, "200", "successful"), "no success")
    completion = body["data"]
    (choice,) = completion["choices"]
    _expect(completion["object"] == "chat.completion" and choice["finish_reason"], "no completion")
    _expect(_adds_up(completion["usage"]), "usage does not add up")
    seen.outcome, seen.model = "200 whole", completion["model"]
    seen.text = choice["message"]["content"] or ""
    seen.arguments = "".join(call["function"]["arguments"] for call in choice["message"].get("tool_calls", ()))


def _message(seen: Seen, message: dict[str, Any]) -> None:
    _expect((message["type"], message["role"]) == ("message", "assistant"), "no Message")
    _expect(message["id"] and message["stop_reason"] and isinstance(message["usage"], dict), "half a Message")
    seen.outcome, seen.model = "200 whole", message["model"]
    for block in message["content"]:
        if block["type"] == "text":
            seen.text += block["text"]
        elif block["type"] == "tool_use":
            seen.arguments += json.dumps(block["input"])


def _adds_up(usage: dict[str, Any]) -> bool:
    return bool(usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"])


# ---- streams


def _frames(body: bytes) -> Iterator[tuple[str | None, str]]:
    """The name and the data of each event, as the standard reads any stream: the bytes of an upstream may be odd."""
    name: str | None = None
    data: list[str] = []
    *lines, rest = LINE_END.split(body.decode().removeprefix("\ufeff"))
    for line in lines:
        if not line:
            if data:
                yield name, "\n".join(data)
            name, data = None, []
            continue
        label, _, value = line.partition(":")
        if label == "event":
            name = value.removeprefix(" ")
        elif label == "data":
            data.append(value.removeprefix(" "))
    _expect(not rest and not data, "the last event has no end")


def _own_frames(body: bytes) -> Iterator[str]:
    """The data of each event of the envelope lane, which has nothing but `data:` lines and comments."""
    _expect(body.endswith(b"\n\n"), "the last event has no end")
    for frame in body.decode().removesuffix("\n\n").split("\n\n"):
        _expect(frame.startswith(("data: ", ": ")) and len(frame.splitlines()) == 1, f"a line {frame!r}")
        if frame.startswith("data: "):
            yield frame.removeprefix("data: ")


def _chunks(seen: Seen, body: bytes) -> None:
    datas = list(_own_frames(body))
    is_whole = datas[-1] == "[DONE]"
    chunks = [json.loads(data) for data in (datas[:-1] if is_whole else datas)]
    if not is_whole:
        error = chunks.pop()
        _expect(list(error) == ["error"], "neither [DONE] nor an error at the end")
        _expect(list(error["error"]) == ["type", "message", "param", "code"], "not an error line")
        seen.outcome, seen.message = f"error {error['error']['type']}", error["error"]["message"]
    _expect(len({(chunk["id"], chunk["model"], chunk["object"]) for chunk in chunks}) <= 1, "chunks of several answers")
    for chunk in chunks:
        (choice,) = chunk["choices"]
        seen.model = chunk["model"]
        seen.text += choice["delta"].get("content") or ""
        for call in choice["delta"].get("tool_calls", ()):
            seen.arguments += call["function"]["arguments"]
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    if is_whole:
        seen.outcome = "200 whole"
        _expect(finishes[-1] and not any(finishes[:-1]), "not one finish reason, at the end")
        _expect(_adds_up(chunks[-1]["usage"]), "usage does not add up")
    else:
        _expect(not any(finishes), "an end was made up")


def _events(seen: Seen, body: bytes) -> None:
    events = []
    for name, data in _frames(body):
        event = json.loads(data)
        _expect(name == event["type"], f"an event named {name!r} of type {event['type']!r}")
        events.append(event)
    known = [event for event in events if event["type"] in LETTERS]
    spelled = "".join(LETTERS[event["type"]] for event in known)
    _expect(WHOLE.fullmatch(spelled) or BEGINNING.fullmatch(spelled), f"not Anthropic's order: {spelled[-80:]}")
    starts = [event["index"] for event in known if event["type"] == "content_block_start"]
    _expect(starts == list(range(len(starts))), f"blocks {starts}")
    for event in known:
        if event["type"] == "message_start":
            seen.model = event["message"]["model"]
            _expect(isinstance(event["message"].get("usage"), dict), "no usage at the start")
        elif event["type"] == "content_block_delta":
            seen.text += event["delta"].get("text", "")
            seen.arguments += event["delta"].get("partial_json", "")
        elif event["type"] == "message_delta":
            _expect("output_tokens" in event.get("usage", {}), "no usage at the end")
    last = events[-1]
    if last["type"] == "error":
        seen.outcome, seen.message = f"error {last['error']['type']}", last["error"]["message"]
    else:
        _expect(last["type"] == "message_stop", "something follows the end")
        seen.outcome = "200 whole"
