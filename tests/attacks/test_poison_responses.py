"""Whatever an upstream puts into a response, its request is settled, its client can read it, and the ledger goes on.

Every type of value in every field of a response, of every event and of the head, in both dialects.
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import pytest

from keys.models import UsageRecord
from keys.models.usage import TOKEN_COLUMNS
from tests.support.gateway import ApiResponse, Gateway
from tests.upstream import Close, Send

PATHS = {"envelope": "/api/v1/messages", "anthropic": "/api/anthropic/v1/messages"}
CLIENTS = 16
LEDGER_UNAVAILABLE = 503  # on a machine that is so busy that a commit takes more than a second
MISSING = object()
VALUES: list[Any] = [
    MISSING,
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**63,
    2**64,
    10**30,
    "",
    "text",
    "NUL \0",
    "lone surrogate \ud800",
    "long " * 20_000,
    "\u202e\x1b[2J\r\n",
    [],
    [1],
    [None, {}],
    {},
    {"a": 1},
]
EXTRAS = {"text": 5, "thinking": [], "partial_json": {}, "error": 0, "usage": [], "object": None, "code": 1.5}
"""Fields that are added to an object that does not have them."""
LITERALS = ["1e400", "-1e-400", "1" + "0" * 400, "NaN", "-Infinity", '"\\ud83d"', "[" * 200 + "]" * 200]
"""Values that json.dumps does not write."""

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "Hello."},
        {"type": "tool_use", "id": "toolu_1", "name": "t", "input": {"a": 1}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_input_tokens": 1,
        "cache_creation_input_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 1},
        "output_tokens_details": {"thinking_tokens": 4},
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "standard",
        "iterations": [{"type": "message", "input_tokens": 10, "output_tokens": 20}],
    },
}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": MESSAGE["content"][2] | {"input": {}}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 20},
    },
    {"type": "message_stop"},
]
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 20,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 4},
    "prompt_cache_hit_tokens": 1,
}
TOOL_CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "t", "arguments": '{"a":1}'}}
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello.",
                "reasoning_content": "Hm.",
                "refusal": None,
                "tool_calls": [TOOL_CALL],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": USAGE,
}


def chunk(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "choices": [choice], **fields}


CHUNKS: list[dict[str, Any]] = [
    chunk({"role": "assistant", "content": "", "reasoning_content": "Hm."}),
    chunk({"content": "Hello.", "refusal": None}),
    chunk({"tool_calls": [TOOL_CALL]}),
    chunk({}, "tool_calls", usage=USAGE),
]
ERROR = {"type": "error", "error": {"type": "api_error", "message": "It failed.", "code": "c", "param": "p"}}
DOCUMENTS = {
    "anthropic": {"message": MESSAGE, "events": EVENTS, "error": ERROR},
    "openai": {"message": COMPLETION, "events": CHUNKS, "error": {"error": ERROR["error"]}},
}
HEADERS: list[bytes] = [
    b"request-id: " + b"r" * 5_000,
    b"request-id: a\0b\x1b[2J",
    b"request-id: \xff\xfe\xed\xa0\x80",
    b"x-request-id:",
    b"request-id: 1\r\nrequest-id: 2",
    b"retry-after: 1e400",
    b"retry-after: nan",
    b"retry-after: -99999999999999999999",
    b"retry-after: Fri, 31 Dec 99999 23:59:59 GMT",
    b"x-should-retry: \xff",
    b"content-type: \xff/\0",
    b"content-encoding: \0",
]
STATUS_LINES: list[bytes] = [
    b"HTTP/1.1 %s Strange" % status
    for status in (b"0", b"99", b"101", b"199", b"204", b"206", b"299", b"304", b"399", b"418", b"499", b"600", b"799")
] + [b"HTTP/1.1 999", b"HTTP/1.1 1000 Strange", b"HTTP/1.1 -1 Strange", b"HTTP/9.9 200 OK", b"HTTP/1.1 \xff OK"]


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values below a document."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield (*path, name)
        yield from paths_of(member, (*path, name))


def value_at(document: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        document = document[name]
    return document


def poisoned(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of a document with another value at a path."""
    copy = deepcopy(document)
    parent = value_at(copy, path[:-1])
    if value is MISSING:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return copy


def poisons(document: Any) -> Iterator[str]:
    """Yield the JSON of a document with each value in each place."""
    for path in paths_of(document):
        if isinstance(place := value_at(document, path), dict):
            yield json.dumps(poisoned(document, path, EXTRAS | place))
        for value in VALUES:
            yield json.dumps(poisoned(document, path, value))
        for literal in LITERALS:
            yield json.dumps(poisoned(document, path, "(literal)")).replace('"(literal)"', literal)


def http(body: bytes, *, status_line: bytes = b"HTTP/1.1 200 OK", headers: bytes = b"x: y") -> list[Any]:
    head = b"%s\r\n%s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status_line, headers, len(body))
    return [Send(head + body), Close()]


def stream_of(events: list[str], *, dialect: str) -> bytes:
    frames = [f"data: {event}\n\n" for event in events]
    return "".join(frames + (["data: [DONE]\n\n"] if dialect == "openai" else [])).encode()


def poisoned_messages(dialect: str) -> Iterator[list[Any]]:
    for document in poisons(DOCUMENTS[dialect]["message"]):
        yield http(document.encode())


def poisoned_streams(dialect: str) -> Iterator[list[Any]]:
    events: Any = DOCUMENTS[dialect]["events"]
    whole = [json.dumps(event) for event in events]
    for i, event in enumerate(events):
        for document in poisons(event):
            yield http(stream_of([*whole[:i], document, *whole[i + 1 :]], dialect=dialect))


