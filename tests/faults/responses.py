"""Reader of a client's response, with the violations of its API format."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.gateway import ApiResponse

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
"""The events of Anthropic's grammar. Pings and unknown events may occur anywhere."""
WHOLE = re.compile(r"S(\(\.*\))*D+E")
BEGINNING = re.compile(r"(S(\(\.*\))*(\(\.*|D*))?!")
"""The start of a stream, followed by an error."""


@dataclass
class ObservedResponse:
    """The response to one request."""

    outcome: str = ""
    """As in `Expected`."""
    text: str = ""
    arguments: str = ""
    message: str = ""
    """The message of an error."""
    model: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    problems: list[str] = field(default_factory=list)
    """Violations of the API format."""


def read(response: ApiResponse, *, api_format: str, is_streamed: bool) -> ObservedResponse:
    """Read a response and list all violations of its API format in `problems`."""
    observed = ObservedResponse(headers=response.headers, body=response.body)
    try:
        if response.status != 200:
            _error(observed, response, api_format)
        elif is_streamed:
            _expect(response.headers.get("content-type", "").startswith("text/event-stream"), "no event stream")
            {"envelope": _chunks, "anthropic": _events}[api_format](observed, response.body)
        else:
            {"envelope": _envelope, "anthropic": _message}[api_format](observed, json.loads(response.body))
    except (AssertionError, ValueError, KeyError, TypeError, IndexError) as error:
        observed.problems.append(f"not valid here: {type(error).__name__} {error} in {response.body[-300:]!r}")
    return observed


def _expect(condition: object, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _error(observed: ObservedResponse, response: ApiResponse, api_format: str) -> None:
    body = response.json()
    if api_format == "envelope":
        _expect(list(body) == ["success", "code", "message", "data"], "not the four keys of the envelope")
        _expect((body["success"], body["code"]) == (False, str(response.status)), "code and status differ")
        error, request_id = body["data"]["error"], body["data"]["request_id"]
        _expect(body["message"] == error["message"], "two messages")
    else:
        _expect((sorted(body), body["type"]) == (["error", "request_id", "type"], "error"), "no error object")
        error, request_id = body["error"], body["request_id"]
    _expect(request_id == response.headers["request-id"], "another request ID")
    observed.outcome = f"{response.status} {error['type']}"
    observed.message = error["message"]


def _envelope(observed: ObservedResponse, body: dict[str, Any]) -> None:
    _expect(list(body) == ["success", "code", "message", "data"], "not the four keys of the envelope")
    _expect((body["success"], body["code"], body["message"]) == (True, "200", "successful"), "no success")
    completion = body["data"]
    (choice,) = completion["choices"]
    _expect(completion["object"] == "chat.completion" and choice["finish_reason"], "no completion")
    _expect(_adds_up(completion["usage"]), "usage does not add up")
    observed.outcome, observed.model = "200 whole", completion["model"]
    observed.text = choice["message"]["content"] or ""
    observed.arguments = "".join(
        tool_call["function"]["arguments"] for tool_call in choice["message"].get("tool_calls", ())
    )


def _message(observed: ObservedResponse, message: dict[str, Any]) -> None:
    _expect((message["type"], message["role"]) == ("message", "assistant"), "no Message")
    _expect(message["id"] and message["stop_reason"] and isinstance(message["usage"], dict), "an incomplete Message")
    observed.outcome, observed.model = "200 whole", message["model"]
    for block in message["content"]:
        if block["type"] == "text":
            observed.text += block["text"]
        elif block["type"] == "tool_use":
            observed.arguments += json.dumps(block["input"])


def _adds_up(usage: dict[str, Any]) -> bool:
    return bool(usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"])


# ---- streams


def _frames(body: bytes) -> Iterator[tuple[str | None, str]]:
    """Yield the name and the data of each event by the SSE standard, since an upstream's bytes are passed through."""
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
    """Yield the data of each event of the envelope API, which has `data:` lines and comments only."""
    _expect(body.endswith(b"\n\n"), "the last event has no end")
    for frame in body.decode().removesuffix("\n\n").split("\n\n"):
        *comments, line = frame.split("\n")
        _expect(all(comment.startswith(": ") for comment in comments), f"lines {comments!r}")
        _expect(line.startswith("data: ") and len(line.splitlines()) == 1, f"a line {line!r}")
        yield line.removeprefix("data: ")


def _chunks(observed: ObservedResponse, body: bytes) -> None:
    datas = list(_own_frames(body))
    is_whole = datas[-1] == "[DONE]"
    chunks = [json.loads(data) for data in (datas[:-1] if is_whole else datas)]
    if not is_whole:
        error = chunks.pop()
        _expect(list(error) == ["error"], "neither [DONE] nor an error at the end")
        _expect(list(error["error"]) == ["type", "message", "param", "code"], "not an error line")
        observed.outcome, observed.message = f"error {error['error']['type']}", error["error"]["message"]
    _expect(
        len({(chunk["id"], chunk["model"], chunk["object"]) for chunk in chunks}) <= 1, "chunks of several responses"
    )
    for chunk in chunks:
        (choice,) = chunk["choices"]
        observed.model = chunk["model"]
        observed.text += choice["delta"].get("content") or ""
        for tool_call in choice["delta"].get("tool_calls", ()):
            observed.arguments += tool_call["function"]["arguments"]
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    if is_whole:
        observed.outcome = "200 whole"
        _expect(finishes[-1] and not any(finishes[:-1]), "not one finish reason, at the end")
        _expect(_adds_up(chunks[-1]["usage"]), "usage does not add up")
    else:
        _expect(not any(finishes), "an invented end")


def _events(observed: ObservedResponse, body: bytes) -> None:
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
            observed.model = event["message"]["model"]
            _expect(isinstance(event["message"].get("usage"), dict), "no usage at the start")
        elif event["type"] == "content_block_delta":
            observed.text += event["delta"].get("text", "")
            observed.arguments += event["delta"].get("partial_json", "")
        elif event["type"] == "message_delta":
            _expect("output_tokens" in event.get("usage", {}), "no usage at the end")
    last = events[-1]
    if last["type"] == "error":
        observed.outcome, observed.message = f"error {last['error']['type']}", last["error"]["message"]
    else:
        _expect(last["type"] == "message_stop", "something follows the end")
        observed.outcome = "200 whole"
