"""The official clients, configured with base URL and key only."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from keys.models import UsageRecord
from tests import clients
from tests.clients import CONVERSATIONS, Conversation
from tests.support.gateway import Gateway
from tests.support.local_model import MODEL
from tests.upstream import Reply, ToolCall, failure, frames_of, replied, streamed

LATER = [("retry-after", "61")]  # longer than the gateway waits, and than the client does
both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])
HELLO: dict[str, Any] = {"model": "claude-3", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def client(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=f"{gateway.url}/api/anthropic", api_key=gateway.raw_key, max_retries=0) as client:
        yield client


def converse(client: anthropic.Anthropic, conversation: Conversation) -> list[Any]:
    turns: list[Any] = []
    request: Any = conversation.request
    while not turns or turns[-1]["stop_reason"] == "tool_use":
        texts = None
        if conversation.how == "stream":
            with client.messages.stream(**request) as stream:
                texts = list(stream.text_stream)
                message: Any = stream.get_final_message()
        else:
            message = client.messages.create(**request)
        turns.append(clients.turn_of(message.to_dict(), texts))
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": conversation.tool_result}
            for block in message.content
            if block.type == "tool_use"
        ]
        turn = [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
        request = request | {"messages": [*request["messages"], *turn]}
    return turns


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
def test_a_conversation_has_the_same_result_in_both_dialects(
    gateway: Gateway, client: anthropic.Anthropic, conversation: Conversation
) -> None:
    gave = {}
    for dialect in ("openai", "anthropic"):
        gateway.configure_upstream(dialect)
        for reply in conversation.replies:
            gateway.upstream.queue(replied(reply))
        gave[dialect] = converse(client, conversation)

    assert gave["openai"] == gave["anthropic"] == conversation.gives


@both_dialects
def test_a_plain_message(gateway: Gateway, client: anthropic.Anthropic, dialect: str) -> None:
    gateway.configure_upstream(dialect)

    message = client.messages.create(**HELLO)

    assert (message.content[0].text, message.stop_reason) == ("Hello, world!", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (9, 12)
    assert message._request_id == gateway.record().id


@both_dialects
def test_the_streaming_helper(gateway: Gateway, client: anthropic.Anthropic, dialect: str) -> None:
    gateway.configure_upstream(dialect)

    with client.messages.stream(**HELLO) as stream:
        texts = list(stream.text_stream)
        final = stream.get_final_message()

    assert "".join(texts) == "Hello, world!"
    assert len(texts) == 3
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 12)


@both_dialects
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_parallel_tool_calls_and_their_results(
    gateway: Gateway, client: anthropic.Anthropic, dialect: str, stream: bool
) -> None:
    gateway.configure_upstream(dialect)
    calls = (
        ToolCall(id="call_1", arguments='{"city": "Paris"}'),
        ToolCall(id="call_2", arguments='{"city": "Rome"}', piece=3),
    )
    gateway.upstream.queue(replied(Reply(("Let me look.",), tool_calls=calls, stop="tools")))

    if stream:
        with client.messages.stream(**HELLO, tools=[WEATHER]) as events:
            message = events.get_final_message()
    else:
        message = client.messages.create(**HELLO, tools=[WEATHER])

    used = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use"
    assert [(block.id, block.name, block.input) for block in used] == [
        ("call_1", "get_weather", {"city": "Paris"}),
        ("call_2", "get_weather", {"city": "Rome"}),
    ]
    turns: Any = [
        *HELLO["messages"],
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "sunny"} for block in used],
        },
    ]
    assert client.messages.create(**HELLO | {"messages": turns}, tools=[WEATHER]).content[0].type == "text"


@both_dialects
def test_thinking_comes_before_the_text(gateway: Gateway, client: anthropic.Anthropic, dialect: str) -> None:
    gateway.configure_upstream(dialect)
    gateway.upstream.queue(replied(Reply(("Four.",), thinking=("Two and ", "two."))))

    with client.messages.stream(**HELLO | {"max_tokens": 4096}, thinking={"type": "adaptive"}) as stream:
        message = stream.get_final_message()

    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking == "Two and two."  # type: ignore[union-attr]


@both_dialects
def test_an_image_reaches_the_upstream(gateway: Gateway, client: anthropic.Anthropic, dialect: str) -> None:
    gateway.configure_upstream(dialect)
    source: Any = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]

    client.messages.create(model="claude-3", max_tokens=64, messages=[{"role": "user", "content": content}])

    sent = gateway.upstream.requests[0].body["messages"][0]["content"]
    assert sent[0] == (
        content[0]
        if dialect == "anthropic"
        else {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    )


@both_dialects
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (404, anthropic.NotFoundError),
        (409, anthropic.ConflictError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
def test_each_status_is_the_error_class_of_the_client(
    gateway: Gateway, client: anthropic.Anthropic, dialect: str, status: int, error: type[anthropic.APIStatusError]
) -> None:
    gateway.configure_upstream(dialect)
    gateway.upstream.queue(failure(status, "What it said.", headers=LATER))

    with pytest.raises(error) as caught:
        client.messages.create(**HELLO)

    assert caught.value.status_code == status
    assert "What it said." in caught.value.message
    assert caught.value.request_id == gateway.record().id


def test_an_unknown_key_is_an_authentication_error(gateway: Gateway) -> None:
    with (
        anthropic.Anthropic(base_url=f"{gateway.url}/api/anthropic", api_key="mgw_wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError),
    ):
        client.messages.create(**HELLO)


@both_dialects
def test_an_error_in_the_middle_of_a_stream_raises(gateway: Gateway, client: anthropic.Anthropic, dialect: str) -> None:
    gateway.configure_upstream(dialect)
    gateway.upstream.queue(lambda request: streamed(frames_of(request)[:4]))

    with pytest.raises(anthropic.APIStatusError), client.messages.stream(**HELLO) as stream:
        list(stream.text_stream)

    assert gateway.record().status == "failed"


@both_dialects
def test_the_client_retries_errors_but_not_of_the_gateways_account(gateway: Gateway, dialect: str) -> None:
    gateway.configure_upstream(dialect)
    gateway.upstream_row.request_timeout_s = 2  # the gateway has no time for the wait, so the client does it
    gateway.upstream_row.save()
    with anthropic.Anthropic(base_url=f"{gateway.url}/api/anthropic", api_key=gateway.raw_key, max_retries=2) as client:
        gateway.upstream.queue(failure(529, headers=[("retry-after", "2")]))
        client.messages.create(**HELLO)
        gateway.upstream.queue(failure(401))
        with pytest.raises(anthropic.InternalServerError):
            client.messages.create(**HELLO)

    assert [row.status for row in UsageRecord.objects.order_by("id")] == ["failed", "completed", "failed"]


def test_models_and_counts(gateway: Gateway, client: anthropic.Anthropic) -> None:
    for name in ("claude-a", "claude-b"):
        gateway.add_route(name, gateway.upstream_row)

    assert [model.id for model in client.models.list(limit=1)] == ["claude-a", "claude-b"]
    assert client.models.retrieve("claude-a").display_name == "claude-a"
    assert client.messages.count_tokens(model="claude-a", messages=HELLO["messages"]).input_tokens > 0


def test_structured_output_is_requested_in_the_upstreams_dialect(gateway: Gateway, client: anthropic.Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    gateway.upstream.queue(replied(Reply(('{"answer": "yes"}',))))

    message = client.messages.create(**HELLO, output_config={"format": {"type": "json_schema", "schema": schema}})

    sent = gateway.upstream.requests[0].body["response_format"]
    assert (sent["type"], sent["json_schema"]["schema"]) == ("json_schema", schema)
    assert message.content[0].text == '{"answer": "yes"}'


@both_dialects
def test_a_real_model_streams_its_response(real: Gateway, client: anthropic.Anthropic, dialect: str) -> None:
    real.configure_upstream(dialect)
    request = HELLO | {"model": MODEL, "max_tokens": 24, "extra_body": {"temperature": 0.0}}

    whole: Any = client.messages.create(**request)
    with client.messages.stream(**request) as stream:
        texts = list(stream.text_stream)
        streamed_whole = stream.get_final_message()

    assert "".join(texts) == whole.content[0].text
    assert len(texts) > 4
    assert streamed_whole.usage.output_tokens == whole.usage.output_tokens > 0


@both_dialects
def test_openais_parser_reads_the_stream_of_the_envelope_api(gateway: Gateway, dialect: str) -> None:
    gateway.configure_upstream(dialect)
    with openai.OpenAI(base_url=f"{gateway.url}/api/v1", api_key=gateway.raw_key, max_retries=0) as client:
        chunks = list(
            client.post(
                "/messages",
                body=HELLO | {"stream": True},
                cast_to=openai.types.chat.ChatCompletionChunk,
                stream=True,
                stream_cls=openai.Stream[openai.types.chat.ChatCompletionChunk],
            )
        )

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello, world!"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 21


def test_openais_parser_raises_for_a_stream_that_fails(gateway: Gateway) -> None:
    gateway.upstream.queue(lambda request: streamed(frames_of(request)[:3]))
    with openai.OpenAI(base_url=f"{gateway.url}/api/v1", api_key=gateway.raw_key, max_retries=0) as client:
        stream = client.post(
            "/messages",
            body=HELLO | {"stream": True},
            cast_to=openai.types.chat.ChatCompletionChunk,
            stream=True,
            stream_cls=openai.Stream[openai.types.chat.ChatCompletionChunk],
        )
        with pytest.raises(openai.APIError):
            list(stream)