def poisoned_heads(dialect: str) -> Iterator[list[Any]]:
    body = json.dumps(DOCUMENTS[dialect]["message"]).encode()
    for headers in HEADERS:
        yield http(body, headers=headers)
        yield http(b"{}", headers=headers, status_line=b"HTTP/1.1 429 Too Many")
    for status_line in STATUS_LINES:
        yield http(body, status_line=status_line)
    for status in (b"400", b"418", b"500"):
        for document in poisons(DOCUMENTS[dialect]["error"]):
            yield http(document.encode(), status_line=b"HTTP/1.1 %s Failed" % status)


KINDS = {
    "messages": (poisoned_messages, False),
    "streams": (poisoned_streams, True),
    "heads and errors": (poisoned_heads, False),
}


def frames_of(response: ApiResponse) -> list[Any]:
    """Return the decoded `data:` lines of a stream. Raise ValueError for any that a client cannot read."""
    lines = [line.removeprefix("data: ") for line in response.lines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def is_readable(api_format: str, response: ApiResponse) -> bool:
    """Whether a response is a success or an error in the format of the API, and a stream has a proper end."""
    if response.headers["content-type"].startswith("text/event-stream"):
        frames = frames_of(response)
        if api_format == "envelope":
            return frames[-1] == "[DONE]" or "error" in frames[-1]
        deltas = [frame for frame in frames if frame["type"] == "message_delta"]
        ends = [frame["type"] in ("message_stop", "error") for frame in frames]
        return ends.index(True) == len(frames) - 1 and all(is_message_delta(delta) for delta in deltas)
    body = response.json()
    if response.status not in range(200, 600):
        return False
    if api_format == "envelope":
        return bool(body["success"] == (response.status == 200) and body["code"] == str(response.status))
    return is_message(body) if response.status == 200 else bool(body["type"] == "error")


def is_message(body: Any) -> bool:
    """Whether the fields that clients read without a check have their types."""
    usage = body["usage"]
    counts = [usage["input_tokens"], usage["output_tokens"]]
    optional = [usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")]
    return (
        (body["type"], body["role"]) == ("message", "assistant")
        and isinstance(body["id"], str)
        and isinstance(body["content"], list)
        and isinstance(body.get("stop_reason"), str | None)
        and isinstance(body.get("stop_sequence"), str | None)
        and all(type(count) is int for count in counts)
        and all(count is None or type(count) is int for count in optional)
    )


def is_message_delta(event: Any) -> bool:
    return isinstance(event["delta"].get("stop_reason"), str | None) and type(event["usage"]["output_tokens"]) is int


def problem_of(api_format: str, response: ApiResponse) -> str:
    """Return why a client cannot read a response, or an empty text."""
    try:
        return "" if is_readable(api_format, response) else f"{response.status} {response.body[-300:]!r}"
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"{error!r}: {response.status} {response.body[-300:]!r}"


def misfits_of(row: UsageRecord) -> list[str]:
    """Return the columns of a record that hold what their upstream should not have been able to put there."""
    texts = {name: getattr(row, name) for name in ("error_type", "stop_reason", "upstream_request_id", "message_id")}
    counts = {name: getattr(row, name) for name in TOKEN_COLUMNS}
    fits = {
        **{name: isinstance(text, str) and len(text) <= 128 and "\0" not in text for name, text in texts.items()},
        **{name: count is None or (type(count) is int and 0 <= count <= 10**9) for name, count in counts.items()},
        "http_status": row.http_status is None or row.http_status in range(200, 600),
        "attempts": 1 <= len(row.attempts) <= 3,
    }
    return [f"{name} of {row.pk}" for name, does_fit in fits.items() if not does_fit]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dialect", DOCUMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_value_in_a_response_harms_the_request_or_the_ledger(
    gateway: Gateway, kind: str, dialect: str, at_length: bool
) -> None:
    """Clients use both APIs in turn. Without `--at-length`, every seventh response is sent."""
    make, stream = KINDS[kind]
    scripts = list(make(dialect))[:: 1 if at_length else 7]
    gateway.configure_upstream(dialect, request_timeout_s=5.0)
    gateway.upstream.queue(lambda request: scripts[int(request.body["messages"][0]["content"])], times=None)
    log_began = gateway.server.log_path.stat().st_size

    def ask(number: int) -> tuple[str, ApiResponse]:
        messages = [{"role": "user", "content": str(number)}]
        api_format = list(PATHS)[number % 2]
        body = {"model": "m", "max_tokens": 64, "messages": messages, "stream": stream}
        while (response := gateway.post(PATHS[api_format], body, timeout=60)).status == LEDGER_UNAVAILABLE:
            time.sleep(0.5)
        return api_format, response

    with ThreadPoolExecutor(CLIENTS) as clients:
        responses = list(clients.map(ask, range(len(scripts))))

    problems = [f"{problem} for {scripts[i][0]}" for i, each in enumerate(responses) if (problem := problem_of(*each))]
    assert not problems, "\n".join(problem[:1500] for problem in problems[:10])
    rows = [row for row in gateway.settled(len(scripts), within_s=60) if row.http_status != LEDGER_UNAVAILABLE]
    assert len(rows) == len(scripts)
    assert [misfit for row in rows for misfit in misfits_of(row)] == []
    log = gateway.server.log_path.read_bytes()[log_began:].decode(errors="replace")
    _, _, unhandled = log.partition("Traceback")
    assert unhandled[:3000] == ""
