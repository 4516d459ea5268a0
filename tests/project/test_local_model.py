"""A real model in both dialects: plain responses, streams, and the token counts that it reports."""

import json
import urllib.request
from typing import Any

import pytest

from keys.models import UsageRecord
from messages_api.admin.connection_check import check_connection
from tests.support.gateway import Gateway, events
from tests.support.local_model import MODEL, LocalModel

PATH = "/api/v1/messages"
CONVERSATION = {
    "model": MODEL,
    "max_tokens": 24,
    "temperature": 0.0,
    "top_p": 1.0,
    "system": [{"type": "text", "text": "You are a friendly assistant."}, {"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hi. How can I help?"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Name a color."}, {"type": "text", "text": "Only one."}],
        },
    ],
    "metadata": {"user_id": "user-1"},
}

both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])


def request_directly(model: LocalModel, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(model.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@both_dialects
def test_a_real_model_responds_to_a_conversation(real: Gateway, dialect: str) -> None:
    real.configure_upstream(dialect)

    response = real.post(PATH, CONVERSATION, timeout=60)

    assert response.status == 200, response.body
    data = response.json()["data"]
    assert data["choices"][0]["message"]["content"].strip()
    assert data["choices"][0]["finish_reason"] in ("stop", "length")
    assert data["usage"]["completion_tokens"] > 0
    assert data["usage"]["total_tokens"] == data["usage"]["prompt_tokens"] + data["usage"]["completion_tokens"]


@both_dialects
def test_a_real_stream_has_the_text_of_the_plain_response(real: Gateway, dialect: str) -> None:
    real.configure_upstream(dialect)
    whole = real.post(PATH, CONVERSATION, timeout=60).json()["data"]

    lines = real.post(PATH, CONVERSATION | {"stream": True}, timeout=60).lines()

    chunks = list(events(lines))
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert len(chunks) > 4
    assert lines[-1] == "data: [DONE]"


@both_dialects
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_the_usage_record_has_the_counts_that_the_model_reports(
    real: Gateway, local_model: LocalModel, dialect: str, stream: bool
) -> None:
    real.configure_upstream(dialect)
    system = "You are a friendly assistant.\n\nBe brief."
    question = [*CONVERSATION["messages"][:2], {"role": "user", "content": "Name a color.\n\nOnly one."}]  # type: ignore[index]
    direct = request_directly(
        local_model,
        "/v1/chat/completions",
        {
            "model": MODEL,
            "max_tokens": 24,
            "temperature": 0.0,
            "top_p": 1.0,
            "messages": [{"role": "system", "content": system}, *question],
        },
    )["usage"]
    body = CONVERSATION | {"stream": stream, "system": system, "messages": question}

    real.post(PATH, body, timeout=60)

    row = real.record()
    assert (row.status, row.usage_source) == ("completed", "reported")
    assert (row.input_tokens or 0) + (row.cache_read_tokens or 0) == direct["prompt_tokens"]
    assert row.output_tokens == direct["completion_tokens"]


@both_dialects
def test_stop_sequences_reach_the_model(real: Gateway, dialect: str) -> None:
    real.configure_upstream(dialect)

    response = real.post(PATH, CONVERSATION | {"stop_sequences": ["e"], "top_k": 1}, timeout=60)

    assert "e" not in response.json()["data"]["choices"][0]["message"]["content"]


@both_dialects
def test_the_connection_test_sends_a_real_request_and_leaves_no_usage_record(real: Gateway, dialect: str) -> None:
    real.configure_upstream(dialect)

    result = check_connection(real.upstream_row, model=MODEL)

    assert (result.ok, result.status) == (True, 200)
    assert not UsageRecord.objects.exists()


def test_the_connection_test_reports_the_error(gateway: Gateway) -> None:
    gateway.upstream.refuse()

    result = check_connection(gateway.upstream_row, model="m")

    assert (result.ok, result.status, result.message) == (False, None, "The connection to the upstream failed.")
