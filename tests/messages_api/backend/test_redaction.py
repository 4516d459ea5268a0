"""Redaction of the credential and of the upstream's URL in its errors."""

import json
from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.upstream import Chunk, EndChunks, Head, RecordedRequest, body_response, failure, frames_of

HELLO: dict[str, Any] = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
SSE = {"content-type": "text/event-stream"}


def leak(gateway: Gateway) -> str:
    return (
        f"Bad key the-upstream-credential, Bearer abc.def, sk-0123456789 at {gateway.upstream.url}/v1/messages, sorry"
    )


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("path", ["/api/v1/messages", "/api/anthropic/v1/messages"])
@pytest.mark.parametrize("where", ["status", "in a 200", "mid-stream"])
def test_a_leak_of_an_upstream_is_redacted(gateway: Gateway, dialect: str, path: str, where: str) -> None:
    gateway.configure_upstream(dialect)
    error = {"type": "invalid_request_error", "message": leak(gateway)}

    def broken_stream(call: RecordedRequest) -> Any:
        frame = f"event: error\ndata: {json.dumps({'type': 'error', 'error': error})}\n\n".encode()
        return [Head(headers=SSE), *(Chunk(each) for each in frames_of(call)[:3]), Chunk(frame), EndChunks()]

    if where == "status":
        gateway.upstream.queue(failure(400, leak(gateway)))
    elif where == "in a 200":
        gateway.upstream.queue(body_response({"type": "error", "error": error}))
    else:
        gateway.upstream.queue(broken_stream)

    response = gateway.post(path, HELLO | {"stream": where == "mid-stream"})

    text = response.body.decode()
    assert "sorry" in text
    for secret in ("the-upstream-credential", "abc.def", "sk-0123456789", str(gateway.upstream.port)):
        assert secret not in text
