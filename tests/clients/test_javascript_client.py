"""The official JavaScript client, unchanged but for base URL and key."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests import clients
from tests.clients import CONVERSATIONS, Conversation
from tests.support.gateway import Gateway
from tests.support.local_model import MODEL
from tests.upstream import Reply, failure, frames_of, replied, streamed

LATER = [("retry-after", "61")]  # longer than the gateway waits
SOON = [("retry-after", "0")]
both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])
HELLO: dict[str, Any] = {"model": "claude-3", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(scope="session")
def node(npm_packages: None) -> Iterator[subprocess.Popen[str]]:
    """A process that holds one conversation after the other: starting one for each would take half of the time."""
    command = ["node", str(clients.FOLDER / "converse.mjs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


class JavaScript:
    """The client at a gateway. A run gives `{"gives": …}` or, for what it raised, `{"error": …}`."""

    def __init__(self, gateway: Gateway, node: subprocess.Popen[str]) -> None:
        self._gateway = gateway
        self._node = node

    def run(self, how: str, request: dict[str, Any], *, key: str = "", retries: int = 0, tool_result: str = "") -> Any:
        conversation = {
            "baseURL": f"{self._gateway.url}/api/anthropic",
            "apiKey": key or self._gateway.raw_key,
            "maxRetries": retries,
            "how": how,
            "request": request,
            "toolResult": tool_result,
        }
        assert self._node.stdin is not None and self._node.stdout is not None
        self._node.stdin.write(json.dumps(conversation) + "\n")
        self._node.stdin.flush()
        response = self._node.stdout.readline()
        assert response, "node ended"
        return json.loads(response)

    def converse(self, conversation: Conversation) -> list[Any]:
        run = self.run(conversation.how, conversation.request, tool_result=conversation.tool_result)
        return [clients.turn_of(turn["message"], turn.get("texts")) for turn in run["gives"]]


@pytest.fixture
def client(gateway: Gateway, node: subprocess.Popen[str]) -> JavaScript:
    return JavaScript(gateway, node)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
def test_a_conversation_has_the_same_result_in_both_dialects(
    gateway: Gateway, client: JavaScript, conversation: Conversation
) -> None:
    gave = {}
    for dialect in ("openai", "anthropic"):
        gateway.configure_upstream(dialect)
        for reply in conversation.replies:
            gateway.upstream.queue(replied(reply))
        gave[dialect] = client.converse(conversation)

    assert gave["openai"] == gave["anthropic"] == conversation.gives


@both_dialects
def test_the_request_id_is_that_of_the_usage_record(gateway: Gateway, client: JavaScript, dialect: str) -> None:
    gateway.configure_upstream(dialect)

    (turn,) = client.run("create", HELLO)["gives"]

    assert turn["requestId"] == gateway.record().id


@both_dialects
def test_an_image_reaches_the_upstream(gateway: Gateway, client: JavaScript, dialect: str) -> None:
    gateway.configure_upstream(dialect)
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]

    client.run("create", HELLO | {"messages": [{"role": "user", "content": content}]})

    sent = gateway.upstream.requests[0].body["messages"][0]["content"]
    assert sent[0] == (
        content[0]
        if dialect == "anthropic"
        else {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    )


@both_dialects
def test_structured_output_is_parsed(gateway: Gateway, client: JavaScript, dialect: str) -> None:
    gateway.configure_upstream(dialect)
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    gateway.upstream.queue(replied(Reply(('{"answer": ', '"yes"}'))))
    request = HELLO | {"output_config": {"format": {"type": "json_schema", "schema": schema}}}

    (turn,) = client.run("parse", request)["gives"]

    assert turn["message"]["parsed_output"] == {"answer": "yes"}
    sent = gateway.upstream.requests[0].body
    requested = sent["output_config"]["format"] if dialect == "anthropic" else sent["response_format"]["json_schema"]
    assert requested["schema"]["properties"] == schema["properties"]


@both_dialects
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "BadRequestError"),
        (404, "NotFoundError"),
        (409, "ConflictError"),
        (429, "RateLimitError"),
        (500, "InternalServerError"),
        (529, "OverloadedError"),
    ],
)
def test_each_status_is_the_error_class_of_the_client(
    gateway: Gateway, client: JavaScript, dialect: str, status: int, error: str
) -> None:
    gateway.configure_upstream(dialect)
    gateway.upstream.queue(failure(status, "What it said.", headers=LATER))

    raised = client.run("create", HELLO)["error"]

    assert (raised["name"], raised["status"]) == (error, status)
    assert "What it said." in raised["message"]
    assert raised["requestId"] == gateway.record().id


def test_an_unknown_key_is_an_authentication_error(client: JavaScript) -> None:
    raised = client.run("create", HELLO, key="mgw_wrong")["error"]

    assert (raised["name"], raised["status"]) == ("AuthenticationError", 401)


@both_dialects
def test_an_error_in_the_middle_of_a_stream_raises_and_is_not_retried(
    gateway: Gateway, client: JavaScript, dialect: str
) -> None:
    gateway.configure_upstream(dialect)
    gateway.upstream.queue(lambda request: streamed(frames_of(request)[:4]), times=None)

    raised = client.run("stream", HELLO, retries=2)["error"]

    assert (raised["name"], raised["type"]) == ("APIError", "api_error")
    assert gateway.record().status == "failed"


@both_dialects
@pytest.mark.parametrize(
    ("failing", "calls"),
    [
        pytest.param(failure(529, headers=SOON), 3, id="overloaded"),
        pytest.param(failure(429, headers=SOON), 3, id="limited"),
        pytest.param(failure(400), 1, id="refused"),
        pytest.param(failure(401), 1, id="the gateway's account"),
    ],
)
def test_the_client_does_not_retry_after_the_gateway_or_in_vain(
    gateway: Gateway, client: JavaScript, dialect: str, failing: Any, calls: int
) -> None:
    gateway.configure_upstream(dialect)
    gateway.upstream.queue(failing, times=None)

    run = client.run("create", HELLO, retries=2)

    assert "error" in run
    assert [row.status for row in gateway.settled(1)] == ["failed"]
    assert len(gateway.upstream.requests) == calls


def test_models_and_counts(gateway: Gateway, client: JavaScript) -> None:
    for name in ("claude-a", "claude-b"):
        gateway.add_route(name, gateway.upstream_row)

    models = client.run("models", {"limit": 1, "id": "claude-a"})["gives"]
    count = client.run("countTokens", {"model": "claude-a", "messages": HELLO["messages"]})["gives"]

    assert models["ids"] == ["claude-a", "claude-b"]
    assert models["one"]["display_name"] == "claude-a"
    assert count["input_tokens"] > 0


@both_dialects
def test_a_real_model_streams_its_response(real: Gateway, client: JavaScript, dialect: str) -> None:
    real.configure_upstream(dialect)
    request = HELLO | {"model": MODEL, "max_tokens": 24, "temperature": 0.0}

    (whole,) = client.run("create", request)["gives"]
    (stream,) = client.run("stream", request)["gives"]

    assert stream["message"]["content"] == whole["message"]["content"]
    assert "".join(stream["texts"]) == whole["message"]["content"][0]["text"]
    assert len(stream["texts"]) > 4
    assert stream["message"]["usage"]["output_tokens"] == whole["message"]["usage"]["output_tokens"] > 0
