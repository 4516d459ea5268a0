"""
What clients and upstreams of the field really send: one test for each case of `cases.jsonl`.

A case has a request, the exact bytes of the upstream's response, and an expectation: a Python expression over the names
in `_seen`.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from keys.models import UsageRecord
from messages_api.models import RouteTarget
from tests.field.reading import chunks_of, completion_of, message_of
from tests.support.gateway import ApiResponse, Gateway
from tests.upstream import Head, Send

# Not `splitlines()`: a text has a U+2028.
CASES: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "cases.jsonl").read_text().split("\n") if line
]
PATHS = {
    "anthropic": "/api/anthropic/v1/messages",
    "envelope": "/api/v1/messages",
    "count_tokens": "/api/anthropic/v1/messages/count_tokens",
}
MODEL = "m"
"""The name in most responses: those of an Anthropic upstream can then be passed through byte for byte."""


def case_id(case: dict[str, Any]) -> str:
    return f"{case['name']}-{case['api']}"


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_field(gateway: Gateway, case: dict[str, Any]) -> None:
    gateway.configure_upstream(case["dialect"], profile_preset=case["profile"])
    RouteTarget.objects.update(model=case.get("upstream_model", ""))
    _queue(gateway, case)

    response = gateway.post(
        PATHS[case["api"]],
        {"model": MODEL, **case["request"]},
        headers=gateway.headers() | case.get("headers", {}),
    )

    seen = _seen(gateway, case, response)
    assert eval(case["expect"], dict(seen)), (case["about"], case["expect"], seen["status"], seen["raw"][:2000])


def _queue(gateway: Gateway, case: dict[str, Any]) -> None:
    """Let the upstream send the exact bytes of the case, for every attempt."""
    upstream = case["upstream"]
    body = upstream["body"].encode("utf-8", "surrogatepass")
    is_stream = case["request"].get("stream") and upstream["status"] == 200
    headers = {"content-type": "text/event-stream" if is_stream else "application/json", **upstream["headers"]}
    gateway.upstream.queue(Head(upstream["status"], headers, framing=len(body)), Send(body), times=None)


def _seen(gateway: Gateway, case: dict[str, Any], response: ApiResponse) -> dict[str, Any]:
    """Return the names of an expectation: the response as SDKs read it, the requests upstream, the usage record."""
    is_streamed = bool(case["request"].get("stream"))
    raw = response.body.decode()
    body = json.loads(raw) if raw.startswith("{") else None
    attempts = gateway.upstream.requests
    sent = attempts[-1].body if attempts else None
    seen = {
        "status": response.status,
        "h": response.headers,
        "raw": raw,
        "body": body,
        "msg": None,
        "err": _error_of(body),
        "ch": None,
        "completion": None,
        "usage": None,
        "row": {},
        "attempts": attempts,
        "sent": sent,
        "sent_raw": json.dumps(sent, separators=(",", ":"), ensure_ascii=False),
        "sent_headers": attempts[-1].headers if attempts else {},
        "json": json,
    }
    if case["api"] == "count_tokens":
        return seen
    if UsageRecord.objects.exists():
        seen["row"] = vars(gateway.record())
    if case["api"] == "anthropic":
        seen["msg"] = message_of(response, is_streamed=is_streamed)
    elif response.status == 200 and is_streamed:
        seen["ch"] = chunks_of(response)
    elif response.status == 200:
        seen["completion"] = completion = completion_of(body["data"]) if body else None
        seen["usage"] = completion["usage"] if completion else None
    return seen


def _error_of(body: Any) -> Any:
    """Return the error object of a response in either API format."""
    if not isinstance(body, dict):
        return None
    return body.get("error") or (body.get("data") or {}).get("error")
