"""
Cases of `cases/`, one file for each mapping: `name`, `input`, `expected` and `why`.

Some have options: `profile` (fields of the upstream's profile) or `decoder` (arguments of OpenAIDecoder).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from messages_api.backend.protocol import headers, model_list, sse, wire
from messages_api.backend.protocol.chunks import ChunkEncoder, completion_from_message
from messages_api.backend.protocol.completion import message_from_openai
from messages_api.backend.protocol.decoder import OpenAIDecoder
from messages_api.backend.protocol.error_mapping import MappedError, UpstreamResponseError, map_openai_error
from messages_api.backend.protocol.history_cleanup import clean_history
from messages_api.backend.protocol.openai_request import UnsupportedRequest, empty_response, to_openai
from messages_api.backend.protocol.profile import Profile
from messages_api.backend.protocol.token_estimate import estimate
from tests.messages_api.backend.protocol.streams import counting_ids

CASES = Path(__file__).parent / "cases"


def rejected(error: UnsupportedRequest) -> Any:
    return {"error": {"status": 400, "type": "invalid_request_error", "message": error.message}}


def failed(mapped: MappedError) -> Any:
    return {"error": {"status": mapped.status, "type": mapped.type, "message": mapped.message}}


def request_a2o(case: Any) -> Any:
    try:
        body, dropped = to_openai(case["input"]["request"], Profile.from_mapping(case.get("profile", {})))
    except UnsupportedRequest as error:
        return rejected(error)
    return {"body": body, "dropped": dropped}


def response_o2a(case: Any) -> Any:
    try:
        message = message_from_openai(case["input"]["response"], request=case["input"]["request"], ids=counting_ids())
    except UpstreamResponseError as error:
        return failed(error.mapped)
    return {"message": message}


def stream_o2a(case: Any) -> Any:
    decoder = OpenAIDecoder(
        case["input"]["request"],
        ids=counting_ids(),
        input_estimate=case["input"]["input_estimate"],
        **case.get("decoder", {}),
    )
    signals = {"[DONE]": decoder.done, "@eof": decoder.eof}
    events = []
    for frame in [*case["input"]["frames"], "@eof"]:
        events += signals[frame]() if isinstance(frame, str) else decoder.feed(frame)
    return {"events": events}


def response_a2o(case: Any) -> Any:
    return {"completion": completion_from_message(case["input"]["message"], created=case["input"]["created"])}


def stream_a2o(case: Any) -> Any:
    encoder = ChunkEncoder(created=case["input"]["created"])
    lines = []
    for event in [*case["input"]["events"], "@eof"]:
        lines += encoder.eof() if event == "@eof" else encoder.feed(event)
    frames = [frame_of(line) for line in lines]
    common = case["expected"]["common"]
    chunks = [frame for frame in frames if isinstance(frame, dict) and "error" not in frame]
    assert all({key: chunk.pop(key) for key in common} == common for chunk in chunks)
    return {"common": common, "frames": frames}


def frame_of(line: bytes) -> Any:
    text = line.decode().rstrip("\n")
    if text.startswith(":") or text == "data: [DONE]":
        return text.removeprefix("data: ")
    return json.loads(text.removeprefix("data: "))


def error_o2a(case: Any) -> Any:
    mapped = map_openai_error(case["input"]["status"], case["input"]["body"])
    outcome = {"status": mapped.status, "type": mapped.type, "message": mapped.message}
    return outcome if mapped.retry is None else {**outcome, "retry": mapped.retry}


def sse_parse(case: Any) -> Any:
    parser = sse.SSEParser()
    records = []
    for chunk in case["input"]["chunks"]:
        records += parser.feed(chunk.encode() if isinstance(chunk, str) else bytes.fromhex(chunk["hex"]))
    records += parser.eof()
    return {"items": [[record.event or "", record.data] for record in records]}


def sse_encode(case: Any) -> Any:
    return {"wire": sse.frame(case["input"]["object"], case["input"]["event"]).decode()}


def upstream_headers(case: Any) -> Any:
    return {"headers": headers.upstream_headers(**case["input"])}


def cleaned(case: Any) -> Any:
    changed, body = clean_history(case["input"]["body"])
    return {"changed": changed, "body": body}


def empty(case: Any) -> Any:
    try:
        return {"message": empty_response(case["input"]["request"], counting_ids())}
    except UnsupportedRequest as error:
        return rejected(error)


def count_tokens(case: Any) -> Any:
    return {"input_tokens": estimate(case["input"]["request"])}


def model_page(case: Any) -> Any:
    return model_list.page(case["input"]["models"], limit=case["input"]["limit"])


RUNNERS = {
    "request_a2o": request_a2o,
    "response_o2a": response_o2a,
    "stream_o2a": stream_o2a,
    "response_a2o": response_a2o,
    "stream_a2o": stream_a2o,
    "error_o2a": error_o2a,
    "sse_parse": sse_parse,
    "sse_encode": sse_encode,
    "headers": upstream_headers,
    "history_cleanup": cleaned,
    "empty_response": empty,
    "count_tokens": count_tokens,
    "model_list": model_page,
}


def load() -> Iterator[Any]:
    for path in sorted(CASES.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            case = json.loads(line)
            yield pytest.param(path.stem, case, id=case["name"])


@pytest.mark.parametrize(("mapping", "case"), list(load()))
def test_a_case_has_its_outcome(mapping: str, case: Any) -> None:
    outcome = RUNNERS[mapping](case)

    assert comparable(outcome, case["expected"]) == expectation(case["expected"])


def comparable(outcome: Any, expected: Any) -> Any:
    """Return the outcome with its message reduced to the expected part, and the dropped fields sorted."""
    outcome = json.loads(wire.encode(outcome))
    part = expected.get("error", {}).get("message_contains")
    if part is not None and part in outcome.get("error", {}).get("message", ""):
        outcome["error"]["message"] = part
    if "dropped" in outcome:
        outcome["dropped"].sort()
    return outcome


def expectation(expected: Any) -> Any:
    expected = json.loads(json.dumps(expected))
    if "message_contains" in expected.get("error", {}):
        expected["error"]["message"] = expected["error"].pop("message_contains")
    if "dropped" in expected:
        expected["dropped"].sort()
    return expected
